//! The real `elevate-agent` with a real signer at its link and real people at its door. Needs root.
//!
//! Threats A11, A13, A17, B02, B06, B07, C10, C11, C13; ARCHITECTURE §4 and §5.

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

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use elevate_protocol::document::{Act, End, EndCause, Extend};
use elevate_protocol::id::{ActivationId, HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::person::{Ask, Challenge, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedGrant, TrustedKeys};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use rig::{Daemon, Rig, act, grant, host, key, now, offers, sign, sign_document, until};

/// Not a test of its own: what the other tests run as alice or mallory.
#[test]
fn a_person() {
    rig::play_person();
}

fn refused(result: Applied) -> String {
    match result {
        Applied::Refused { why } => why.escaped(),
        Applied::Enforced => panic!("it was enforced"),
    }
}

fn mode(rig: &Rig, path: &str) -> u32 {
    std::fs::symlink_metadata(rig.path(path)).unwrap().mode() & 0o7777
}

const DROP_IN: &str = "run/elevate/sudoers.d/u2000";

#[test]
fn a_grant_is_enforced_survives_a_kill_and_ends() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert!(daemon.hello.sudo.as_ref().is_some_and(|line| line.raw().starts_with("Sudo version 1.9")));
    assert_eq!((daemon.hello.epoch, daemon.hello.seq), (1, 0));
    daemon.report(|report| matches!(report, Report::Started { grants: 0, .. }));
    let first = grant(5, 3600);
    let (id, not_after) = (first.id, first.not_after);
    assert_eq!(daemon.apply(1, act(first.clone())), Applied::Enforced);
    // A13: whatever the umask was.
    assert_eq!((mode(&rig, DROP_IN), mode(&rig, "run/elevate/grants/u2000")), (0o440, 0o700));
    for (folder, wanted) in [
        ("run/elevate", 0o755),
        ("run/elevate/sudoers.d", 0o755),
        ("run/elevate/grants", 0o700),
        ("var/lib/elevate/log", 0o700),
    ] {
        assert_eq!(mode(&rig, folder), wanted, "{folder}");
    }
    assert_eq!((mode(&rig, "run/elevate/agent.sock"), mode(&rig, "run/elevate/link.sock")), (0o666, 0o660));
    let text = rig.read(DROP_IN);
    assert!(text.starts_with(&format!("# elevate grants {id}\n#2000 ALL=(root) NOTAFTER=")), "{text}");
    let proof = rig.read(&format!("run/elevate/grants/u2000/{id}.grant"));
    let keys = TrustedKeys::one(key(7).public_key().clone()).unwrap();
    let verified = SignedGrant::from_text(&proof).unwrap().verify(&keys, &host()).unwrap();
    assert_eq!(verified.grant(), &first);
    // C13: seen is acknowledged again and has no other effect; a gap is asked for.
    assert_eq!(daemon.apply(1, act(grant(6, 3600))), Applied::Enforced);
    assert_eq!(rig.read(DROP_IN), text);
    let extend = |revision| Act::Extend(Extend { id, revision, not_after: not_after.after(Span(60)) });
    daemon.send(&ToAgent::Document(sign(3, extend(2))));
    assert!(matches!(daemon.claim(), Some(Claim::Missing { from: 2 })));
    assert_eq!(daemon.apply(2, extend(2)), Applied::Enforced);
    let longer = rig.read(DROP_IN);
    assert_ne!(longer, text);
    // kill -9, things planted meanwhile, start: only what is signed is in force (A11, A17).
    rig.kill();
    rig.write("shadow", "secret", 0o600);
    rig.write("run/elevate/sudoers.d/zz", "ALL ALL=(ALL) NOPASSWD: ALL\n", 0o440);
    std::os::unix::fs::symlink(rig.path("shadow"), rig.path("run/elevate/sudoers.d/u2001")).unwrap();
    rig.write(&format!("var/lib/elevate/log/{}.grant", ActivationId::from_random([9; 16])), "{}", 0o600);
    rig.start();
    assert_eq!(rig.read(DROP_IN), longer);
    assert!(
        !rig.path("run/elevate/sudoers.d/zz").exists()
            && !rig.path("run/elevate/sudoers.d/u2001").is_symlink()
    );
    assert_eq!(rig.read("shadow"), "secret");
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 2);
    daemon.report(|report| matches!(report, Report::Started { grants: 1, .. }));
    let tampered = daemon.reports.iter().filter(|report| matches!(report, Report::Tampered { .. })).count();
    assert_eq!(tampered, 3, "{:?}", daemon.reports);
    let end = End { id, revision: 3, cause: EndCause::Revoked };
    daemon.send(&ToAgent::Document(sign(3, Act::End(end))));
    assert_eq!(
        daemon.report(|report| matches!(report, Report::Ended { .. })),
        Report::Ended { grant: id, cause: EndCause::Revoked }
    );
    assert!(matches!(daemon.claim(), Some(Claim::Applied { seq: 3, result: Applied::Enforced })));
    assert!(!rig.path(DROP_IN).exists() && !rig.path("run/elevate/grants/u2000").exists());
}

