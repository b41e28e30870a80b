//! People, sudo and mallory at door 1 of the real `elevate-agent`. Needs root.
//!
//! Threats B02, B06, B07, D06; docs/wire.md "Door 1".

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

use std::time::{Duration, Instant};

use elevate_protocol::id::Nonce;
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::person::{Ask, Away, Challenge, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use rig::{Daemon, Rig, act, grant, until};

/// Not a test of its own: what the other tests run as alice or mallory.
#[test]
fn a_person() {
    rig::person::play_person();
}

fn hello() -> Say {
    Say::Hello { versions: Versions::OURS }
}

fn refusal(reply: Reply) -> (Code, String) {
    match reply {
        Reply::Refused(refusal) => (refusal.code, refusal.hint.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

const OF_SSHD: &str = r#"{"ssh":{"phase":"opened","login":"deploy","from":"10.0.0.7","certificate":""}}"#;

#[test]
fn b02_the_kernel_says_who_asks() {
    let rig = Rig::new();
    let mut alice = rig.person(2000, "talk");
    alice.say(&hello());
    assert!(matches!(alice.hears(), Reply::Hello { version: 1 }));
    alice.say(&Say::Ask(Ask::Overview));
    assert!(matches!(alice.hears(), Reply::Away(Away { since: None, grants }) if grants.is_empty()));
    assert_eq!(refusal(alice.hears()).0, Code::Unreachable);
    let mut daemon = Daemon::connect(&rig);
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::Whoami));
    let Some(Claim::Conversation { conversation, caller, say }) = daemon.claim() else { panic!("no ask") };
    assert_eq!((caller.uid, caller.login.as_str()), (2000, "alice"));
    assert!(matches!(say, Say::Ask(Ask::Whoami)));
    daemon.send(&ToAgent::Conversation { conversation, reply: Reply::Done(Outcome::Ok) });
    assert!(matches!(alice.hears(), Reply::Done(Outcome::Ok)));
    assert!(alice.line().is_none());
    for (uid, ask, code) in [
        (2000, Ask::Approve { id: "7K2M".parse().unwrap(), reason: None }, Code::WrongDoor),
        (0, Ask::Whoami, Code::WrongDoor),
        (33, Ask::Whoami, Code::WrongDoor),
        (2999, Ask::Whoami, Code::WrongDoor),
    ] {
        let mut person = rig.person(uid, "talk");
        person.say(&hello());
        person.hears();
        person.say(&Say::Ask(ask));
        assert_eq!(refusal(person.hears()).0, code);
    }
    // A report of use or a login from anybody but root, a certificate seen by another program than sshd's, and a code that did not come from our own stack.
    for say in [
        r#"{"use":{"uid":2000,"kind":"start","service":"sudo","run_as":null,"argv":[],"directory":null,"terminal":null,"pid":1}}"#,
        OF_SSHD,
        r#"{"ssh-denied":{"login":"deploy","grant":"00000000000000000000000000"}}"#,
        r#"{"answer":{"challenge":"00000000000000000000000000","code":"1"}}"#,
    ] {
        let mut mallory = rig.person(2001, "talk");
        mallory.say(&serde_json::from_str(say).unwrap());
        assert_eq!(refusal(mallory.hears()).0, Code::Usage);
    }
}

/// Root itself, by a program that is not sshd: its process would be taken for a connection.
#[test]
fn f12_only_sshd_opens_connections_and_a_refusal_is_told() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut root = rig.person(0, "talk");
    root.say(&serde_json::from_str(OF_SSHD).unwrap());
    assert_eq!(refusal(root.hears()).0, Code::Gone);
    let report = daemon.report(|report| matches!(report, Report::SshRefused { .. }));
    let Report::SshRefused { grant: None, login, from: Some(from), why } = report else {
        panic!("{report:?}")
    };
    assert_eq!((login.raw(), from.raw(), why.raw()), ("deploy", "10.0.0.7", "it is not sshd that asks"));
}

#[test]
fn a_use_of_sudo_is_reported_with_the_grants_of_that_moment() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let first = grant(5, 3600);
    let id = first.id;
    assert_eq!(daemon.apply(1, act(first)), Applied::Enforced);
    let mut sudo = rig.person(0, "talk");
    let used = r#"{"use":{"uid":2000,"kind":"start","service":"sudo","run_as":"root","argv":["sudo","id"],"directory":"/","terminal":null,"pid":1}}"#;
    sudo.say(&serde_json::from_str(used).unwrap());
    assert!(matches!(sudo.hears(), Reply::Done(Outcome::Ok)));
    let report = daemon.report(|report| matches!(report, Report::Used { .. }));
    assert!(matches!(report, Report::Used { grants, used } if grants == [id] && used.argv.len() == 2));
}

