//! Ends that cannot have their turn, since the disk does not take what comes before them: they take effect all the same, and for good.
//!
//! In: a file that the real agent cannot replace. Out: rules that are gone and stay gone. Needs root. Threat R05, docs/faults.md.

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

use elevate_protocol::document::{Act, End, EndCause};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use rig::{Daemon, Rig, act, grant, sign, until};

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";
const POSITION: &str = "var/lib/elevate/position";

fn end(id: u8) -> Act {
    Act::End(End { id: ActivationId::from_random([id; 16]), revision: 2, cause: EndCause::Revoked })
}

/// Whether the next document that was done with was enforced; it has to be that of `seq`.
fn enforced(daemon: &mut Daemon, seq: u64) -> bool {
    match daemon.claim() {
        Some(Claim::Applied { seq: found, result }) if found == seq => result == Applied::Enforced,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r05_an_end_that_came_early_is_remembered_over_connections() {
    let rig = Rig::new();
    rig.hold(POSITION);
    let mut daemon = Daemon::connect(&rig);
    let first = act(grant(5, 3600));
    daemon.send(&ToAgent::Document(sign(1, first.clone())));
    until("the grant", || rig.path(DROP_IN).exists());
    daemon.send(&ToAgent::Document(sign(2, end(5))));
    daemon.report(|report| matches!(report, Report::Ended { cause: EndCause::Revoked, .. }));
    assert!(!rig.path(DROP_IN).exists());
    // The daemon says all of it again over another connection, and no end of it has arrived yet.
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 0);
    rig.let_go(POSITION);
    let Applied::Refused { why } = daemon.apply(1, first) else { panic!("the grant began again") };
    assert!(why.raw().contains("it has ended"), "{}", why.raw());
    assert!(!rig.path(DROP_IN).exists());
    assert_eq!(daemon.apply(2, end(5)), Applied::Enforced);
    assert_eq!(daemon.apply(3, act(grant(6, 3600))), Applied::Enforced, "the log goes on");
}

/// The grant waits behind another document, and its end behind the grant.
#[test]
fn r05_a_grant_that_ended_before_its_turn_does_not_begin() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    rig.hold(POSITION);
    daemon.send(&ToAgent::Document(sign(1, act(grant(5, 3600)))));
    until("the grant", || rig.path(DROP_IN).exists());
    // The last of these is seen to be early by what it ends.
    for (seq, act) in [(2, act(grant(6, 3600))), (3, end(6)), (4, end(5))] {
        daemon.send(&ToAgent::Document(sign(seq, act)));
    }
    daemon.report(|report| matches!(report, Report::Ended { .. }));
    rig.let_go(POSITION);
    let done: Vec<bool> = (1..=4).map(|seq| enforced(&mut daemon, seq)).collect();
    assert_eq!(done, [true, false, true, true]);
    assert!(!rig.path(DROP_IN).exists());
}
