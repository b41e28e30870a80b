//! Tests of the gate on real files of real signatures in a directory of their own. They run as root, as the gate does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use elevate_protocol::document::{Act, End, EndCause, Extend, Grant};
use elevate_protocol::signers::{Last, TrustedKey};
use elevate_protocol::time::Span;
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use super::*;

#[path = "gate_site.rs"]
mod site;
#[path = "gate_time_tests.rs"]
mod time;

use self::site::{NOW, Site, UID, grant, host, id, sign};

/// How long the machine is up in these tests.
const UP: Duration = Duration::from_millis(site::BOOT);

fn allow_others_to_write(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

#[test]
fn an_account_without_a_drop_in_is_not_managed() {
    let site = Site::new();
    assert!(matches!(site.decide_at(2001, NOW), Verdict::Unmanaged));
    fs::remove_file(site.dropin()).unwrap();
    assert!(matches!(site.decide(), Verdict::Unmanaged));
    fs::remove_dir_all(&site.paths.dropins).unwrap();
    assert!(matches!(site.decide(), Verdict::Unmanaged));
}

// "Root's console and ordinary sudo rules work as before": whatever has become of our folders.
#[test]
fn root_is_never_managed() {
    let site = Site::new();
    fs::write(site.paths.dropins.join("u0"), "torn").unwrap();
    assert!(matches!(site.decide_at(0, NOW), Verdict::Unmanaged));
    let real = site.place.path().join("real");
    fs::rename(&site.paths.dropins, &real).unwrap();
    symlink(&real, &site.paths.dropins).unwrap();
    assert!(matches!(site.decide_at(0, NOW), Verdict::Unmanaged));
    assert!(matches!(site.decide_at(UID, NOW), Verdict::Closed(_)));
}

#[test]
fn the_gate_is_open_exactly_while_every_grant_holds() {
    let site = Site::new();
    assert!(matches!(site.decide(), Verdict::Open(_)));
    assert!(matches!(site.decide_at(UID, NOW.before(Span::MINUTE)), Verdict::Open(_)));
    assert!(matches!(site.decide_at(UID, Timestamp(NOW.0 + 3599)), Verdict::Open(_)));
    assert!(site.dropin().exists());
    let why = site.closed_at(Timestamp(NOW.0 + 3600));
    assert!(matches!(why, Closed::NotLive { source: NotLive::Expired, .. }), "{why:?}");
}

#[test]
fn a_grant_before_its_first_second_closes_the_gate() {
    let why = Site::new().closed_at(Timestamp(NOW.0 - 61));
    assert!(matches!(why, Closed::NotLive { source: NotLive::NotYet, .. }), "{why:?}");
}

#[test]
fn one_grant_of_two_that_does_not_hold_closes_the_gate() {
    let site = Site::new();
    site.put_dropin(&format!("# elevate grants {} {}\n#2000 ALL=(root) NOPASSWD: ALL\n", id(1), id(2)));
    let why = site.closed();
    assert!(
        matches!(why, Closed::Grant { source: FileError::Missing, id: missing } if missing == id(2)),
        "{why:?}"
    );
}

#[test]
fn an_ended_grant_closes_the_gate_and_an_extended_one_keeps_it_open() {
    let site = Site::new();
    let signed = |act| sign(&site.key, host(), act);
    let extend = Act::Extend(Extend { id: id(1), revision: 2, not_after: NOW.after(Span(7200)) });
    let extended = SignedGrant::new(signed(Act::Grant(Box::new(grant(1))))).with(signed(extend));
    site.put_grant(1, &extended);
    assert!(matches!(site.decide_at(UID, NOW.after(Span(7199))), Verdict::Open(_)));
    let end = Act::End(End { id: id(1), revision: 3, cause: EndCause::Revoked });
    site.put_grant(1, &extended.with(signed(end)));
    assert!(matches!(site.closed(), Closed::NotLive { source: NotLive::Ended(EndCause::Revoked), .. }));
}

#[test]
fn a_grant_of_another_account_another_id_another_host_or_another_key_closes_the_gate() {
    let site = Site::new();
    let foreign = Grant { uid: 2001, ..grant(1) };
    site.put_grant(1, &SignedGrant::new(sign(&site.key, host(), Act::Grant(Box::new(foreign)))));
    assert!(matches!(site.closed(), Closed::Other { .. }));

    let site = Site::new();
    site.put_grant(1, &SignedGrant::new(sign(&site.key, host(), Act::Grant(Box::new(grant(2))))));
    assert!(matches!(site.closed(), Closed::Other { .. }));

    let site = Site::new();
    let elsewhere = HostId::from_random([9; 16]);
    site.put_grant(1, &SignedGrant::new(sign(&site.key, elsewhere, Act::Grant(Box::new(grant(1))))));
    assert!(matches!(site.closed(), Closed::Verify { source: VerifyError::WrongHost { .. }, .. }));

    let site = Site::new();
    let forger = PrivateKey::from(Ed25519Keypair::from_seed(&[6; 32]));
    site.put_grant(1, &SignedGrant::new(sign(&forger, host(), Act::Grant(Box::new(grant(1))))));
    assert!(matches!(site.closed(), Closed::Verify { source: VerifyError::NotTrusted, .. }));
}

#[test]
fn a_grant_file_cut_anywhere_closes_the_gate() {
    let whole = fs::read_to_string(Site::new().grant_file(1)).unwrap();
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let site = Site::new();
        fs::write(site.grant_file(1), &whole[..cut]).unwrap();
        assert!(matches!(site.closed(), Closed::Verify { .. }), "{cut}");
    }
}

