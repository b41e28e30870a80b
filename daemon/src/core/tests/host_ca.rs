//! Certificates of hosts: whose names stand in them, which key signs, and what becomes of it in a rotation.

use elevate_protocol::document::Act;
use elevate_protocol::host_ssh::{HOST_LIFE, HostKey, HostKeys, HostName, HostProof, prove_host};
use elevate_protocol::id::HostId;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, KeyState, KeyView, Signs};
use elevate_protocol::message::agent::{Claim, ToAgent};
use elevate_protocol::message::enrol::EnrolReply;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::ssh::{Ca, Cas};
use sqlx::Connection as _;
use ssh_key::PublicKey;

use super::actors::Agent;
use super::place::*;
use crate::core::{CoreError, KeySetup, Speaker};
use crate::issue::host_certificate::LEAD;
use crate::signer::{Signer, fixture};

fn host_name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn host_key(seed: u8) -> HostKey {
    HostKey::of_file(&key(seed).public_key().to_openssh().unwrap()).unwrap()
}

/// The next that the host is told of its certificates.
async fn terms(agent: &mut Agent) -> (Vec<String>, Ca) {
    loop {
        if let ToAgent::HostTerms { names, ca } = agent.next().await {
            return (names.all().iter().map(ToString::to_string).collect(), ca);
        }
    }
}

/// The certificate for one key, as it is asked for.
async fn certificate(agent: &mut Agent, seed: u8) -> String {
    let keys = HostKeys::try_from(vec![host_key(seed)]).unwrap();
    agent.claim(Claim::HostKeys { keys }).await;
    loop {
        if let ToAgent::HostCertificates { certificates } = agent.next().await {
            let [one] = certificates.as_slice() else { panic!("{certificates:?}") };
            return one.clone();
        }
    }
}

async fn certified(place: &Place, agent: &mut Agent, by: &Cas) -> HostProof {
    let line = certificate(agent, 71).await;
    let cas: Vec<PublicKey> =
        by.keys().iter().map(|ca| PublicKey::from_openssh(ca.as_str()).unwrap()).collect();
    prove_host(&line, &host_key(71), (&cas, place.clock.now())).unwrap()
}

fn names(proof: &HostProof) -> Vec<&str> {
    proof.names.all().iter().map(HostName::as_str).collect()
}

async fn cas(place: &Place) -> Cas {
    match place.ask("alice", Ask::HostCas).await.unwrap() {
        Outcome::HostCas { cas, .. } => cas,
        other => panic!("{other:?}"),
    }
}

/// Whose certificates are to be refused.
async fn revoked(place: &Place) -> Vec<HostId> {
    match place.ask("alice", Ask::HostCas).await.unwrap() {
        Outcome::HostCas { revoked, .. } => revoked.into(),
        other => panic!("{other:?}"),
    }
}

/// THREATS E19: the old machine keeps its keys and a certificate that is valid for three weeks.
#[tokio::test]
async fn e19_a_host_that_gave_way_is_revoked_for_as_long_as_a_certificate_of_it_may_be_valid() {
    let mut place = Place::new().await;
    let first = place.enrol("web1", "web", 51).await;
    let mut agent = place.agent(&first, 51).await;
    agent.hello(0).await;
    certificate(&mut agent, 71).await;
    let bare = place.enrol("web2", "web", 52).await;
    assert_eq!(revoked(&place).await, [], "hosts that are there");
    let second = place.enrol("web1", "web", 53).await;
    place.enrol("web2", "web", 54).await;
    assert_eq!(revoked(&place).await, [first.host], "and not {:?}, which had none", bare.host);
    let mut agent = place.agent(&second, 53).await;
    agent.hello(0).await;
    // The same key, the same name: what counts is whom it was signed for.
    certificate(&mut agent, 71).await;
    assert_eq!(revoked(&place).await, [first.host]);
    place.restart().await;
    place.clock.advance(i64::from(HOST_LIFE.0));
    assert_eq!(revoked(&place).await, [first.host], "by a clock that is a little behind");
    place.clock.advance(60);
    assert_eq!(revoked(&place).await, []);
}

