//! Certificates of hosts: whose names stand in them, which key signs, and what becomes of it in a rotation.

use elevate_protocol::host_ssh::{HOST_LIFE, HostKey, HostKeys, HostName, HostProof, prove_host};
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, KeyState, KeyView, Signs};
use elevate_protocol::message::agent::{Claim, ToAgent};
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::ssh::{Ca, Cas};
use ssh_key::PublicKey;

use super::actors::Agent;
use super::place::*;
use crate::core::Speaker;
use crate::issue::host_certificate::LEAD;

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
        Outcome::HostCas(cas) => cas,
        other => panic!("{other:?}"),
    }
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
    AdminAsk::KeyRotate { signs: Signs::SshHostCa, overlap: overlap.map(span) }
}

async fn keys(place: &Place, ask: AdminAsk) -> Vec<KeyView> {
    let AdminOutcome::Keys { mut keys, .. } = place.admin(ask).await else { panic!("no keys") };
    keys.retain(|key| key.signs == Signs::SshHostCa);
    keys
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
