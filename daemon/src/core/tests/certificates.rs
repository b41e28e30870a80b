//! Certificates for SSH: for whom, under what, how long, and what is recorded of them.

use std::collections::BTreeMap;

use elevate_audit::Kind;
use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::agent::Claim;
use elevate_protocol::message::enrol::Enrolled;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome, Reply};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::CertificateView;
use elevate_protocol::ssh::principal;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::certificate::Certificate;
use ssh_key::{HashAlg, PublicKey};

use super::place::*;
use crate::core::{KeySetup, Speaker};
use crate::signer::Signer;
use crate::signer::fixture;

pub(super) const POLICY: &str = r#"
[people]
alice = {}
bob = {}

[roles.db]
who = ["alice", "bob"]
hosts = { tier = "db" }
ssh = { logins = ["postgres", "backup"], forward = ["local"] }
duration = "1h"
max = "1h"
mfa = "none"

[roles.web-in]
who = ["alice"]
hosts = { tier = "web" }
ssh = { logins = ["deploy"] }
mfa = "none"
approve = [{ need = 1, of = ["bob"] }]

[roles.plain]
who = ["alice"]
hosts = { tier = "db" }
sudo = { as = "root", run = [["/usr/bin/id"]] }
mfa = "none"

[roles.careful]
who = ["alice"]
hosts = { tier = "db" }
ssh = { logins = ["postgres"] }
mfa = "every-use"
"#;

/// A daemon with two hosts, of which it knows the accounts and which are away.
pub(super) async fn place() -> (Place, Enrolled) {
    let place = Place::new().await;
    place.write_policy(POLICY);
    place.core.reload_policy().await.unwrap();
    let db1 = place.enrol("db1", "db", 31).await;
    let web1 = place.enrol("web1", "web", 32).await;
    for (number, (host, seed)) in [(&db1, 31), (&web1, 32)].into_iter().enumerate() {
        let mut agent = place.agent(host, seed).await;
        agent.hello(0).await;
        let uids = BTreeMap::from([("alice".parse().unwrap(), 2000), ("bob".parse().unwrap(), 2001)]);
        agent.claim(Claim::Accounts { uids }).await;
        drop(agent);
        place.event("host.lost", number + 1).await;
    }
    (place, db1)
}

pub(super) async fn activate(place: &Place, who: &str, role: &str) -> String {
    match place.ask(who, Ask::Request(wanted(role, false))).await {
        Ok(Outcome::Activation(view)) => view.short,
        other => panic!("{other:?}"),
    }
}

pub(super) fn plain_ask() -> CertificateAsk {
    let key = key(41).public_key().to_openssh().unwrap();
    CertificateAsk { key, grant: None, role: None, host: None, login: None, agentless: false }
}