async fn rename(place: &Place, host: &str, add: &[&str], remove: &[&str]) -> Result<(), String> {
    let list = |names: &[&str]| names.iter().map(|one| host_name(one)).collect();
    let ask = AdminAsk::HostNames { name: name(host), add: list(add), remove: list(remove) };
    match place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await {
        Ok(_) => Ok(()),
        Err(refusal) => {
            assert_eq!(refusal.code, Code::Usage);
            Err(refusal.message)
        }
    }
}

/// THREATS E19: the host says which keys it has, and an administrator what it is called.
#[tokio::test]
async fn e19_names_are_an_administrators_and_no_host_gets_anothers() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 41).await;
    place.enrol("web2", "web", 42).await;
    let mut agent = place.agent(&web1, 41).await;
    agent.hello(0).await;
    assert_eq!(terms(&mut agent).await.0, ["web1"]);
    let trusted = cas(&place).await;
    assert_eq!(trusted, web1.host_ca, "hosts and people are told the same");
    assert_ne!(web1.host_ca, web1.user_ca, "a key of its own");
    let proof = certified(&place, &mut agent, &trusted).await;
    assert_eq!((names(&proof), proof.serial), (vec!["web1"], 1));
    assert_eq!(proof.valid_before, place.clock.now().after(HOST_LIFE));

    let taken = rename(&place, "web1", &["web2"], &[]).await.unwrap_err();
    assert!(taken.contains("web2 is the host web2"), "{taken}");
    assert!(rename(&place, "web1", &[], &["web9"]).await.unwrap_err().contains("no name web9"));
    rename(&place, "web1", &["db1", "10.0.0.5", "web1"], &[]).await.unwrap();
    assert!(agent.closed().await, "the next connection says the new names");
    let mut agent = place.agent(&web1, 41).await;
    agent.hello(0).await;
    assert_eq!(terms(&mut agent).await.0, ["web1", "db1", "10.0.0.5"]);
    let proof = certified(&place, &mut agent, &trusted).await;
    assert_eq!((names(&proof), proof.serial), (vec!["web1", "db1", "10.0.0.5"], 2));

    // A host that enrols under it later has it alone.
    place.enrol("db1", "db", 43).await;
    assert_eq!(names(&certified(&place, &mut agent, &trusted).await), ["web1", "10.0.0.5"]);
    rename(&place, "web1", &[], &["db1", "10.0.0.5"]).await.unwrap();
    assert_eq!(place.count("host.named").await, 2);
    let issued = place.count("host.certificate").await;
    assert_eq!(issued, 3, "each was recorded before it was sent");
}

fn rotate(overlap: Option<&str>) -> AdminAsk {
    AdminAsk::KeyRotate { signs: Signs::SshHostCa, overlap: overlap.map(span), key_type: None }
}

async fn keys(place: &Place, ask: AdminAsk) -> Vec<KeyView> {
    let AdminOutcome::Keys { mut keys, .. } = place.admin(ask).await else { panic!("no keys") };
    keys.retain(|key| key.signs == Signs::SshHostCa);
    keys
}

/// THREATS E19: one administrator alone gives no host the name by which people reach another one.
#[tokio::test]
async fn e19_a_name_of_another_host_is_refused_until_it_is_taken_from_that_one() {
    let place = Place::new().await;
    place.enrol("web1", "web", 41).await;
    place.enrol("db1", "db", 43).await;
    rename(&place, "db1", &["db1.example.org", "db.example.org", "10.0.0.7"], &[]).await.unwrap();
    for taken in ["db.example.org", "10.0.0.7", "db1.example.org", "db1.example.net", "db1"] {
        let refused = rename(&place, "web1", &[taken], &[]).await.unwrap_err();
        assert!(refused.contains(&format!("{taken} is the host db1")), "{refused}");
    }
    rename(&place, "web1", &["web1.example.org", "10.0.0.8", "www.db1.example.org"], &[]).await.unwrap();
    rename(&place, "db1", &[], &["db.example.org"]).await.unwrap();
    rename(&place, "web1", &["db.example.org"], &[]).await.unwrap();
}

