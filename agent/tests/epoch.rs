//! Epochs, with the real agent: a daemon that was restored from a backup, and the word of the host's root.
//!
//! In: a daemon's side that says so, or lies. Out: rules that stay or end, a log that begins anew. Spec: docs/wire.md "Epochs".

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

use std::process::Command;

use elevate_protocol::document::{Act, Document, End, EndCause, head};
use elevate_protocol::epoch::NewEpoch;
use elevate_protocol::id::{ActivationId, HostId, Nonce};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::refusal::{Code, Refusal};
use rig::{Daemon, Rig, act, cluster, document, grant, host, key, sign, sign_document, until};

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";
const WORD: &str = "etc/elevate/epoch";
const EARLY: &str = "run/elevate/early.json";

fn word(nonce: Nonce, epoch: u32) -> NewEpoch {
    NewEpoch { cluster: cluster(), host: host(), nonce, epoch }
}

/// A daemon of another log, that says so.
fn restored(rig: &Rig, epoch: u32) {
    let mut daemon = Daemon::greet(rig);
    let said = word(daemon.hello.nonce, epoch).sign(&key(7)).unwrap();
    daemon.send(&ToAgent::Epoch(said));
    // As the daemon does; the agent hangs up when it has taken both in.
    daemon.try_send(&ToAgent::Refused(Refusal::new(Code::Integrity, "another log")));
    while daemon.claim().is_some() {}
    until("the daemon's word", || waits(rig) == Some(epoch) || position(rig).0 == u64::from(epoch));
}

/// The epoch that waits, as status tells it.
fn waits(rig: &Rig) -> Option<u32> {
    let status: serde_json::Value = serde_json::from_str(&rig.read("run/elevate/status.json")).unwrap();
    status["new_epoch"].as_u64().map(|epoch| u32::try_from(epoch).unwrap())
}

fn position(rig: &Rig) -> (u64, u64) {
    let position: serde_json::Value = serde_json::from_str(&rig.read("var/lib/elevate/position")).unwrap();
    (position["epoch"].as_u64().unwrap(), position["seq"].as_u64().unwrap())
}

/// `elevate-agent confirm-epoch N`: its exit code and what it says.
fn confirm(rig: &Rig, epoch: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elevate-agent"));
    let output = command.arg("--root").arg(rig.path("")).args(["confirm-epoch", epoch]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn with_two_grants() -> Rig {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    assert_eq!(daemon.apply(2, act(grant(6, 3600))), Applied::Enforced);
    rig
}

#[test]
fn r25_a_new_epoch_begins_with_the_word_of_root_and_ends_what_was_in_force() {
    let mut rig = with_two_grants();
    let (code, said) = confirm(&rig, "2");
    assert_eq!((code, said.as_str()), (Some(2), "error: no epoch waits here; this host is in epoch 1\n"));
    restored(&rig, 2);
    assert!(rig.path(DROP_IN).exists(), "the daemon's word alone ends nothing");
    let (code, shown) = rig.status(&[]);
    assert!(code == Some(9) && shown.contains("elevate-agent confirm-epoch 2"), "{shown}");
    // Over a restart it is the daemon's to say again.
    rig.kill();
    rig.start();
    until("the status of the new agent", || waits(&rig).is_none());
    assert_eq!(position(&rig), (1, 2));
    restored(&rig, 2);
    let (code, said) = confirm(&rig, "3");
    assert_eq!((code, said.as_str()), (Some(2), "error: the daemon says epoch 2, not 3\n"));
    let (code, said) = confirm(&rig, "2");
    assert!(code == Some(0) && said.contains("epoch 2 has begun"), "{said}");
    assert!(!rig.path(DROP_IN).exists());
    assert_eq!((waits(&rig), position(&rig)), (None, (2, 0)));
    let mut daemon = Daemon::connect(&rig);
    assert_eq!((daemon.hello.epoch, daemon.hello.seq, daemon.hello.head), (2, 0, None));
    assert_eq!(daemon.hello.last, None);
    daemon.report(|report| *report == Report::Epoch { epoch: 2 });
    let restored = |report: &&Report| matches!(report, Report::Ended { cause: EndCause::Restored, .. });
    assert_eq!(daemon.reports.iter().filter(restored).count(), 2);
    // What the old log said is nothing any more.
    daemon.send(&ToAgent::Document(sign(1, act(grant(7, 3600)))));
    while daemon.claim().is_some() {}
    assert!(!rig.path(DROP_IN).exists());
}

/// What the agent keeps of ends that had not their turn is of one log: in the next one the same place is another document's.
#[test]
fn r25_an_end_that_came_early_in_the_log_before_says_nothing_about_the_new_one() {
    let mut rig = Rig::new();
    rig.hold("var/lib/elevate/position");
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&ToAgent::Document(sign(1, act(grant(5, 3600)))));
    until("the grant", || rig.path(DROP_IN).exists());
    let end = Act::End(End { id: ActivationId::from_random([5; 16]), revision: 2, cause: EndCause::Revoked });
    daemon.send(&ToAgent::Document(sign(2, end)));
    daemon.report(|report| matches!(report, Report::Ended { cause: EndCause::Revoked, .. }));
    until("the end to be kept", || rig.path(EARLY).exists());
    // The next connection of the daemon is one of another log, and the disk takes things again.
    drop(daemon);
    until("the end of the connection", || {
        rig.read("run/elevate/status.json").contains("\"connected\":false")
    });
    rig.let_go("var/lib/elevate/position");
    restored(&rig, 2);
    assert!(rig.path(EARLY).exists(), "the daemon's word alone begins nothing");
    assert_eq!(confirm(&rig, "2").0, Some(0));
    assert!(!rig.path(EARLY).exists(), "for the agent that is started next");
    rig.kill();
    rig.start();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.epoch, 2);
    let again = Document { epoch: 2, ..document(1, act(grant(5, 3600))) };
    daemon.send(&ToAgent::Document(sign_document(&again)));
    until("the grant of the new log", || rig.path(DROP_IN).exists());
}