pub(super) async fn certificate(place: &Place, ask: CertificateAsk) -> Result<CertificateView, Refusal> {
    match place.ask("alice", Ask::Certificate(ask)).await {
        Ok(Outcome::Certificate(view)) => Ok(*view),
        Err(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

async fn refused(place: &Place, ask: CertificateAsk) -> (Code, String) {
    let refusal = certificate(place, ask).await.expect_err("there is a certificate");
    (refusal.code, refusal.message)
}

/// The events of certificates: serial, fingerprint, principals, the window.
async fn recorded(place: &Place) -> Vec<(u64, String, Vec<String>, Timestamp, Timestamp)> {
    let all = place.events().await.into_iter().filter_map(|event| match event.kind {
        Kind::SshCertificate { serial, fingerprint, principals, valid_after, valid_before } => {
            assert_eq!(event.subject.person, Some(name("alice")));
            let principals = principals.iter().map(|one| one.raw().to_owned()).collect();
            Some((serial, fingerprint.raw().to_owned(), principals, valid_after, valid_before))
        }
        _ => None,
    });
    all.collect()
}

#[tokio::test]
async fn a_live_grant_gives_certificates_that_say_what_it_gives_and_each_is_recorded() {
    let (mut place, db1) = place().await;
    activate(&place, "alice", "db").await;
    let view = certificate(&place, plain_ask()).await.unwrap();
    let now = place.clock.now();
    assert_eq!(
        (view.serial, view.valid_after, view.valid_before),
        (1, now.before(Span(60)), now.after(Span(900)))
    );
    assert_eq!((view.logins, view.hosts), (vec![name("postgres"), name("backup")], vec![name("db1")]));
    let certificate_of = |text: &str| Certificate::from_openssh(text).unwrap();
    let read = certificate_of(&view.certificate);
    assert_eq!(read.key_id(), view.id.to_string());
    assert_eq!(read.valid_principals(), [principal(view.id)]);
    let extensions: Vec<&String> = read.extensions().keys().collect();
    assert_eq!(extensions, ["permit-port-forwarding", "permit-pty"]);
    assert!(read.critical_options().is_empty());
    // The key that signed is the one that hosts were told of.
    let trusted = PublicKey::from_openssh(db1.user_ca.keys()[0].as_str()).unwrap();
    assert_eq!(db1.user_ca.keys().len(), 1);
    let seconds = u64::try_from(now.0).unwrap();
    read.validate_at(seconds, &[trusted.fingerprint(HashAlg::Sha256)]).unwrap();
    let print = key(41).public_key().fingerprint(HashAlg::Sha256).to_string();
    let first = (1, print.clone(), vec![principal(view.id)], view.valid_after, view.valid_before);
    assert_eq!(recorded(&place).await, [first]);
    // Renewed as long as the grant lives, and never for longer; serials go on over a restart.
    place.clock.advance(50 * 60);
    place.restart().await;
    let again = certificate(&place, plain_ask()).await.unwrap();
    assert_eq!((again.serial, again.valid_before), (2, view.ends_at));
    assert_eq!(certificate_of(&again.certificate).signature_key(), read.signature_key());
    place.clock.advance(10 * 60);
    assert_eq!(refused(&place, plain_ask()).await.0, Code::Gone);
    assert_eq!(recorded(&place).await.len(), 2);
}

#[tokio::test]
async fn what_waits_is_over_is_anothers_or_opens_something_else_gives_no_certificate() {
    let (place, _) = place().await;
    let of = |change: fn(&mut CertificateAsk)| {
        let mut ask = plain_ask();
        change(&mut ask);
        ask
    };
    let (code, message) = refused(&place, plain_ask()).await;
    assert_eq!((code, message.as_str()), (Code::Gone, "no grant of yours opens SSH there"));
    let bobs = activate(&place, "bob", "db").await;
    let other = CertificateAsk { grant: bobs.parse().ok(), ..plain_ask() };
    assert_eq!(refused(&place, other).await.0, Code::Gone);
    let waits = activate(&place, "alice", "web-in").await;
    let (code, message) = refused(&place, plain_ask()).await;
    assert_eq!(
        (code, message),
        (Code::Pending, format!("R-{waits} (web-in) is pending: there is no grant yet"))
    );
    activate(&place, "alice", "plain").await;
    let (code, message) = refused(&place, of(|ask| ask.role = Some(name("plain")))).await;
    assert!(code == Code::NotEligible && message.ends_with("opens no SSH: its role has no ssh"), "{message}");
    let mine = activate(&place, "alice", "db").await;
    let (code, message) = refused(&place, of(|ask| ask.host = Some(word("web1")))).await;
    assert_eq!(
        (code, message),
        (Code::Pending, format!("R-{waits} (web-in) is pending: there is no grant yet"))
    );
    let elsewhere = |ask: &mut CertificateAsk| (ask.role, ask.host) = (Some(name("db")), Some(word("web1")));
    let (code, message) = refused(&place, of(elsewhere)).await;
    assert_eq!((code, message.as_str()), (Code::Gone, "no grant of yours opens SSH there"));
    place.enrol("db2", "db", 33).await;
    let (code, message) = refused(&place, of(|ask| ask.host = Some(word("db2")))).await;
    assert_eq!((code, message), (Code::NotEligible, format!("G-{mine} (db) is not in force on db2")));
    let root = |ask: &mut CertificateAsk| (ask.role, ask.login) = (Some(name("db")), Some(name("root")));
    let (code, message) = refused(&place, of(root)).await;
    assert_eq!((code, message), (Code::NotEligible, format!("G-{mine} (db) does not open the account root")));
    assert!(recorded(&place).await.is_empty());
    let backup = of(|ask| (ask.host, ask.login) = (Some(word("db1")), Some(name("backup"))));
    assert_eq!(certificate(&place, backup).await.unwrap().short, mine);
    place.ask("alice", Ask::Drop { id: mine.parse().ok(), all: false }).await.unwrap();
    let gone = CertificateAsk { grant: mine.parse().ok(), ..plain_ask() };
    assert_eq!(refused(&place, gone).await, (Code::Gone, format!("G-{mine} (db) is ended")));
    assert_eq!(recorded(&place).await.len(), 1);
}

/// Nobody learns by it which hosts there are.
#[tokio::test]
async fn of_a_host_that_no_role_of_theirs_is_for_nobody_is_told_whether_there_is_one() {
    let (place, _) = place().await;
    place.enrol("mail1", "mail", 33).await;
    let told = async |host: &str| {
        let refusal =
            certificate(&place, CertificateAsk { host: Some(word(host)), ..plain_ask() }).await.unwrap_err();
        (refusal.code, refusal.message.replace(host, "HOST"), refusal.hint)
    };
    let said = (
        Code::UnknownHost,
        "there is no host HOST that you may ask for".to_owned(),
        Some("elevate list --eligible shows your roles and their hosts".to_owned()),
    );
    assert_eq!((told("mail1").await, told("nowhere").await), (said.clone(), said.clone()));
    // With a grant elsewhere, and with one that opens no SSH.
    for role in ["db", "plain"] {
        activate(&place, "alice", role).await;
        assert_eq!((told("mail1").await, told("nowhere").await), (said.clone(), said.clone()), "{role}");
    }
    assert_eq!(told("web1").await.1, "no grant of yours opens SSH there");
}

/// THREATS E02, E17: through the door itself.
#[tokio::test]
async fn e17_a_weak_key_a_certificate_and_no_key_are_refused_with_the_reason() {
    let (place, _) = place().await;
    activate(&place, "alice", "db").await;
    let data = |file: &str| {
        let path = format!("{}/../policy/tests/data/{file}.pub", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    for (key, why) in [
        (data("rsa2048"), "this RSA key has 2048 bits, at least 3072 are needed"),
        (data("bob-cert"), "this is a certificate"),
        (format!("cert-authority {}", data("alice")), "this is no plain public key"),
        ("ssh-dss AAAA".into(), "this is no plain public key"),
        (String::new(), "this is no plain public key"),
        (format!("{}{}", data("alice"), data("bob")), "a key is one line"),
    ] {
        let (code, message) = refused(&place, CertificateAsk { key, ..plain_ask() }).await;
        assert!(code == Code::Usage && message.contains(why), "{why}: {message}");
    }
    assert!(recorded(&place).await.is_empty());
    let good = CertificateAsk { key: data("rsa3072"), ..plain_ask() };
    certificate(&place, good).await.unwrap();
}

#[tokio::test]
async fn e16_certificates_of_one_person_are_bounded_in_a_minute() {
    let (place, _) = place().await;
    activate(&place, "alice", "db").await;
    for _ in 0..120 {
        certificate(&place, plain_ask()).await.unwrap();
    }
    assert_eq!(refused(&place, plain_ask()).await.0, Code::Busy);
    let serials: Vec<u64> = recorded(&place).await.into_iter().map(|one| one.0).collect();
    assert_eq!(serials, (1..=120).collect::<Vec<u64>>());
    place.clock.advance(60);
    certificate(&place, plain_ask()).await.unwrap();
}

#[tokio::test]
async fn a_host_never_asks_for_a_certificate() {
    let (place, db1) = place().await;
    activate(&place, "alice", "db").await;
    let speaker =
        Speaker::OnHost { host: db1.host, name: name("alice"), login: "alice".parse().unwrap(), uid: 2000 };
    let refusal = place.talk(speaker, Ask::Certificate(plain_ask())).end().await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.hint.as_deref()),
        (Code::WrongDoor, Some("from your own machine: elevate cert -o FILE"))
    );
}

#[tokio::test]
async fn a_role_with_a_code_at_every_use_asks_for_one_with_each_certificate() {
    let (place, _) = place().await;
    place.factor("alice").await;
    place.ask_with_code("alice", Ask::Request(wanted("careful", false))).await.unwrap();
    let mut talk = place.talk(place.person("alice"), Ask::Certificate(plain_ask()));
    let Reply::Challenge(challenge) = talk.next().await else { panic!("no challenge") };
    assert_eq!(challenge.prompt.raw(), "Code for alice: log in by SSH with careful on db1");
    assert!(recorded(&place).await.is_empty());
    talk.answer(challenge.id, &place.code("alice")).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: true, .. }));
    assert!(matches!(talk.next().await, Reply::Done(Outcome::Certificate(_))));
}