/// The same, where the name was given to another host between the invitation and the enrolment.
#[tokio::test]
async fn e19_a_name_that_became_another_hosts_since_the_invitation_is_refused_at_enrolment() {
    let place = Place::new().await;
    place.enrol("web1", "web", 41).await;
    let names = vec![host_name("db.example.org")];
    let labels = [(name("tier"), name("db"))].into();
    let token = place.token(AdminAsk::HostInvite { name: name("db1"), labels, names, valid: None }).await;
    rename(&place, "web1", &["db.example.org"], &[]).await.unwrap();
    let EnrolReply::Refused(refusal) = place.enrol_with(token.clone(), 43).await else { panic!("enrolled") };
    assert_eq!(refusal.code, Code::Usage);
    assert!(refusal.message.contains("db.example.org is the host web1"), "{}", refusal.message);
    assert_eq!(place.count("host.enrolled").await, 1);
    // The invitation is good still, and the name is free again.
    rename(&place, "web1", &[], &["db.example.org"]).await.unwrap();
    let EnrolReply::Enrolled(db1) = place.enrol_with(token, 43).await else { panic!("refused") };
    let mut agent = place.agent(&db1, 43).await;
    agent.hello(0).await;
    assert_eq!(terms(&mut agent).await.0, ["db1", "db.example.org"]);
}

/// Nobody fails to log in: everybody has heard of the next key before it signs, and the one before counts as long as what it signed.
#[tokio::test]
async fn the_next_key_signs_when_everybody_has_heard_of_it_and_the_one_before_counts_on() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 41).await;
    let mut agent = place.agent(&web1, 41).await;
    agent.hello(0).await;
    let (_, first) = terms(&mut agent).await;
    let before = certified(&place, &mut agent, &cas(&place).await).await;

    let listed = keys(&place, rotate(None)).await;
    assert_eq!(listed.iter().map(|key| key.state).collect::<Vec<_>>(), [KeyState::Replaced, KeyState::Signs]);
    let both = cas(&place).await;
    assert_eq!(both.keys().len(), 2, "people hear of it at once");
    assert_eq!(
        certified(&place, &mut agent, &both).await.by,
        before.by,
        "and the one before goes on to sign"
    );
    drop(agent);
    place.event("host.lost", 1).await;
    place.clock.advance(LEAD.0.into());
    let mut agent = place.agent(&web1, 41).await;
    agent.hello(0).await;
    let (_, second) = terms(&mut agent).await;
    assert_ne!(first, second);
    assert_eq!(second.as_str(), listed[1].key);
    let after = certified(&place, &mut agent, &both).await;
    assert_ne!(after.by, before.by);
    // The last that the one before signed is over before it is.
    let until = listed[0].until.unwrap();
    assert!(before.valid_before < until && before.valid_before.after(LEAD) < until);
    assert_eq!(cas(&place).await.keys().len(), 2);
    place.clock.advance(until.since(place.clock.now()).0.into());
    place.event("key.over", 1).await;
    assert_eq!(cas(&place).await.keys(), [second]);
}

/// A key that was stolen: the next one signs at once.
#[tokio::test]
async fn without_an_overlap_the_next_key_signs_as_soon_as_the_one_before_is_over() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 41).await;
    keys(&place, rotate(Some("1s"))).await;
    place.clock.advance(2);
    place.event("key.over", 1).await;
    place.restart().await;
    let mut agent = place.agent(&web1, 41).await;
    agent.hello(0).await;
    let trusted = cas(&place).await;
    assert_eq!(trusted.keys().len(), 1);
    assert_eq!(terms(&mut agent).await.1, trusted.keys()[0]);
    certified(&place, &mut agent, &trusted).await;
}

