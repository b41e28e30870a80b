//! The host's side of a change of the grant key, through the real `elevate-agent` (threat K05).

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

use elevate_protocol::document::{Act, End, EndCause, Extend, Keys, SigningKey};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::ssh::Ca;
use elevate_protocol::time::{Span, Timestamp};
use rig::{Daemon, Rig, act, document, grant, host, key, now, sign, until};

const SIGNERS: &str = "etc/elevate/trust/grant_signers";
const CAS: &str = "etc/elevate/trust/user_ca";

fn keys(until: Timestamp) -> Act {
    let line = |seed: u8| key(seed).public_key().to_openssh().unwrap();
    Act::Keys(Keys {
        grant: vec![
            SigningKey { key: line(7), until: Some(until) },
            SigningKey { key: line(17), until: None },
        ],
        user_ca: Default::default(),
        host_ca: Default::default(),
    })
}

/// By the key that follows.
fn sign_next(seq: u64, act: Act) -> SignedBody {
    SignedBody::sign(document(seq, act).to_line().unwrap(), &key(17), GRANT_NAMESPACE).unwrap()
}

fn applied(daemon: &mut Daemon, seq: u64, signed: SignedBody) -> Applied {
    daemon.send(&ToAgent::Document(signed));
    match daemon.claim() {
        Some(Claim::Applied { seq: found, result }) if found == seq => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn k05_from_its_document_on_the_next_key_counts_and_the_one_before_only_for_what_it_signed() {
    let mut rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let first = grant(5, 3600);
    let (id, end) = (first.id, first.not_after);
    assert_eq!(applied(&mut daemon, 1, sign(1, act(first))), Applied::Enforced);
    let until = now().after(Span(25 * 3600));
    assert_eq!(applied(&mut daemon, 2, sign(2, keys(until))), Applied::Enforced);
    let text = rig.read(SIGNERS);
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().next().unwrap().ends_with(" last=1/2"), "{text}");
    // Sent again, after a crash too, it changes nothing.
    rig.kill();
    rig.write("var/lib/elevate/position", r#"{"epoch":1,"seq":1}"#, 0o600);
    rig.start();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(applied(&mut daemon, 2, sign(2, keys(until))), Applied::Enforced);
    assert_eq!(rig.read(SIGNERS), text);
    // A chain by both keys: the grant by the first, its extension by the second.
    let extend = Extend { id, revision: 2, not_after: end.after(Span(60)) };
    assert_eq!(applied(&mut daemon, 3, sign_next(3, Act::Extend(extend))), Applied::Enforced);
    let proof = rig.read(&format!("run/elevate/grants/u2000/{id}.grant"));
    let trusted = TrustedKeys::from_signers(&text).unwrap();
    SignedGrant::from_text(&proof).unwrap().verify(&trusted, &host()).unwrap();
    // Whoever stole the first key makes no place of the log theirs.
    daemon.report(|report| matches!(report, Report::Started { .. }));
    let stolen = sign(4, Act::End(End { id, revision: 3, cause: EndCause::Revoked }));
    daemon.send(&ToAgent::Document(stolen));
    assert!(daemon.claim().is_none(), "the agent hangs up");
    // What it says of it comes before or after, by the spool.
    let before = daemon.reports;
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.hello.seq, 3);
    daemon.reports.extend(before);
    let told = daemon.report(|report| matches!(report, Report::Tampered { .. }));
    let Report::Tampered { what } = told else { panic!() };
    assert!(what.raw().contains("replaced before document 4"), "{}", what.raw());
    let second = grant(6, 3600);
    assert_eq!(applied(&mut daemon, 4, sign_next(4, act(second))), Applied::Enforced);
    // Both are in force after a start, verified again.
    rig.kill();
    rig.start();
    let mut daemon = Daemon::connect(&rig);
    daemon.report(|report| matches!(report, Report::Started { grants: 2, .. }));
}

#[test]
fn a_list_of_keys_that_is_none_is_refused_and_nothing_changes() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let before = rig.read(SIGNERS);
    let none = Act::Keys(Keys { grant: vec![], user_ca: Default::default(), host_ca: Default::default() });
    let Applied::Refused { why } = applied(&mut daemon, 1, sign(1, none)) else { panic!("taken") };
    assert!(why.raw().contains("signers"), "{}", why.raw());
    assert_eq!(rig.read(SIGNERS), before);
    assert_eq!(applied(&mut daemon, 2, sign(2, act(grant(5, 60)))), Applied::Enforced);
}

/// A CA that came with keys that are not taken over opens nothing: those of before count on.
#[test]
fn k05_where_the_signers_cannot_be_written_no_other_ca_counts() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    let ca = key(30).public_key().to_openssh().unwrap().parse::<Ca>().unwrap();
    let Act::Keys(mut next) = keys(now().after(Span(25 * 3600))) else { panic!("keys") };
    next.user_ca = vec![ca.clone()].try_into().unwrap();
    rig.hold(SIGNERS);
    daemon.send(&ToAgent::Document(sign(1, Act::Keys(next))));
    let draft = rig.path("etc/elevate/trust/.grant_signers.new");
    until("the attempt", || draft.exists());
    assert!(!rig.path(CAS).exists(), "written before the signers");
    rig.let_go(SIGNERS);
    until("the CA", || rig.path(CAS).exists());
    assert_eq!(rig.read(CAS), format!("{}\n", ca.as_str()));
}