#[tokio::test]
async fn a_grant_that_asks_for_a_code_at_every_use_does_so_whatever_its_role_says_later() {
    let (place, _) = place().await;
    place.factor("alice").await;
    place.ask_with_code("alice", Ask::Request(wanted("careful", false))).await.unwrap();
    place.write_policy(&POLICY.replace("every-use", "none"));
    place.core.reload_policy().await.unwrap();
    let mut talk = place.talk(place.person("alice"), Ask::Certificate(plain_ask()));
    let Reply::Challenge(challenge) = talk.next().await else { panic!("no challenge") };
    assert_eq!(challenge.prompt.raw(), "Code for alice: log in by SSH with careful on db1");
}

#[tokio::test]
async fn a_ca_behind_an_agent_signs_and_one_that_is_away_is_a_clear_error() {
    let (mut place, _) = place().await;
    activate(&place, "alice", "db").await;
    let agent = fixture::Agent::start();
    place.core.close().await;
    let keys = |user_ca| KeySetup { user_ca, ..grant_keys(place.folder.path(), None) };
    // The agent has the same key as the file: it may move there.
    let file = place.folder.path().join("keys/ssh_user_ca");
    let public = crate::keys::read_signing(&file).unwrap().public_key().clone();
    let same = Signer::agent(agent.socket(), public);
    place.core = open_keys(place.folder.path(), &place.clock, keys(Some(same))).await.unwrap();
    let refusal = certificate(&place, plain_ask()).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.as_str(), refusal.hint.as_deref()),
        (
            Code::Internal,
            "the daemon cannot sign certificates at the moment",
            Some("an administrator sees why: sudo elevatectl key list, and the log of elevated")
        )
    );
    assert!(recorded(&place).await.is_empty());
    assert!(agent.add(&[file.to_str().unwrap()]).status.success());
    let view = certificate(&place, plain_ask()).await.unwrap();
    // The serial of the one that was not signed is not given again: nobody knows what its agent did with it.
    assert_eq!(view.serial, 2);
    place.core.close().await;
    std::fs::remove_file(&file).unwrap();
    // It was found there last.
    place.core = open_keys(place.folder.path(), &place.clock, keys(None)).await.unwrap();
    assert_eq!(certificate(&place, plain_ask()).await.unwrap().serial, 3);
}

