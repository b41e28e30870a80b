//! Rotation of the key that signs SSH certificates: which of two signs for whom, and when hosts trust one of them no more.

use elevate_protocol::document::Act;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, KeyState, KeyView, Signs};
use elevate_protocol::message::view::CertificateView;
use ssh_key::PublicKey;
use ssh_key::certificate::Certificate;

use super::certificates::{activate, certificate, place, plain_ask};
use super::place::*;
use crate::core::KeySetup;
use crate::signer::{Signer, fixture};

async fn cas(place: &Place, ask: AdminAsk) -> Vec<KeyView> {
    let AdminOutcome::Keys { mut keys, .. } = place.admin(ask).await else { panic!("no keys") };
    keys.retain(|key| key.signs == Signs::SshUserCa);
    keys
}

fn rotate(overlap: Option<&str>) -> AdminAsk {
    AdminAsk::KeyRotate { signs: Signs::SshUserCa, overlap: overlap.map(span), key_type: None }
}

/// The number of the key in the list that signed a certificate.
fn signed_by(view: &CertificateView, keys: &[KeyView]) -> Option<usize> {
    let by = Certificate::from_openssh(&view.certificate).unwrap();
    keys.iter().position(|key| PublicKey::from_openssh(&key.key).unwrap().key_data() == by.signature_key())
}

/// What a host was told to trust at last.
fn trusted(agent: &Obedient) -> Vec<String> {
    match agent.applied.lock().unwrap().last().unwrap().act.clone() {
        Act::Keys(keys) => keys.user_ca.keys().iter().map(|key| key.as_str().to_owned()).collect(),
        other => panic!("{other:?}"),
    }
}

fn states(keys: &[KeyView]) -> Vec<KeyState> {
    keys.iter().map(|key| key.state).collect()
}

/// No failed login: a host that has not heard of the new key gets certificates of the one that it knows.
#[tokio::test]
async fn a_host_that_was_away_is_given_certificates_of_the_key_that_it_knows() {
    let (mut place, db1) = place().await;
    let agent = place.obedient(&db1, 31).await;
    place.event("host.connected", 3).await;
    activate(&place, "alice", "db").await;
    place.event("grant.confirmed", 1).await;
    drop(agent);
    place.event("host.lost", 3).await;

    let keys = cas(&place, rotate(None)).await;
    assert_eq!(states(&keys), [KeyState::Replaced, KeyState::Signs]);
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &keys), Some(0));
    place.restart().await;
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &keys), Some(0));
    let agent = place.obedient(&db1, 31).await;
    place.event("key.trusted", 1).await;
    assert_eq!(trusted(&agent), keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>());
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &keys), Some(1));
    // A host that enrols in between trusts both.
    let web2 = place.enrol("web2", "web", 33).await;
    assert_eq!(web2.user_ca.keys().len(), 2);

    drop(agent);
    place.event("host.lost", 4).await;
    place.clock.advance(25 * 3600);
    let agent = place.obedient(&db1, 31).await;
    place.event("key.trusted", 2).await;
    assert_eq!(trusted(&agent), [keys[1].key.clone()]);
    let keys = cas(&place, AdminAsk::KeyList).await;
    assert_eq!(states(&keys), [KeyState::Over, KeyState::Signs]);
    place.restart().await;
    assert_eq!(cas(&place, AdminAsk::KeyList).await, keys);
}

/// A key that was stolen is trusted no longer.
#[tokio::test]
async fn with_the_shortest_overlap_hosts_trust_the_new_key_alone_at_once() {
    let (place, db1) = place().await;
    let agent = place.obedient(&db1, 31).await;
    place.event("host.connected", 3).await;
    activate(&place, "alice", "db").await;
    place.event("grant.confirmed", 1).await;
    cas(&place, rotate(Some("1s"))).await;
    place.event("key.trusted", 1).await;
    place.clock.advance(1);
    place.event("key.trusted", 2).await;
    let keys = cas(&place, AdminAsk::KeyList).await;
    assert_eq!(states(&keys), [KeyState::Over, KeyState::Signs]);
    assert_eq!(trusted(&agent), [keys[1].key.clone()]);
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &keys), Some(1));
    // As many at one time as hosts can be told of.
    for _ in 0..3 {
        cas(&place, rotate(None)).await;
    }
    let talk = place.talk(
        crate::core::Speaker::Root { uid: 0 },
        elevate_protocol::message::person::Ask::Admin(rotate(None)),
    );
    assert!(talk.end().await.unwrap_err().message.contains("too many keys overlap"));
    assert_eq!(cas(&place, AdminAsk::KeyList).await.len(), 5);
}

#[tokio::test]
async fn the_next_key_may_be_behind_an_agent_and_signs_after_the_rotation_alone() {
    let (mut place, _) = place().await;
    activate(&place, "alice", "db").await;
    let agent = fixture::Agent::start();
    let signer = Signer::agent(agent.socket(), agent.key("ecdsa"));
    place.core.close().await;
    let keys = || KeySetup { user_ca: Some(signer.clone()), ..grant_keys(place.folder.path(), None) };
    place.core = open_keys(place.folder.path(), &place.clock, keys()).await.unwrap();
    let listed = cas(&place, AdminAsk::KeyList).await;
    assert_eq!(states(&listed), [KeyState::Signs, KeyState::Next]);
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &listed), Some(0));
    let listed = cas(&place, rotate(Some("1s"))).await;
    assert_eq!(states(&listed), [KeyState::Replaced, KeyState::Signs]);
    assert!(listed[1].place.starts_with("agent:"), "{listed:?}");
    // The host is away, and knows the key before; until that one is over, and there is no other.
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &listed), Some(0));
    place.clock.advance(1);
    place.event("key.over", 1).await;
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &listed), Some(1));
    place.core.close().await;
    place.core = open_keys(place.folder.path(), &place.clock, keys()).await.unwrap();
    assert_eq!(signed_by(&certificate(&place, plain_ask()).await.unwrap(), &listed), Some(1));
}
