//! Keys that move from their file into a real ssh-agent, and back, and are rotated away from there.

use std::path::PathBuf;

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, KeyState, KeyType, KeyView, Signs};
use elevate_protocol::message::person::Ask;
use ssh_key::PublicKey;

use super::place::*;
use crate::core::{CoreError, KeySetup, Speaker};
use crate::signer::{Signer, fixture};

const ALL: [(Signs, &str); 3] =
    [(Signs::Grants, "grant"), (Signs::SshUserCa, "ssh_user_ca"), (Signs::SshHostCa, "ssh_host_ca")];

/// The configuration with this key of an agent for one of them.
fn named(place: &Place, signs: Signs, signer: Option<&Signer>) -> KeySetup {
    let signer = signer.cloned();
    let plain = grant_keys(place.folder.path(), None);
    match signs {
        Signs::Grants => KeySetup { agent: signer, ..plain },
        Signs::SshUserCa => KeySetup { user_ca: signer, ..plain },
        Signs::SshHostCa => KeySetup { host_ca: signer, ..plain },
    }
}

async fn start(place: &mut Place, (signs, signer): (Signs, Option<&Signer>)) -> Result<(), CoreError> {
    place.core.close().await;
    let keys = named(place, signs, signer);
    place.core = open_keys(place.folder.path(), &place.clock, keys).await?;
    Ok(())
}

fn key_file(place: &Place, file: &str) -> (PathBuf, PublicKey) {
    let path = place.folder.path().join("keys").join(file);
    let public = crate::keys::read_signing(&path).unwrap().public_key().clone();
    (path, public)
}

async fn keys(place: &Place, signs: Signs, ask: AdminAsk) -> Vec<KeyView> {
    let AdminOutcome::Keys { mut keys, .. } = place.admin(ask).await else { panic!("no keys") };
    keys.retain(|key| key.signs == signs);
    keys
}

fn rotate(signs: Signs) -> AdminAsk {
    AdminAsk::KeyRotate { signs, overlap: None, key_type: None }
}

#[tokio::test]
async fn a_key_that_moved_into_an_agent_is_rotated_away_from_there_and_the_daemon_starts() {
    for (signs, file) in ALL {
        let mut place = Place::new().await;
        let holder = fixture::Agent::start();
        let (path, public) = key_file(&place, file);
        assert!(holder.add(&[path.to_str().unwrap()]).status.success());
        std::fs::remove_file(&path).unwrap();
        let moved = Signer::agent(holder.socket(), public);
        start(&mut place, (signs, Some(&moved))).await.unwrap();
        let at = format!("agent:{}", holder.socket().display());
        let listed = keys(&place, signs, AdminAsk::KeyList).await;
        assert_eq!((listed.len(), listed[0].place.as_str()), (1, at.as_str()), "{signs:?}");

        let next = Signer::agent(holder.socket(), holder.key("ecdsa"));
        start(&mut place, (signs, Some(&next))).await.unwrap();
        let listed = keys(&place, signs, rotate(signs)).await;
        let states: Vec<KeyState> = listed.iter().map(|key| key.state).collect();
        assert_eq!(states, [KeyState::Replaced, KeyState::Signs], "{signs:?}");
        assert!(listed.iter().all(|key| key.place == at && key.problem.is_none()), "{listed:?}");
        start(&mut place, (signs, Some(&next))).await.unwrap();
        assert_eq!(keys(&place, signs, AdminAsk::KeyList).await, listed);
    }
}

