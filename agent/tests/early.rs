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

use elevate_protocol::document::{Act, End, EndCause, Grant, Keys, SigningKey};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant};
use elevate_protocol::time::Span;
use rig::contact::contact;
use rig::{Daemon, Rig, act, document, grant, key, now, sign, until};

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";
const POSITION: &str = "var/lib/elevate/position";
const SIGNERS: &str = "etc/elevate/trust/grant_signers";

fn end(id: u8) -> Act {
    Act::End(End { id: ActivationId::from_random([id; 16]), revision: 2, cause: EndCause::Revoked })
}

/// Another key takes over.
fn keys() -> Act {
    let line = |seed: u8| key(seed).public_key().to_openssh().unwrap();
    let until = Some(now().after(Span(3600)));
    Act::Keys(Keys {
        grant: vec![SigningKey { key: line(7), until }, SigningKey { key: line(17), until: None }],
        user_ca: Default::default(),
        host_ca: Default::default(),
    })
}

/// By that key.
fn sign_next(seq: u64, act: Act) -> SignedBody {
    SignedBody::sign(document(seq, act).to_line().unwrap(), &key(17), GRANT_NAMESPACE).unwrap()
}

fn has(rig: &Rig, id: u8) -> bool {
    let id = ActivationId::from_random([id; 16]);
    rig.path(&format!("run/elevate/grants/u2000/{id}.grant")).exists()
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

/// Whatever is on the disk of it: the agent that is started again hears the grant first, and its end after it.
#[test]
fn r05_an_end_that_came_early_is_remembered_over_a_restart() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let (first, second) = (act(grant(5, 3600)), act(grant(6, 3600)));
    assert_eq!(daemon.apply(1, first), Applied::Enforced);
    rig.hold(POSITION);
    daemon.send(&ToAgent::Document(sign(2, second.clone())));
    until("the grant", || has(&rig, 6));
    daemon.send(&ToAgent::Document(sign(3, end(5))));
    daemon.send(&ToAgent::Document(sign(4, end(6))));
    for _ in [5, 6] {
        daemon.report(|report| matches!(report, Report::Ended { cause: EndCause::Revoked, .. }));
    }
    // As if the disk had not let the documents go either.
    let log = rig.path("var/lib/elevate/log");
    let kept = log.join(format!("{}.grant", ActivationId::from_random([5; 16])));
    assert!(!kept.exists() && !rig.path(DROP_IN).exists());
    std::fs::write(&kept, SignedGrant::new(sign(1, act(grant(5, 3600)))).to_text()).unwrap();
    rig.kill();
    rig.start();
    assert!(!rig.path(DROP_IN).exists(), "it began again");
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 1);
    let Applied::Refused { why } = daemon.apply(2, second) else { panic!("the grant began again") };
    assert!(why.raw().contains("it has ended"), "{}", why.raw());
    assert!(!rig.path(DROP_IN).exists());
    assert_eq!([daemon.apply(3, end(5)), daemon.apply(4, end(6))], [Applied::Enforced, Applied::Enforced]);
    until("nothing is left to remember", || !rig.path("run/elevate/early.json").exists());
    assert_eq!(daemon.apply(5, act(grant(7, 3600))), Applied::Enforced, "the log goes on");
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

#[test]
fn k05_an_end_by_the_next_key_is_obeyed_before_the_document_about_that_key_has_its_turn() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    for id in [5, 6] {
        assert_eq!(daemon.apply(u64::from(id) - 4, act(grant(id, 3600))), Applied::Enforced);
    }
    rig.hold(POSITION);
    daemon.send(&ToAgent::Document(sign(3, act(grant(7, 3600)))));
    until("the grant", || has(&rig, 7));
    // Behind the keys the one of before ends nothing.
    for signed in [sign(4, keys()), sign(5, end(6)), sign_next(6, end(5))] {
        daemon.send(&ToAgent::Document(signed));
    }
    daemon.report(|report| matches!(report, Report::Ended { .. }));
    assert!(!has(&rig, 5) && has(&rig, 6) && has(&rig, 7));
    assert_eq!(rig.read(SIGNERS).lines().count(), 1, "they are still to come");
    rig.let_go(POSITION);
    assert!(enforced(&mut daemon, 3) && enforced(&mut daemon, 4));
    assert!(daemon.claim().is_none(), "the agent hangs up on the key of before");
    assert!(has(&rig, 6));
}

/// The keys cannot be written: it is the document about them that waits.
#[test]
fn k05_keys_that_cannot_be_written_hold_up_no_end_behind_them() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let leased =
        Grant { lease: Some(Span(600)), critical: vec!["sudo".into(), "lease".into()], ..grant(5, 3600) };
    daemon.send(&ToAgent::Document(sign(1, act(leased))));
    let nonce = daemon.question();
    assert!(enforced(&mut daemon, 1));
    rig.hold(SIGNERS);
    daemon.send(&ToAgent::Document(sign(2, keys())));
    // What the daemon says with the next key is no reason to hang up either.
    daemon.send(&ToAgent::Contact(contact(nonce, 3).sign(&key(17)).unwrap()));
    daemon.send(&ToAgent::Document(sign_next(3, end(5))));
    daemon.report(|report| matches!(report, Report::Ended { .. }));
    assert!(!has(&rig, 5));
    assert_eq!(rig.read(SIGNERS).lines().count(), 1);
    rig.let_go(SIGNERS);
    assert!(enforced(&mut daemon, 2) && enforced(&mut daemon, 3));
    assert_eq!(rig.read(SIGNERS).lines().count(), 2);
}