// THREATS X-i: prefixes of a drop-in can allow more than the whole.
#[test]
fn a_drop_in_cut_anywhere_closes_the_gate() {
    let whole = fs::read_to_string(Site::new().dropin()).unwrap();
    for cut in 0..whole.len() {
        let site = Site::new();
        site.put_dropin(&whole[..cut]);
        let line_end = cut == whole.find('\n').unwrap() + 1;
        assert!(line_end || matches!(site.closed(), Closed::Form { .. }), "{cut}");
    }
}

#[test]
fn a_drop_in_with_a_line_of_somebody_else_closes_the_gate() {
    let head = format!("# elevate grants {}", id(1));
    for (text, line) in [
        ("# something else\n".to_owned(), 1),
        ("# elevate grants \n".to_owned(), 1),
        (format!("{head} \n"), 1),
        (format!("{head}\n#2001 ALL=(root) NOPASSWD: ALL\n"), 2),
        (format!("{head}\n#2000 ALL=(root) NOPASSWD: ALL\nalice ALL=(ALL) ALL\n"), 3),
        (format!("{head}\n#2000 ALL=(root) NOPASSWD: /usr/bin/id \\\n"), 2),
        (format!("{head}\n\n"), 2),
    ] {
        let site = Site::new();
        site.put_dropin(&text);
        let why = site.closed();
        assert!(matches!(why, Closed::Form { line: found } if found == line), "{text:?}: {why:?}");
    }
}