#[test]
fn a_grant_ends_by_itself_after_its_warning() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut short = grant(5, 4);
    short.warn = vec![Span(600), Span(2)];
    let id = short.id;
    let begin = Instant::now();
    assert_eq!(daemon.apply(1, act(short)), Applied::Enforced);
    assert!(rig.path(DROP_IN).exists());
    let warned = daemon.report(|report| matches!(report, Report::Warned { .. }));
    assert_eq!(warned, Report::Warned { grant: id, left: Span(2) });
    let ended = daemon.report(|report| matches!(report, Report::Ended { .. }));
    assert_eq!(ended, Report::Ended { grant: id, cause: EndCause::Expired });
    assert!(!rig.path(DROP_IN).exists());
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[test]
fn an_agent_that_was_dead_at_the_end_sweeps_at_its_start() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let short = grant(5, 2);
    let (id, not_after) = (short.id, short.not_after);
    assert_eq!(daemon.apply(1, act(short)), Applied::Enforced);
    rig.kill();
    assert!(rig.path(DROP_IN).exists());
    until("the end of the grant", || now() >= not_after);
    rig.start();
    assert!(!rig.path(DROP_IN).exists() && !rig.path("run/elevate/grants/u2000").exists());
    let mut daemon = Daemon::connect(&rig);
    daemon.report(|report| *report == Report::Ended { grant: id, cause: EndCause::Expired });
    daemon.report(|report| matches!(report, Report::Started { grants: 0, .. }));
    assert!(
        !daemon.reports.iter().any(|report| matches!(report, Report::Tampered { .. })),
        "{:?}",
        daemon.reports
    );
}

#[test]
fn c11_and_others_what_this_host_does_not_obey_is_refused_with_its_reason() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut other = grant(5, 3600);
    other.uid = 2001;
    assert_eq!(
        refused(daemon.apply(1, act(other))),
        "alice is uid 2000 on this host, the grant is for uid 2001"
    );
    let mut gone = grant(6, 3600);
    gone.login = "carol".parse().unwrap();
    assert_eq!(refused(daemon.apply(2, act(gone))), "carol has no account on this host");
    let mut root = grant(7, 3600);
    (root.login, root.uid) = ("root".parse().unwrap(), 0);
    assert_eq!(refused(daemon.apply(3, act(root))), "uid 0 is not a person's account");
    assert!(refused(daemon.apply(4, act(grant(8, 90_000)))).contains("longer than this host allows"));
    let mut run_as = grant(9, 3600);
    run_as.sudo = serde_json::from_str(r#"{"as":"postgres","shell":true}"#).unwrap();
    assert_eq!(refused(daemon.apply(5, act(run_as))), "there is no account postgres to run as on this host");
    let mut later = grant(10, 3600);
    later.not_before = now().after(Span(600));
    assert!(refused(daemon.apply(6, act(later))).contains("behind the daemon's"));
    let mut over = grant(11, 3600);
    over.not_after = now();
    assert_eq!(refused(daemon.apply(7, act(over))), "it ended before it arrived");
    let mut critical = grant(12, 3600);
    critical.critical = vec!["record".into()];
    assert!(refused(daemon.apply(8, act(critical))).contains("record"));
    let extend =
        Extend { id: ActivationId::from_random([12; 16]), revision: 2, not_after: now().after(Span(60)) };
    assert_eq!(refused(daemon.apply(9, Act::Extend(extend))), "there is no such grant in force here");
    // What was refused stays refused when it is sent again, and after a restart of the connection.
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 9);
    assert_eq!(refused(daemon.apply(2, act(grant(6, 3600)))), "carol has no account on this host");
    assert_eq!(std::fs::read_dir(rig.path("run/elevate/sudoers.d")).unwrap().count(), 0);
}