/// THREATS I14, E16: a serial leads to one certificate, also when the daemon has forgotten some of them.
#[tokio::test]
async fn i14_after_a_restore_no_serial_is_given_twice_and_before_it_is_accepted_none_at_all() {
    let (mut place, _) = place().await;
    let file = |place: &Place, name: &str| place.folder.path().join(name);
    activate(&place, "alice", "db").await;
    assert_eq!(certificate(&place, plain_ask()).await.unwrap().serial, 1);
    place.core.close().await;
    std::fs::copy(file(&place, "elevated.db"), file(&place, "backup")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    assert_eq!(certificate(&place, plain_ask()).await.unwrap().serial, 2);
    place.core.close().await;
    std::fs::copy(file(&place, "backup"), file(&place, "elevated.db")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    assert_eq!(refused(&place, plain_ask()).await.0, Code::Locked);
    let reason = "the disk of vault1 was lost".parse().unwrap();
    place.admin(AdminAsk::RestoreAccept { reason }).await;
    assert_eq!(refused(&place, plain_ask()).await.0, Code::Gone);
    activate(&place, "alice", "db").await;
    let after = certificate(&place, plain_ask()).await.unwrap().serial;
    assert!(after > 1 << 32, "{after}");
    // And over the next start.
    place.restart().await;
    assert_eq!(certificate(&place, plain_ask()).await.unwrap().serial, after + 1);
}