/// Nobody is locked in: neither where the agent was never there, nor where the key comes back.
#[tokio::test]
async fn a_key_whose_file_is_there_is_taken_from_it_when_no_agent_is_named_with_it() {
    for (signs, file) in ALL {
        let mut place = Place::new().await;
        // The second key of each, of which the file has another name than the first.
        keys(&place, signs, rotate(signs)).await;
        let last = keys(&place, signs, AdminAsk::KeyList).await.pop().unwrap().place;
        let (path, public) = key_file(&place, &last);
        let gone = Signer::agent(place.folder.path().join("gone.sock"), public);
        start(&mut place, (signs, Some(&gone))).await.unwrap();
        let listed = keys(&place, signs, AdminAsk::KeyList).await.pop().unwrap();
        assert!(listed.place.ends_with("gone.sock") && listed.problem.is_some(), "{listed:?}");
        let holder = fixture::Agent::start();
        let next = Signer::agent(holder.socket(), holder.key("ed25519"));
        for named in [None, Some(&next)] {
            start(&mut place, (signs, Some(&gone))).await.unwrap();
            start(&mut place, (signs, named)).await.unwrap();
            let listed = keys(&place, signs, AdminAsk::KeyList).await;
            let signing = listed.iter().find(|key| key.state == KeyState::Signs).unwrap();
            assert_eq!((&signing.place, &signing.problem), (&last, &None), "{file}");
        }
        assert!(path.exists());
    }
}

#[tokio::test]
async fn a_key_that_is_nowhere_keeps_the_daemon_from_starting_and_the_error_says_which_and_what_to_do() {
    let said = ["grants", "SSH certificates of people", "SSH certificates of hosts"];
    for ((signs, file), what) in ALL.into_iter().zip(said) {
        let mut place = Place::new().await;
        let (path, public) = key_file(&place, file);
        std::fs::remove_file(&path).unwrap();
        let next = Signer::agent("/run/a".into(), key(77).public_key().clone());
        let refused = start(&mut place, (signs, Some(&next))).await.unwrap_err();
        let print = public.fingerprint(ssh_key::HashAlg::Sha256);
        let line = crate::log::chain(&refused);
        let wanted =
            format!("the key {print} for {what} cannot be used: cannot read the key {}: ", path.display());
        assert!(line.starts_with(&wanted), "{line}");
        let hint = refused.hint().unwrap();
        assert!(hint.contains(&format!("name agent and key in keys.{file} (daemon.toml)")), "{hint}");
    }
}

/// A first key is of the type that serves best, the next ones of that of the key before; another type where an administrator says so.
#[tokio::test]
async fn a_new_key_is_of_the_type_of_the_one_before_or_of_the_one_that_is_asked_for() {
    let (ed25519, p256) = ("ssh-ed25519", "ecdsa-sha2-nistp256");
    let usual = [(ed25519, p256), (p256, ed25519), (ed25519, p256)];
    for ((signs, _), (usual, other)) in ALL.into_iter().zip(usual) {
        let mut place = Place::new().await;
        keys(&place, signs, rotate(signs)).await;
        let key_type = if other == p256 { KeyType::Ecdsa } else { KeyType::Ed25519 };
        let of_type = || AdminAsk::KeyRotate { signs, overlap: None, key_type: Some(key_type) };
        keys(&place, signs, of_type()).await;
        // Whoever checks takes what the key before was.
        keys(&place, signs, rotate(signs)).await;
        let types = [usual, usual, other, other];
        let listed = keys(&place, signs, AdminAsk::KeyList).await;
        let found: Vec<&str> = listed.iter().map(|key| key.key.split(' ').next().unwrap()).collect();
        assert_eq!(found, types, "{signs:?}");
        assert!(listed.iter().all(|key| key.problem.is_none()), "{listed:?}");
        // All are read again, and a key of an agent is of the type that it is.
        place.clock.advance(40 * 24 * 3600);
        place.restart().await;
        let holder = fixture::Agent::start();
        let next = Signer::agent(holder.socket(), holder.key("ed25519"));
        start(&mut place, (signs, Some(&next))).await.unwrap();
        let ask = Ask::Admin(of_type());
        let refusal = place.talk(Speaker::Root { uid: 0 }, ask).end().await.unwrap_err();
        assert!(refusal.message.contains("is of the type that it is"), "{}", refusal.message);
        assert_eq!(keys(&place, signs, AdminAsk::KeyList).await.len(), 5, "{signs:?}");
    }
}