#[test]
fn c10_documents_for_others_are_not_applied_and_close_the_link() {
    let rig = Rig::new();
    let mut wrong_host = rig::document(1, act(grant(5, 3600)));
    wrong_host.host = HostId::from_random([3; 16]);
    let mut wrong_cluster = rig::document(1, act(grant(5, 3600)));
    wrong_cluster.cluster = elevate_protocol::id::ClusterId::from_random([3; 16]);
    let mut wrong_epoch = rig::document(1, act(grant(5, 3600)));
    wrong_epoch.epoch = 2;
    let mut forged = sign(1, act(grant(5, 3600)));
    forged.body = forged.body.replace("\"uid\":2000", "\"uid\":2001");
    let bodies =
        [sign_document(&wrong_host), sign_document(&wrong_cluster), sign_document(&wrong_epoch), forged];
    for (signed, said) in bodies.into_iter().zip(["for host", "another cluster", "epoch 2", "not signed"]) {
        let mut daemon = Daemon::connect(&rig);
        daemon.send(&ToAgent::Document(signed));
        assert!(daemon.claim().is_none(), "the link stays open");
        let mut daemon = Daemon::connect(&rig);
        assert_eq!(daemon.hello.seq, 0);
        daemon.report(|report| matches!(report, Report::Tampered { what } if what.escaped().contains(said)));
    }
    assert_eq!(std::fs::read_dir(rig.path("run/elevate/sudoers.d")).unwrap().count(), 0);
}

#[test]
fn without_the_gate_no_rule_stands() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    rig.write("etc/pam.d/sudo", "#%PAM-1.0\n@include common-account\n", 0o644);
    until("the removal of the drop-in", || !rig.path(DROP_IN).exists());
    daemon.report(
        |report| matches!(report, Report::Tampered { what } if what.escaped().contains("/etc/pam.d/sudo")),
    );
    assert!(refused(daemon.apply(2, act(grant(6, 3600)))).contains("run elevate-agent enroll"));
    rig.gates();
    until("the rule's return", || rig.path(DROP_IN).exists());
    std::fs::remove_file(rig.path("lib/x/security/pam_elevate.so")).unwrap();
    until("the removal of the drop-in", || !rig.path(DROP_IN).exists());
}

#[test]
fn offers_name_only_those_who_have_an_account_here() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&offers(&[("alice", "web-ops"), ("carol", "dba"), ("root", "web-ops")]));
    let uids = BTreeMap::from([("alice".parse().unwrap(), 2000)]);
    assert!(matches!(daemon.claim(), Some(Claim::Accounts { uids: found }) if found == uids));
    assert_eq!(rig.read("run/elevate/offers.json"), r#"{"alice":["web-ops"]}"#);
    assert_eq!(mode(&rig, "run/elevate/offers.json"), 0o600);
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

#[test]
fn b02_the_kernel_says_who_asks() {
    let rig = Rig::new();
    let mut alice = rig.person(2000, "talk");
    alice.say(&hello());
    assert!(matches!(alice.hears(), Reply::Hello { version: 1 }));
    alice.say(&Say::Ask(Ask::Overview));
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
    // A report of use from anybody but root, and a code that did not come from our own stack.
    for say in [
        r#"{"use":{"uid":2000,"kind":"start","service":"sudo","run_as":null,"argv":[],"directory":null,"terminal":null,"pid":1}}"#,
        r#"{"answer":{"challenge":"00000000000000000000000000","code":"1"}}"#,
    ] {
        let mut mallory = rig.person(2001, "talk");
        mallory.say(&serde_json::from_str(say).unwrap());
        assert_eq!(refusal(mallory.hears()).0, Code::Usage);
    }
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

#[test]
fn b07_a_thousand_connections_of_mallory_do_not_keep_alice_out() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let mut mallory = rig.person(2001, "flood 1000");
    assert_eq!(mallory.line().as_deref(), Some("flooding"));
    let begin = Instant::now();
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Ask(Ask::Whoami));
    let Some(Claim::Conversation { conversation, caller, .. }) = daemon.claim() else { panic!("no ask") };
    assert_eq!(caller.uid, 2000);
    daemon.send(&ToAgent::Conversation { conversation, reply: Reply::Done(Outcome::Ok) });
    assert!(matches!(alice.hears(), Reply::Done(Outcome::Ok)));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(rig.memory() < 128 * 1024, "{} kB", rig.memory());
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
