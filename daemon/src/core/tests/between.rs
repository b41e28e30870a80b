//! What comes between the look at a grant and the record of its certificate: while an agent takes its time to sign.

use std::future::Future;
use std::path::Path;

use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};

use super::certificates::{POLICY, activate, place, plain_ask};
use super::place::*;
use crate::core::KeySetup;
use crate::signer::{Signer, fixture};
use crate::store::{Activation, AsSeen, Authority, CertificateRow, Store, StoreError};

/// A door before an agent: who comes by it has looked at the grant already.
struct Gate {
    listener: UnixListener,
    agent: fixture::Agent,
}

impl Gate {
    /// The place's key for certificates is behind an agent from now on.
    async fn before(place: &mut Place, socket: &Path) -> Self {
        let agent = fixture::Agent::start();
        let file = place.folder.path().join("keys/ssh_user_ca");
        let public = crate::keys::read_signing(&file).unwrap().public_key().clone();
        assert!(agent.add(&[file.to_str().unwrap()]).status.success());
        place.core.close().await;
        let user_ca = Some(Signer::agent(socket.to_owned(), public));
        let keys = KeySetup { user_ca, ..grant_keys(place.folder.path(), None) };
        let listener = UnixListener::bind(socket).unwrap();
        place.core = open_keys(place.folder.path(), &place.clock, keys).await.unwrap();
        Self { listener, agent }
    }

    /// What alice is told for whom `meanwhile` came between; serial and event are one another's.
    async fn asked(&self, place: &Place, meanwhile: impl Future<Output = ()>) -> Result<u64, Refusal> {
        let before = recorded(place).await;
        let talk = place.talk(place.person("alice"), Ask::Certificate(plain_ask()));
        let (mut near, _) = self.listener.accept().await.unwrap();
        meanwhile.await;
        let mut far = UnixStream::connect(self.agent.socket()).await.unwrap();
        copy_bidirectional(&mut near, &mut far).await.unwrap();
        let told = match talk.end().await {
            Ok(Outcome::Certificate(view)) => Ok(view.serial),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        };
        assert_eq!(recorded(place).await - before, usize::from(told.is_ok()));
        told
    }
}

/// Events of certificates.
async fn recorded(place: &Place) -> usize {
    place.events().await.iter().filter(|event| event.kind.code() == "ssh.certificate").count()
}

async fn lock(place: &Place, who: &str) {
    let (what, reason) = (LockWhat::Person(name(who)), "laptop stolen".parse().unwrap());
    place.admin(AdminAsk::Lock { what, ttl: None, reason }).await;
}

/// Threats E16, D06: what was seen before the key signed counts only where it is still so.
#[tokio::test]
async fn e16_a_certificate_is_recorded_only_under_the_grant_as_it_is_by_then() {
    let (mut place, _) = place().await;
    activate(&place, "alice", "db").await;
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::before(&mut place, &folder.path().join("sock")).await;
    assert_eq!(gate.asked(&place, async {}).await.unwrap(), 1);
    // Of somebody else: it is looked at, and bars nobody here; also while it is there before.
    assert_eq!(gate.asked(&place, lock(&place, "bob")).await.unwrap(), 2);
    assert_eq!(gate.asked(&place, async {}).await.unwrap(), 3);
    let revoke = async {
        let reason = "over".parse().unwrap();
        place.admin(AdminAsk::Revoke { what: RevokeWhat::Person(name("alice")), reason }).await;
    };
    assert_eq!(gate.asked(&place, revoke).await.unwrap_err().code, Code::Gone);
    activate(&place, "alice", "db").await;
    let late = async { place.clock.advance(3600) };
    assert_eq!(gate.asked(&place, late).await.unwrap_err().code, Code::Gone);
    activate(&place, "alice", "db").await;
    let refusal = gate.asked(&place, lock(&place, "alice")).await.unwrap_err();
    assert!(matches!(refusal.code, Code::Gone | Code::Locked), "{refusal:?}");
}

/// Whether the writer knows the number of the next event or has to ask first: what came between is found.
#[tokio::test]
async fn a_lock_of_somebody_else_bars_nobody_also_where_the_writer_has_to_ask_for_the_next_number() {
    let (mut place, _) = place().await;
    activate(&place, "alice", "db").await;
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::before(&mut place, &folder.path().join("sock")).await;
    let between = async {
        lock(&place, "bob").await;
        // Dropped after it asked something: its group is lost, and the number forgotten.
        let mut tx = place.core.inner().store.write().await.unwrap();
        tx.meta("none").await.unwrap();
    };
    assert_eq!(gate.asked(&place, between).await.unwrap(), 1);
}

/// Threat D06: the policy that counts is the one by which it is recorded.
#[tokio::test]
async fn d06_a_policy_that_takes_a_code_while_the_key_signs_gives_no_certificate_without_one() {
    let (mut place, _) = place().await;
    activate(&place, "alice", "db").await;
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::before(&mut place, &folder.path().join("sock")).await;
    let put = async |policy: &str| {
        place.write_policy(policy);
        place.core.reload_policy().await.unwrap();
    };
    let careful = POLICY.replacen("mfa = \"none\"", "mfa = \"every-use\"", 1);
    assert_eq!(gate.asked(&place, put(&careful)).await.unwrap_err().code, Code::Factor);
    put(POLICY).await;
    // The other way: something is locked, and all of it is asked.
    lock(&place, "bob").await;
    assert_eq!(gate.asked(&place, async {}).await.unwrap(), 2);
    assert_eq!(gate.asked(&place, put(&careful)).await.unwrap_err().code, Code::Factor);
}

/// Alice's only grant, and what was seen of it.
async fn seen(store: &Store) -> (Activation, Option<AsSeen>) {
    let one = store.glance().await.unwrap().standing_of(&name("alice")).await.unwrap().pop().unwrap();
    (one.activation, one.seen)
}

async fn keep(store: &Store, seen: &(Activation, Option<AsSeen>), serial: u64) -> Result<(), StoreError> {
    let (grant, seen) = seen;
    let row = CertificateRow {
        serial,
        ca: 1,
        activation: grant.id,
        fingerprint: "SHA256:x".to_owned(),
        valid_before: grant.ends_at.unwrap(),
    };
    let mut tx = store.write().await?;
    tx.insert_certificate_under(seen.as_ref().unwrap(), &row).await?;
    tx.commit().await
}

/// The store itself refuses, whoever asks it to keep one.
#[tokio::test]
async fn e16_no_certificate_is_kept_under_a_grant_that_is_another_than_was_seen_or_beside_a_lock() {
    let (place, _) = place().await;
    activate(&place, "alice", "db").await;
    let store = &place.core.inner().store;
    let before = seen(store).await;
    keep(store, &before, 1).await.unwrap();
    let twice = keep(store, &before, 1).await.unwrap_err();
    assert!(!twice.is_otherwise(), "{twice:?}");
    let mut tx = store.write().await.unwrap();
    tx.update_activation(&Activation { extensions: 1, ..before.0.clone() }).await.unwrap();
    tx.commit().await.unwrap();
    assert!(keep(store, &before, 2).await.unwrap_err().is_otherwise());
    let after = seen(store).await;
    keep(store, &after, 2).await.unwrap();
    lock(&place, "bob").await;
    assert!(keep(store, &after, 3).await.unwrap_err().is_otherwise());
    assert!(seen(store).await.1.is_none(), "whether the lock bars it is to be asked");
    assert_eq!(store.glance().await.unwrap().next_serial(Authority::People).await.unwrap(), 3);
}
