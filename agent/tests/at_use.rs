//! A use that needs a code, as `pam_elevate.so` asks the real `elevate-agent` for it. Needs root.
//!
//! Threats B02, D06, D13; docs/wire.md "A use".

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends with the first thing that is not as it should be; the rig is shared"
)]

mod rig;

use elevate_protocol::digest::Digest;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::agent::{Applied, Claim, FactorUse, Seat, ToAgent};
use elevate_protocol::message::person::{Ask, AtUseAsk, Challenge, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use rig::person::Person;
use rig::{Daemon, Rig, act, grant};

/// Not a test of its own: what the other tests run as root or mallory.
#[test]
fn a_person() {
    rig::person::play_person();
}

const SEAT: Seat = Seat { tty: 34_816, session: 7, began: 9 };

fn asks(seat: Seat) -> Say {
    Say::AtUse(FactorUse {
        uid: 2000,
        seat,
        terminal: Some(UntrustedText::lossy("/dev/pts/3")),
        argv: vec![UntrustedText::lossy("sudo"), UntrustedText::lossy("/usr/bin/id")],
    })
}

/// A host where uid 2000 holds a grant that asks at every use.
fn held() -> (Rig, Daemon) {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut terms = grant(5, 3600);
    terms.factor_at_use = Some(Span(300));
    terms.critical.push("factor_at_use".into());
    assert_eq!(daemon.apply(1, act(terms)), Applied::Enforced);
    (rig, daemon)
}

fn refused(reply: Reply) -> Code {
    match reply {
        Reply::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// The ask that reached the daemon, as alice's.
fn asked(daemon: &mut Daemon) -> (u64, AtUseAsk) {
    match daemon.claim() {
        Some(Claim::Conversation { conversation, caller, say: Say::Ask(Ask::AtUse(asked)) }) => {
            assert_eq!((caller.uid, caller.login.as_str()), (2000, "alice"));
            (conversation, asked)
        }
        other => panic!("{other:?}"),
    }
}

fn challenge(asked: &AtUseAsk) -> Challenge {
    let ask = Ask::AtUse(asked.clone()).digest().unwrap();
    Challenge {
        id: Nonce::from_random([3; 16]),
        ask,
        prompt: UntrustedText::lossy("Code for alice: use web-ops"),
    }
}

fn reply(daemon: &mut Daemon, conversation: u64, reply: Reply) {
    daemon.send(&ToAgent::Conversation { conversation, reply });
}

/// Goes as far as the verdict.
fn code_given(daemon: &mut Daemon, module: &mut Person, accepted: bool) -> u64 {
    let (conversation, asked) = asked(daemon);
    reply(daemon, conversation, Reply::Challenge(challenge(&asked)));
    assert!(matches!(module.hears(), Reply::Prompt { echo: false, .. }));
    module.say(&Say::Input { text: Secret::new("123456".into()) });
    let Some(Claim::Conversation { say: Say::Answer { code, .. }, .. }) = daemon.claim() else {
        panic!("no code")
    };
    assert_eq!(code.expose(), "123456");
    reply(daemon, conversation, Reply::Verdict { accepted, tries: 2, message: None });
    assert!(matches!(module.hears(), Reply::Verdict { .. }));
    conversation
}

#[test]
fn d13_an_accepted_code_counts_for_this_seat_and_no_other() {
    let (rig, mut daemon) = held();
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    let conversation = code_given(&mut daemon, &mut module, true);
    assert!(matches!(
        daemon.claim(),
        Some(Claim::Conversation { say: Say::Confirm { passed: true, .. }, .. })
    ));
    reply(&mut daemon, conversation, Reply::Done(Outcome::Ok));
    assert!(matches!(module.hears(), Reply::Done(Outcome::Ok)));
    // The same seat: at once, and the daemon is not asked.
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    assert!(matches!(module.hears(), Reply::Done(Outcome::Ok)));
    // Another session at the same terminal: a use of its own.
    let mut module = rig.person(0, "talk");
    module.say(&asks(Seat { began: 10, ..SEAT }));
    let (_, other) = asked(&mut daemon);
    assert_eq!(other.seat.began, 10);
    // And the same seat after another grant that asks: the code was not for that one.
    let mut terms = grant(6, 3600);
    terms.factor_at_use = Some(Span(300));
    terms.critical.push("factor_at_use".into());
    assert_eq!(daemon.apply(2, act(terms)), Applied::Enforced);
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    assert_eq!(asked(&mut daemon).1.grants.len(), 2);
}

#[test]
fn d06_no_code_is_prompted_for_anything_but_this_use() {
    let (rig, mut daemon) = held();
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    let (conversation, asked) = asked(&mut daemon);
    let other = Challenge { ask: Digest::of(b"another use"), ..challenge(&asked) };
    reply(&mut daemon, conversation, Reply::Challenge(other));
    assert_eq!(refused(module.hears()), Code::Integrity);
}

#[test]
fn d13_done_without_an_accepted_code_is_no_yes() {
    let (rig, mut daemon) = held();
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    let (conversation, _) = asked(&mut daemon);
    reply(&mut daemon, conversation, Reply::Done(Outcome::Ok));
    assert_eq!(refused(module.hears()), Code::Integrity);
    // After a wrong code as well, and nothing is remembered of either.
    assert!(matches!(daemon.claim(), Some(Claim::Conversation { say: Say::Leave, .. })));
    let mut module = rig.person(0, "talk");
    module.say(&asks(SEAT));
    let conversation = code_given(&mut daemon, &mut module, false);
    reply(&mut daemon, conversation, Reply::Done(Outcome::Ok));
    assert_eq!(refused(module.hears()), Code::Integrity);
}

#[test]
fn b02_only_root_asks_for_a_use_and_only_where_a_grant_does() {
    let (rig, mut daemon) = held();
    for uid in [2000, 2002] {
        let mut person = rig.person(uid, "talk");
        person.say(&asks(SEAT));
        assert_eq!(refused(person.hears()), Code::Usage, "{uid}");
    }
    // A person's own program cannot ask the daemon for one either.
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::AtUse(AtUseAsk {
        grants: vec![],
        seat: SEAT,
        nonce: Nonce::from_random([1; 16]),
        shown: UntrustedText::lossy("x"),
    })));
    assert_eq!(refused(alice.hears()), Code::WrongDoor);
    // Nobody else's uid has such a grant.
    let mut module = rig.person(0, "talk");
    let Say::AtUse(of_alice) = asks(SEAT) else { panic!("another") };
    module.say(&Say::AtUse(FactorUse { uid: 2002, ..of_alice }));
    assert_eq!(refused(module.hears()), Code::Gone);
    daemon.send(&ToAgent::Recorded { number: 0 });
}
