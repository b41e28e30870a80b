//! What rules stand on, taken away and put back under a real agent: it reacts at once, not with its round of 5 s.
//!
//! In: PAM files, the module, sudoers, the ceiling. Out: rules that go and come.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends with the first thing that is not as it should be"
)]

mod rig;

use std::time::Instant;

use elevate_protocol::message::agent::{Applied, Report};
use rig::{Daemon, Rig, act, grant, until};

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";

/// Breaks and repairs `times` times. A round of 5 s sees one change at most: that would take longer than is allowed here.
fn at_once(rig: &Rig, break_it: impl Fn(), repair: impl Fn()) {
    let begin = Instant::now();
    for _ in 0..4 {
        break_it();
        until("the rule to go", || !rig.path(DROP_IN).exists());
        repair();
        until("the rule to come back", || rig.path(DROP_IN).exists());
    }
    assert!(begin.elapsed().as_secs() < 15, "eight changes took {:?}", begin.elapsed());
}

fn in_force() -> (Rig, Daemon) {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    (rig, daemon)
}

#[test]
fn rules_go_at_once_with_a_pam_line() {
    let (rig, mut daemon) = in_force();
    for service in ["sudo", "sudo-i"] {
        let path = format!("etc/pam.d/{service}");
        at_once(&rig, || rig.write(&path, "account required pam_permit.so\n", 0o644), || rig.gates());
    }
    // As editors and package managers do it: a new file with the name of the old one.
    let path = rig.path("etc/pam.d/sudo");
    at_once(
        &rig,
        || {
            rig.write("etc/pam.d/.sudo.new", "account required pam_permit.so\n", 0o644);
            std::fs::rename(rig.path("etc/pam.d/.sudo.new"), &path).unwrap();
        },
        || rig.gates(),
    );
    daemon.report(|report| {
        matches!(report, Report::Tampered { what } if what.raw().contains("/etc/pam.d/sudo does not have"))
    });
}

#[test]
fn rules_go_at_once_with_the_module_and_its_folder() {
    let (rig, _daemon) = in_force();
    let module = rig.path("lib/x/security/pam_elevate.so");
    let away = rig.path("lib/x/module");
    let moved = |from: &std::path::Path, to: &std::path::Path| std::fs::rename(from, to).unwrap();
    at_once(&rig, || moved(&module, &away), || moved(&away, &module));
    let whole = std::fs::read(&module).unwrap();
    at_once(
        &rig,
        || std::fs::write(&module, &whole[..100]).unwrap(),
        || std::fs::write(&module, &whole).unwrap(),
    );
}

#[test]
fn rules_go_at_once_with_the_include_line_and_with_defaults_that_pass_by_the_gate() {
    let (rig, mut daemon) = in_force();
    let include = "@includedir /run/elevate/sudoers.d\n";
    at_once(
        &rig,
        || rig.write("etc/sudoers.d/zz-elevate", "\n", 0o440),
        || rig.write("etc/sudoers.d/zz-elevate", include, 0o440),
    );
    rig.write("etc/sudoers", "@includedir /etc/sudoers.d\n", 0o440);
    let local = rig.path("etc/sudoers.d/local");
    at_once(
        &rig,
        || rig.write("etc/sudoers.d/local", "Defaults:alice !pam_acct_mgmt\n", 0o440),
        || std::fs::remove_file(&local).unwrap(),
    );
    daemon.report(|report| {
        matches!(report, Report::Tampered { what }
            if what.raw().contains("/etc/sudoers.d/local:1: `!pam_acct_mgmt` lets sudo pass by the gate"))
    });
    // What only keeps a use from being reported opens nothing.
    rig.write("etc/sudoers.d/local", "Defaults:alice !pam_session\n", 0o440);
    assert_eq!(daemon.apply(2, act(grant(6, 3600))), Applied::Enforced);
}

#[test]
fn a_folder_that_is_replaced_is_watched_again() {
    let (rig, _daemon) = in_force();
    let (folder, old) = (rig.path("etc/pam.d"), rig.path("etc/pam.old"));
    std::fs::rename(&folder, &old).unwrap();
    until("the rule to go", || !rig.path(DROP_IN).exists());
    std::fs::create_dir(&folder).unwrap();
    rig.gates();
    until("the rule to come back", || rig.path(DROP_IN).exists());
    at_once(&rig, || rig.write("etc/pam.d/sudo", "", 0o644), || rig.gates());
}

#[test]
fn a_right_that_the_root_of_the_host_forbids_ends_at_once() {
    let (rig, mut daemon) = in_force();
    let begin = Instant::now();
    for number in 2..6_u8 {
        rig.write("etc/elevate/ceiling.toml", "forbid_roles = [\"web-ops\"]\n", 0o644);
        daemon.report(|report| matches!(report, Report::Ended { .. }));
        assert!(!rig.path(DROP_IN).exists());
        std::fs::remove_file(rig.path("etc/elevate/ceiling.toml")).unwrap();
        assert_eq!(daemon.apply(number.into(), act(grant(number + 10, 3600))), Applied::Enforced);
    }
    assert!(begin.elapsed().as_secs() < 15, "four ends took {:?}", begin.elapsed());
}