#[test]
fn the_stack_prompts_only_for_the_ask_that_was_vouched_for() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let challenge = |ask: &Ask| Challenge {
        id: Nonce::from_random([4; 16]),
        ask: ask.digest().unwrap(),
        prompt: UntrustedText::lossy("Code for alice"),
    };
    let ask = |daemon: &mut Daemon| {
        let mut alice = rig.person(2000, "talk");
        alice.say(&Say::Ask(Ask::FactorTest));
        let Some(Claim::Conversation { conversation, .. }) = daemon.claim() else { panic!("no ask") };
        (alice, conversation)
    };
    let (mut alice, conversation) = ask(&mut daemon);
    let reply = Reply::Challenge(challenge(&Ask::Whoami));
    daemon.send(&ToAgent::Conversation { conversation, reply });
    assert_eq!(refusal(alice.hears()).0, Code::Integrity);
    assert!(matches!(daemon.claim(), Some(Claim::Conversation { say: Say::Leave, .. })));
    // Real libpam, and pam_unix in place of ours: its prompt reaches alice, her wrong answer is no confirmation.
    let (mut alice, conversation) = ask(&mut daemon);
    let reply = Reply::Challenge(challenge(&Ask::FactorTest));
    daemon.send(&ToAgent::Conversation { conversation, reply });
    let Reply::Prompt { text, echo: false } = alice.hears() else { panic!("no prompt") };
    assert!(text.escaped().contains("Password"), "{text:?}");
    alice.say(&Say::Input { text: Secret::new("wrong".into()) });
    match daemon.claim() {
        Some(Claim::Conversation { say: Say::Confirm { passed, .. }, .. }) => assert!(!passed),
        other => panic!("{other:?}"),
    }
    // She goes while the stack waits for her: the daemon is told, and no child stays.
    let (mut alice, conversation) = ask(&mut daemon);
    let reply = Reply::Challenge(challenge(&Ask::FactorTest));
    daemon.send(&ToAgent::Conversation { conversation, reply });
    assert!(matches!(alice.hears(), Reply::Prompt { .. }));
    drop(alice);
    assert!(matches!(daemon.claim(), Some(Claim::Conversation { say: Say::Leave, .. })));
}

/// A host whose PAM stack hangs, alice who waits at it, and the stack's process.
fn hanging_stack(rig: &Rig, daemon: &mut Daemon) -> (rig::person::Person, u64, u32) {
    rig.write(
        "services/elevate",
        "auth required pam_exec.so /bin/sleep 20\naccount required pam_permit.so\n",
        0o644,
    );
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::FactorTest));
    let Some(Claim::Conversation { conversation, .. }) = daemon.claim() else { panic!("no ask") };
    daemon.send(&ToAgent::Conversation { conversation, reply: Reply::Challenge(factor_test()) });
    let in_module = |pid: &u32| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.is_ok_and(|children| !children.trim().is_empty())
    };
    let mut stack = None;
    until("the module", || {
        stack = rig.children().into_iter().find(in_module);
        stack.is_some()
    });
    (alice, conversation, stack.unwrap())
}

fn factor_test() -> Challenge {
    let ask = Ask::FactorTest.digest().unwrap();
    Challenge { id: Nonce::from_random([4; 16]), ask, prompt: UntrustedText::lossy("Code for alice") }
}

fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_stack_that_hangs_does_not_outlive_an_agent_that_was_killed() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let (_alice, _, stack) = hanging_stack(&rig, &mut daemon);
    let begin = Instant::now();
    rig.kill();
    until("the end of the stack", || is_over(stack));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

// A link or a daemon that lies can ask, and ask again: each challenge is a process of root's.
#[test]
fn challenges_without_end_end_the_conversation() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let (mut alice, conversation, stack) = hanging_stack(&rig, &mut daemon);
    for _ in 0..20 {
        daemon.send(&ToAgent::Conversation { conversation, reply: Reply::Challenge(factor_test()) });
    }
    assert_eq!(refusal(alice.hears()).0, Code::Integrity);
    until("the end of every stack", || is_over(stack) && rig.children().is_empty());
}

/// alice asks something and gets her answer in time, whoever else is there.
fn is_served(rig: &Rig, daemon: &mut Daemon, limit: Duration) {
    let begin = Instant::now();
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::Whoami));
    let Some(Claim::Conversation { conversation, caller, .. }) = daemon.claim() else { panic!("no ask") };
    assert_eq!(caller.uid, 2000);
    daemon.send(&ToAgent::Conversation { conversation, reply: Reply::Done(Outcome::Ok) });
    assert!(matches!(alice.hears(), Reply::Done(Outcome::Ok)));
    assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
}

#[test]
fn b07_a_thousand_connections_of_mallory_do_not_keep_alice_out() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut mallory = rig.person(2001, "flood 1000");
    assert_eq!(mallory.line().as_deref(), Some("flooding"));
    is_served(&rig, &mut daemon, Duration::from_secs(2));
    assert!(rig.memory() < 128 * 1024, "{} kB", rig.memory());
}

// subuid(5) gives one account thousands of uids.
#[test]
fn b07_idle_connections_of_many_uids_do_not_keep_alice_out() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut crowd: Vec<_> = (0..20).map(|number| rig.person(100_000 + number, "flood 4")).collect();
    for one in &mut crowd {
        assert_eq!(one.line().as_deref(), Some("flooding"));
    }
    is_served(&rig, &mut daemon, Duration::from_secs(4));
}

#[test]
fn b06_frames_that_are_none_are_closed_within_five_seconds() {
    let rig = Rig::new();
    let deep = "5b".repeat(2000);
    for bytes in
        ["ffffffff", "00000000", "0000001041", &format!("000007d0{deep}"), "0000000a7b2261223a4e614e7d20", ""]
    {
        let mut mallory = rig.person(2001, &format!("bytes {bytes}"));
        let line = mallory.line().unwrap();
        let millis: u64 = line.strip_prefix("closed ").unwrap().parse().unwrap();
        assert!(millis < 5_900, "{bytes}: {millis} ms");
    }
    let mut alice = rig.person(2000, "talk");
    alice.say(&hello());
    assert!(matches!(alice.hears(), Reply::Hello { .. }));
}

#[test]
fn a_lost_daemon_ends_the_conversation_and_leaves_grants_in_force() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::Overview));
    assert!(matches!(daemon.claim(), Some(Claim::Conversation { .. })));
    drop(daemon);
    let Reply::Away(away) = alice.hears() else { panic!("nothing of what is in force") };
    assert!(away.since.is_some() && away.grants.len() == 1 && !away.grants[0].lease, "{away:?}");
    assert_eq!(refusal(alice.hears()).0, Code::Unreachable);
    assert!(rig.path("run/elevate/sudoers.d/u2000").exists());
}