// THREATS A11: pre-planted symlinks, FIFOs, directories, foreign modes.
#[test]
fn a11_planted_things_are_neither_followed_nor_waited_for() {
    let site = Site::new();
    let real = site.place.path().join("real");
    fs::rename(site.dropin(), &real).unwrap();
    symlink(&real, site.dropin()).unwrap();
    assert!(matches!(site.closed(), Closed::DropIn { source: FileError::Kind }));
    assert!(real.exists(), "what the symlink points to is left alone");

    let site = Site::new();
    fs::remove_file(site.dropin()).unwrap();
    nix::unistd::mkfifo(&site.dropin(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(site.closed(), Closed::DropIn { source: FileError::Kind }));

    let site = Site::new();
    allow_others_to_write(&site.dropin());
    assert!(matches!(site.closed(), Closed::DropIn { source: FileError::Owner }));

    let site = Site::new();
    std::os::unix::fs::chown(site.dropin(), Some(2000), None).unwrap();
    assert!(matches!(site.closed(), Closed::DropIn { source: FileError::Owner }));

    let site = Site::new();
    fs::set_permissions(&site.paths.dropins, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(site.closed(), Closed::Directory));

    let site = Site::new();
    fs::remove_file(site.dropin()).unwrap();
    fs::create_dir(site.dropin()).unwrap();
    assert!(matches!(site.decide(), Verdict::Closed(_)), "sudo ignores a directory, the gate stays closed");
}

/// Threat K05: what the key before signed holds up to its last document and until its end; then nothing by it does.
#[test]
fn k05_a_grant_by_a_replaced_key_holds_as_far_as_the_signers_file_says() {
    let until = Timestamp(NOW.0 + 1800);
    let site_with = |place: (u32, u64)| {
        let site = Site::new();
        let next = PrivateKey::from(Ed25519Keypair::from_seed(&[6; 32]));
        let before = TrustedKey::new(site.key.public_key(), Some(Last { until, place })).unwrap();
        let keys = TrustedKeys::new(vec![before, TrustedKey::new(next.public_key(), None).unwrap()]).unwrap();
        fs::write(&site.paths.signers, keys.to_signers().unwrap()).unwrap();
        site
    };
    let site = site_with((1, 1));
    assert!(matches!(site.decide_at(UID, Timestamp(until.0 - 1)), Verdict::Open(_)));
    let why = site.closed_at(until);
    assert!(matches!(why, Closed::Verify { source: VerifyError::NotTrusted, .. }), "{why:?}");
    let why = site_with((1, 0)).closed();
    assert!(matches!(why, Closed::Verify { source: VerifyError::Replaced { seq: 1 }, .. }), "{why:?}");
}

#[test]
fn b08_what_cannot_be_read_or_trusted_closes_the_gate() {
    let signers = |change: fn(&Path)| {
        let site = Site::new();
        change(&site.paths.signers);
        site.closed()
    };
    assert!(matches!(
        signers(|p| fs::remove_file(p).unwrap()),
        Closed::Signers { source: FileError::Missing }
    ));
    assert!(matches!(signers(|p| fs::write(p, "").unwrap()), Closed::Trust { .. }));
    assert!(matches!(
        signers(|p| fs::write(p, b"\xff\xfe").unwrap()),
        Closed::Signers { source: FileError::Text }
    ));
    assert!(matches!(signers(allow_others_to_write), Closed::Signers { source: FileError::Owner }));
    let long = signers(|p| fs::write(p, vec![b'x'; 70_000]).unwrap());
    assert!(matches!(long, Closed::Signers { source: FileError::Length }));

    for text in ["", "host = 7\n", "host = \"short\"\n", "[table]\nhost = \"x\"\n"] {
        let site = Site::new();
        fs::write(&site.paths.config, text).unwrap();
        assert!(matches!(site.closed(), Closed::NoHost), "{text:?}");
    }
    let site = Site::new();
    let line = format!("host = \"{}\"\n", host());
    fs::write(&site.paths.config, format!("{line}{line}")).unwrap();
    assert!(matches!(site.closed(), Closed::NoHost), "two hosts");

    let site = Site::new();
    fs::remove_dir_all(&site.paths.grants).unwrap();
    assert!(matches!(site.closed(), Closed::Grant { source: FileError::Missing, .. }));
    let site = Site::new();
    fs::write(site.grant_file(1), vec![b'x'; 1_100_000]).unwrap();
    assert!(matches!(site.closed(), Closed::Grant { source: FileError::Length, .. }));
}

// THREATS G01: a wall clock behind the moment at which the agent wrote the drop-in does not make an expired grant live again.
#[test]
fn g01_a_clock_set_back_does_not_revive_a_grant() {
    let site = Site::new();
    let late = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW.0).unwrap() + 7200);
    fs::File::options().append(true).open(site.dropin()).unwrap().set_modified(late).unwrap();
    assert!(matches!(site.closed(), Closed::NotLive { source: NotLive::Expired, .. }));
}