#[test]
fn r25_nobody_but_the_daemon_speaks_of_a_new_epoch() {
    let rig = with_two_grants();
    rig.write(WORD, "2\n", 0o644);
    for forge in [
        |nonce: Nonce| word(nonce, 2).sign(&key(8)),
        |_: Nonce| word(Nonce::from_random([0; 16]), 2).sign(&key(7)),
        |nonce: Nonce| NewEpoch { host: HostId::from_random([9; 16]), ..word(nonce, 2) }.sign(&key(7)),
        |nonce: Nonce| word(nonce, 1).sign(&key(7)),
    ] {
        let mut daemon = Daemon::greet(&rig);
        daemon.send(&ToAgent::Epoch(forge(daemon.hello.nonce).unwrap()));
        while daemon.claim().is_some() {}
        assert_eq!((waits(&rig), position(&rig)), (None, (1, 2)));
        Daemon::connect(&rig)
            .report(|report| matches!(report, Report::Tampered { what } if what.raw().contains("epoch")));
    }
    assert!(rig.path(DROP_IN).exists());
    // Root's word was there first: the daemon's own begins it.
    restored(&rig, 2);
    until("the new epoch", || position(&rig) == (2, 0) && !rig.path(DROP_IN).exists());
}

#[test]
fn a_word_that_is_none_or_that_others_can_write_begins_nothing() {
    let rig = with_two_grants();
    restored(&rig, 2);
    for (text, mode) in
        [("2\n", 0o666), ("2", 0o644), ("1\n", 0o644), ("two\n", 0o644), ("", 0o644), ("22\n", 0o644)]
    {
        rig.write(WORD, text, mode);
        // The agent looks at each change, and again here before it answers.
        restored(&rig, 2);
        assert_eq!((waits(&rig), position(&rig)), (Some(2), (1, 2)), "{text:?} {mode:o}");
    }
    assert!(rig.path(DROP_IN).exists());
    // By hand, or by whatever keeps the host's files: the agent sees it at once.
    rig.write(WORD, "2\n", 0o644);
    until("the new epoch", || position(&rig) == (2, 0));
}

#[test]
fn the_head_tells_what_was_applied_and_what_was_refused() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let (mut log, mut last) = (None, None);
    for (seq, id) in [(1, 5), (2, 5), (3, 6)] {
        let signed = sign(seq, act(grant(id, 3600)));
        log = Some(head(log, &signed.body));
        last = Some(signed.clone());
        daemon.send(&ToAgent::Document(signed));
        let Some(Claim::Applied { result, .. }) = daemon.claim() else { panic!("not applied") };
        assert_eq!(result == Applied::Enforced, seq != 2, "the second is of an id that is there already");
    }
    drop(daemon);
    let hello = Daemon::greet(&rig).hello;
    assert_eq!((hello.head, hello.last), (log, last));
}