/// A host that enrolled with a daemon that had no such key is told of the first one, and takes its certificates.
#[tokio::test]
async fn hosts_that_enrolled_before_there_was_the_key_are_told_of_the_first_one() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 41).await;
    place.core.close().await;
    // As the daemon before has left it.
    let database = format!("sqlite://{}/elevated.db", place.folder.path().display());
    let mut older = sqlx::SqliteConnection::connect(&database).await.unwrap();
    sqlx::query("DELETE FROM host_cas").execute(&mut older).await.unwrap();
    older.close().await.unwrap();
    std::fs::remove_file(place.folder.path().join("keys/ssh_host_ca")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    let trusted = cas(&place).await;
    assert_ne!(trusted, web1.host_ca);
    let host = place.obedient(&web1, 41).await;
    let told = soon("a document", async {
        loop {
            let first = host.applied.lock().unwrap().first().map(|document| document.act.clone());
            if let Some(act) = first {
                return act;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let Act::Keys(keys) = told else { panic!("{told:?}") };
    assert_eq!((keys.host_ca, keys.user_ca), (trusted, web1.user_ca));
    // Once, not at each start.
    place.restart().await;
    let documents = host.applied.lock().unwrap().len();
    assert_eq!(documents, 1);
}

/// THREATS E02: who gets one thing signed by a key gets nothing else by it.
#[tokio::test]
async fn e02_a_key_that_signs_something_else_is_refused_at_the_start_and_in_a_rotation() {
    let mut place = Place::new().await;
    place.core.close().await;
    let file = |name: &str| crate::keys::read_signing(&place.folder.path().join("keys").join(name)).unwrap();
    let agent = |name: &str| Some(Signer::agent("/run/a".into(), file(name).public_key().clone()));
    let setup = || grant_keys(place.folder.path(), None);
    for (keys, other) in [
        (KeySetup { host_ca: agent("ssh_user_ca"), ..setup() }, "ssh-user-ca"),
        (KeySetup { user_ca: agent("ssh_host_ca"), ..setup() }, "ssh-host-ca"),
        (KeySetup { host_ca: agent("grant"), ..setup() }, "grants"),
        (KeySetup { agent: agent("ssh_host_ca"), ..setup() }, "ssh-host-ca"),
    ] {
        let refused = open_keys(place.folder.path(), &place.clock, keys).await.err();
        assert!(
            matches!(&refused, Some(CoreError::SharedKey { other: found, .. }) if *found == other),
            "{refused:?}"
        );
    }
    // A first key, of a file that somebody copied.
    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir(empty.path().join("policy.d")).unwrap();
    let policy = place.folder.path().join("policy.d/main.toml");
    std::fs::copy(policy, empty.path().join("policy.d/main.toml")).unwrap();
    let keys = grant_keys(empty.path(), None);
    std::fs::copy(keys.folder.join("grant"), keys.folder.join("ssh_host_ca")).unwrap();
    let refused = open_keys(empty.path(), &place.clock, keys).await.err();
    assert!(
        matches!(&refused, Some(CoreError::SharedKey { one: "ssh-host-ca", other: "grants" })),
        "{refused:?}"
    );
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
}

/// The configuration names one key of a real ssh-agent for all three, which signs nothing yet: the daemon starts. Whatever it is given to
/// first, no rotation gives it to another.
#[tokio::test]
async fn e02_no_rotation_gives_a_key_a_second_thing_to_sign() {
    let all = [Signs::Grants, Signs::SshUserCa, Signs::SshHostCa];
    for first in all {
        let mut place = Place::new().await;
        place.core.close().await;
        let holder = fixture::Agent::start();
        let shared = Some(Signer::agent(holder.socket(), holder.key("ed25519")));
        let keys = KeySetup {
            user_ca: shared.clone(),
            host_ca: shared.clone(),
            ..grant_keys(place.folder.path(), shared)
        };
        place.core = open_keys(place.folder.path(), &place.clock, keys).await.unwrap();
        let rotate = async |signs| {
            let ask = Ask::Admin(AdminAsk::KeyRotate { signs, overlap: None, key_type: None });
            place.talk(Speaker::Root { uid: 0 }, ask).end().await
        };
        rotate(first).await.unwrap();
        for signs in all {
            let refusal = rotate(signs).await.unwrap_err();
            assert!(refusal.message.contains("signs already"), "{first:?} {signs:?}: {}", refusal.message);
        }
        assert_eq!(place.count("key.rotated").await, 1);
    }
}