#[test]
fn a_sudo_that_was_stopped_while_its_grants_changed_is_sent_back() {
    let site = Site::new();
    let changed = Directory::open(&site.paths.grants).unwrap().enter("u2000").unwrap().changed();
    let at = |uid, began, age| decide(&site.paths, Moment { uid, now: NOW, began, age, boot: UP });
    let second = Duration::from_secs(1);
    assert!(matches!(at(UID, changed.saturating_sub(second), second * 60), Verdict::Moved));
    assert!(matches!(at(UID, changed.saturating_sub(second), second), Verdict::Moved));
    assert!(matches!(at(UID, changed + second, second * 60), Verdict::Open(_)));
    let moment_before = changed.saturating_sub(Duration::from_millis(5));
    assert!(
        matches!(at(UID, moment_before, Duration::ZERO), Verdict::Open(_)),
        "it may have begun just after"
    );
    assert!(
        matches!(at(UID, moment_before, second * 60), Verdict::Moved),
        "too old for the benefit of the doubt"
    );
    assert!(matches!(at(2001, Duration::ZERO, Duration::MAX), Verdict::Unmanaged), "never had a grant");
    fs::remove_file(site.dropin()).unwrap();
    assert!(
        matches!(at(UID, changed.saturating_sub(second), second * 60), Verdict::Moved),
        "its rule is gone"
    );
    assert!(matches!(at(UID, changed + second, Duration::ZERO), Verdict::Unmanaged));
}

// With the agent dead nobody but the gate takes the rule of an ended grant away.
#[test]
fn the_second_of_two_stopped_sudos_does_not_pass_because_the_first_one_removed_the_rule() {
    for grants_are_gone in [false, true] {
        let site = Site::new();
        if grants_are_gone {
            fs::remove_dir_all(site.paths.grants.join("u2000")).unwrap();
        }
        let minute = Duration::from_secs(60);
        let stopped = Moment {
            uid: UID,
            now: NOW.after(Span::HOUR),
            began: crate::clock::since_1970().saturating_sub(Duration::from_millis(100)),
            age: minute,
            boot: UP,
        };
        assert!(matches!(decide(&site.paths, stopped), Verdict::Closed(_)));
        assert!(matches!(decide(&site.paths, stopped), Verdict::Moved), "{grants_are_gone}");
        let later = Moment { began: crate::clock::since_1970().saturating_add(minute), ..stopped };
        assert!(matches!(decide(&site.paths, later), Verdict::Unmanaged), "the next one is as any other");
    }
}

// THREATS G01, and "ordinary sudo rules work as before".
#[test]
fn g01_a_clock_set_back_sends_a_call_back_once_and_not_until_it_has_caught_up() {
    let site = Site::new();
    fs::remove_file(site.dropin()).unwrap();
    let changed = || Directory::open(&site.paths.grants).unwrap().enter("u2000").unwrap().changed();
    let first = changed();
    let hour = Duration::from_secs(3600);
    let behind =
        Moment { uid: UID, now: NOW, began: first.saturating_sub(hour), age: Duration::ZERO, boot: UP };
    assert!(matches!(decide(&site.paths, behind), Verdict::Moved));
    assert!(changed() > first, "the directory has the time of now, by whatever clock there is");
    let next = Moment { began: changed(), ..behind };
    assert!(matches!(decide(&site.paths, next), Verdict::Unmanaged));
}

#[test]
fn a_drop_in_that_is_replaced_while_it_is_read_is_not_lost() {
    let site = Site::new();
    site.put_dropin("torn");
    let good = format!("# elevate grants {}\n#2000 ALL=(root) NOPASSWD: ALL\n", id(1));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let agent = scope.spawn(|| {
            let temp = site.paths.dropins.join("u2000.new");
            let mut rounds = 0u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(&temp, &good).unwrap();
                fs::rename(&temp, site.dropin()).unwrap();
                rounds += 1;
            }
            rounds
        });
        while !matches!(site.decide(), Verdict::Open(_)) {}
        for _ in 0..200 {
            assert!(matches!(site.decide(), Verdict::Open(_)));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(agent.join().unwrap() > 0);
    });
    assert!(site.dropin().exists());
}
