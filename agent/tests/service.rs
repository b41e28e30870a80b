//! The real `elevate-agent` with a real signer at its link and real people at its door. Needs root.
//!
//! Threats A11, A13, A17, C10, C11, C13; ARCHITECTURE §4 and §5.

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
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{SignedGrant, TrustedKeys};
use elevate_protocol::time::Span;
use rig::{Daemon, Rig, act, grant, host, key, now, offers, sign, sign_document, until};

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
    assert!(daemon.hello.sudo.line().is_some_and(|line| line.raw().starts_with("Sudo version 1.9")));
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
    assert!(!rig.path(DROP_IN).exists() && is_empty(&rig.path("run/elevate/grants/u2000")));
}

fn is_empty(folder: &std::path::Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
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
    assert!(!rig.path(DROP_IN).exists() && is_empty(&rig.path("run/elevate/grants/u2000")));
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
    run_as.sudo = Some(serde_json::from_str(r#"{"as":"postgres","shell":true}"#).unwrap());
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

// The gate reads 64 grants for one call of sudo; one more would close it for all of them.
#[test]
fn a_person_holds_no_more_grants_than_the_gate_reads() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    for number in 1..=64 {
        assert_eq!(daemon.apply(u64::from(number), act(grant(number, 3600))), Applied::Enforced);
    }
    let text = rig.read(DROP_IN);
    assert_eq!(refused(daemon.apply(65, act(grant(65, 3600)))), "uid 2000 has too many grants in force here");
    assert_eq!(rig.read(DROP_IN), text);
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

// The daemon counts answers: one for each of its offers, in their order.
#[test]
fn offers_are_answered_one_after_the_other() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let both = [("alice", "web-ops"), ("mallory", "dba")];
    let sent: [&[(&str, &str)]; 5] = [&both[..1], &both[1..], &both, &[], &both[..1]];
    for of in sent {
        daemon.send(&offers(of));
    }
    for of in sent {
        let Some(Claim::Accounts { uids }) = daemon.claim() else { panic!("no accounts") };
        let logins: Vec<&str> = uids.keys().map(|login| login.as_str()).collect();
        assert_eq!(logins, of.iter().map(|(login, _)| *login).collect::<Vec<_>>());
    }
}

// Each offer costs a look-up by another program: a peer that floods them is not served with a thread for each.
#[test]
fn a_flood_of_offers_closes_the_connection() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    until("the end of the connection", || !daemon.try_send(&offers(&[("alice", "web-ops")])));
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&offers(&[("alice", "web-ops")]));
    assert!(matches!(daemon.claim(), Some(Claim::Accounts { uids }) if uids.len() == 1));
}

// A link that lies must not make the host forget what it has not even sent: at most 256 reports are on the way at a time.
#[test]
fn reports_that_were_not_sent_cannot_be_acknowledged() {
    let mut rig = Rig::new();
    rig.kill();
    let line = |number: u32| {
        let report = Report::Started { agent: "test".into(), grants: number };
        let report = serde_json::to_string(&report).unwrap();
        format!("{{\"report\":{{\"number\":{number},\"entry\":{{\"at\":1,\"report\":{report}}}}}}}\n")
    };
    rig.write("var/lib/elevate/spool/reports.1", &(1..=400).map(line).collect::<String>(), 0o600);
    rig.start();
    let mut daemon = Daemon::connect(&rig);
    daemon.send(&ToAgent::Recorded { number: u64::MAX });
    for wanted in 1..=400 {
        daemon.report(|report| matches!(report, Report::Started { grants, .. } if *grants == wanted));
    }
}

/// A power cut between the grant's file and the place in the log: the daemon sends the document again.
#[test]
fn a_document_that_was_stored_but_not_counted_is_applied_once() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let signed = sign(1, act(grant(5, 3600)));
    daemon.send(&ToAgent::Document(signed.clone()));
    assert!(matches!(daemon.claim(), Some(Claim::Applied { seq: 1, result: Applied::Enforced })));
    let text = rig.read(DROP_IN);
    rig.kill();
    rig.write("var/lib/elevate/position", r#"{"epoch":1,"seq":0}"#, 0o600);
    rig.start();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 0);
    daemon.send(&ToAgent::Document(signed));
    assert!(matches!(daemon.claim(), Some(Claim::Applied { seq: 1, result: Applied::Enforced })));
    assert_eq!(rig.read(DROP_IN), text);
}

/// THREATS §6.1: state that cannot be read means no managed right, and a start that says why.
#[test]
fn an_agent_that_does_not_know_where_it_stands_leaves_no_rule() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    rig.kill();
    rig.write("var/lib/elevate/position", "{", 0o600);
    let output = rig.fails_to_start();
    assert!(output.contains("the file of the place in the host's log is not valid"), "{output}");
    assert!(!rig.path(DROP_IN).exists());
}

#[test]
fn a13_a_config_that_others_can_change_is_not_used() {
    let mut rig = Rig::new();
    rig.kill();
    let config = rig.read("etc/elevate/agent.toml");
    rig.write("etc/elevate/agent.toml", &config, 0o666);
    let output = rig.fails_to_start();
    assert!(output.contains("agent.toml can be changed by others (mode 0666)"), "{output}");
}

#[test]
fn status_tells_what_is_true() {
    let mut rig = Rig::new();
    // The agent writes what it tells after it has done it: what was just done is told in a moment.
    let tells = |wanted: i32, words: &[&str]| {
        until(&format!("status to tell {words:?}"), || {
            let (code, text) = rig.status(&[]);
            code == Some(wanted) && words.iter().all(|word| text.contains(word))
        });
    };
    tells(9, &["NOT CONNECTED", "enforced"]);
    let mut daemon = Daemon::connect(&rig);
    let first = grant(5, 3600);
    assert_eq!(daemon.apply(1, act(first.clone())), Applied::Enforced);
    tells(0, &["alice (uid 2000)  web-ops", "left"]);
    let (_, json) = rig.status(&["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["schema"], &json["running"], &json["connected"]),
        (&1.into(), &true.into(), &true.into())
    );
    assert_eq!(json["grants"][0]["id"], first.id.to_string());
    rig.kill();
    let (code, text) = rig.status(&[]);
    assert!(code == Some(9) && text.contains("NOT RUNNING"), "{text}");
}

#[test]
fn the_root_of_the_host_has_the_last_word() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let first = grant(5, 3600);
    let id = first.id;
    assert_eq!(daemon.apply(1, act(first)), Applied::Enforced);
    rig.write("etc/elevate/ceiling.toml", "forbid_roles = [\"web-ops\"]\n", 0o644);
    assert_eq!(
        daemon.report(|report| matches!(report, Report::Ended { .. })),
        Report::Ended { grant: id, cause: EndCause::NotEnforced }
    );
    assert!(!rig.path(DROP_IN).exists());
    let why = refused(daemon.apply(2, act(grant(6, 3600))));
    assert_eq!(why, "the root of this host does not allow the role web-ops");
    rig.write("etc/elevate/ceiling.toml", "longest = 1\n", 0o644);
    assert!(refused(daemon.apply(3, act(grant(7, 3600)))).contains("ceiling.toml is not valid"));
    std::fs::remove_file(rig.path("etc/elevate/ceiling.toml")).unwrap();
    assert_eq!(daemon.apply(4, act(grant(8, 3600))), Applied::Enforced);
}
