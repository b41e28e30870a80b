//! Leases, with the real agent: what counts as contact, what does not, and what a link can do.
//!
//! In: a daemon's side that answers, keeps silent or lies. Out: rules that end. Spec: docs/wire.md "Contact".

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

use elevate_protocol::contact::Contact;
use elevate_protocol::document::{EndCause, Grant};
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::agent::{Applied, Report, ToAgent};
use elevate_protocol::time::Span;
use rig::contact::contact;
use rig::{Daemon, Rig, act, grant, key, until};

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";

fn leased(id: u8, lease: u32) -> Grant {
    Grant { lease: Some(Span(lease)), critical: vec!["sudo".into(), "lease".into()], ..grant(id, 3600) }
}

fn ended(daemon: &mut Daemon) -> Report {
    daemon.report(|report| matches!(report, Report::Ended { .. }))
}

fn lost(id: u8) -> Report {
    Report::Ended { grant: ActivationId::from_random([id; 16]), cause: EndCause::NoContact }
}

/// The moment of the last proven contact, in milliseconds since the boot.
fn proven(rig: &Rig) -> Option<u64> {
    let deadlines: serde_json::Value = serde_json::from_str(&rig.read("run/elevate/deadlines.json")).unwrap();
    deadlines["contact"].as_u64()
}

/// Whether the agent keeps this grant; its arrival was a contact then.
fn keeps(rig: &Rig, id: u8) -> bool {
    let id = ActivationId::from_random([id; 16]).to_string();
    std::fs::read_to_string(rig.path("run/elevate/deadlines.json")).is_ok_and(|text| text.contains(&id))
}

#[test]
fn a_lease_ends_without_contact_and_says_why() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(leased(5, 3))), Applied::Enforced);
    assert_eq!(daemon.apply(2, act(grant(6, 3600))), Applied::Enforced);
    // The connection is there and heartbeats go to and fro: that is no contact.
    daemon.send(&ToAgent::Heartbeat { time: rig::now() });
    assert_eq!(ended(&mut daemon), lost(5));
    let left = rig.read(DROP_IN);
    assert!(!left.contains("0M2R") && left.lines().count() == 2, "the one to its end stays: {left}");
}

#[test]
fn answers_keep_a_lease_alive() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&ToAgent::Document(rig::sign(1, act(leased(5, 6)))));
    // Its arrival is a contact too, and a later one than the question that goes before it.
    let early = daemon.question();
    until("the grant", || rig.path(DROP_IN).exists());
    let mut before = proven(&rig);
    daemon.answer(early, 1);
    for _ in 0..6 {
        let nonce = daemon.question();
        daemon.answer(nonce, 1);
        until("the answer to count", || proven(&rig) > before);
        before = proven(&rig);
        assert!(rig.path(DROP_IN).exists());
    }
    // Six questions, 2 s apart, are more than one lease long.
    assert_eq!(ended(&mut daemon), lost(5));
}

#[test]
fn a_link_that_hides_a_document_proves_no_contact() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&ToAgent::Document(rig::sign(1, act(leased(5, 3)))));
    let nonce = daemon.question();
    until("the grant", || rig.path(DROP_IN).exists());
    let before = proven(&rig);
    // The daemon has issued an end; whoever carries its words keeps it back and brings the answer.
    daemon.answer(nonce, 2);
    assert_eq!(ended(&mut daemon), lost(5));
    assert_eq!(proven(&rig), before);
}

#[test]
fn a_forged_answer_ends_the_connection_and_proves_nothing() {
    let rig = Rig::new();
    for forge in [
        |nonce: Nonce| contact(nonce, 1).sign(&key(8)),
        |nonce: Nonce| Contact { nonce: Nonce::from_random([0; 16]), ..contact(nonce, 1) }.sign(&key(7)),
    ] {
        let mut daemon = Daemon::connect(&rig);
        let seq = daemon.hello.seq + 1;
        let id = u8::try_from(seq).unwrap();
        daemon.send(&ToAgent::Document(rig::sign(seq, act(leased(id, 60)))));
        let nonce = daemon.question();
        until("the grant", || keeps(&rig, id));
        let before = proven(&rig);
        daemon.send(&ToAgent::Contact(forge(nonce).unwrap()));
        while daemon.claim().is_some() {}
        assert_eq!(proven(&rig), before);
        let told =
            |report: &Report| matches!(report, Report::Tampered { what } if what.raw().contains("contact"));
        Daemon::connect(&rig).report(told);
    }
}

#[test]
fn a_lease_goes_on_over_a_restart_and_ends_while_nobody_runs() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(leased(5, 4))), Applied::Enforced);
    let before = proven(&rig);
    rig.kill();
    rig.start();
    assert_eq!(proven(&rig), before, "a restart is no contact");
    rig.kill();
    let boot = || {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        std::time::Duration::from_secs_f64(seconds)
    };
    let over = std::time::Duration::from_millis(before.unwrap() + 4_050);
    until("the end of the lease", || boot() > over);
    rig.start();
    assert!(!rig.path(DROP_IN).exists());
    assert_eq!(ended(&mut Daemon::connect(&rig)), lost(5));
}

#[test]
fn after_a_boot_nothing_with_a_lease_is_in_force_before_contact() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(leased(5, 600))), Applied::Enforced);
    rig.kill();
    std::fs::remove_dir_all(rig.path("run/elevate")).unwrap();
    rig.start();
    assert!(!rig.path(DROP_IN).exists());
    let mut daemon = Daemon::connect(&rig);
    let nonce = daemon.question();
    assert!(!rig.path(DROP_IN).exists(), "a connection is no contact");
    daemon.answer(nonce, 1);
    until("the rule", || rig.path(DROP_IN).exists());
}

#[test]
fn a_grant_that_was_under_way_for_longer_than_its_lease_is_refused() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut late = leased(5, 30);
    late.not_before = late.not_before.before(Span(100));
    let Applied::Refused { why } = daemon.apply(1, act(late)) else { panic!("in force") };
    assert_eq!(why.raw(), "the daemon was not heard for longer than the lease of the grant");
    assert!(!rig.path(DROP_IN).exists());
}
