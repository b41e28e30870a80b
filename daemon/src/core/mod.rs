//! The heart: what was asked is decided, recorded, signed, delivered.
//!
//! In: conversations of proven speakers, connections of hosts. Out: replies, documents, events. Runs as: `elevated`.
//! Spec: docs/architecture.md, docs/wire.md. One way: door → here → `policy::decide` → `issue` → `deliver`.

mod able;
mod admin;
mod ask;
mod at_use;
mod cas;
mod certifiable;
mod certificate;
mod changes;
mod choose;
mod confirm;
mod dialogue;
mod draft;
mod end;
mod ends;
mod enrol;
mod entitled;
mod export;
mod extend;
mod facts;
mod fault;
mod host_names;
mod invite;
pub(crate) mod keys;
mod label;
mod listing;
mod locks;
mod mfa;
mod own_key;
mod places;
mod policy_files;
mod recovery;
mod reload;
mod replace;
mod request;
mod requests;
pub(crate) mod restore;
mod review;
mod room;
mod settle;
mod signing;
mod speaker;
mod start_error;
mod strangers;
mod tail;
mod talks;
mod timers;
mod view;
mod why;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use elevate_audit::{Kind, Subject};
use elevate_policy::Policy;
use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ClusterId, HostId};
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::signed::SignedBody;
use elevate_protocol::text::UntrustedText;
use ssh_key::{HashAlg, PublicKey};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::deliver::{Floods, Registry, record_floods};
use crate::factor::{Hasher, SealKey};
use crate::issue::Issuer;
use crate::issue::ca::Ca;
use crate::issue::certificate::UserCa;
use crate::issue::host_certificate::HostCa;
use crate::sinks::Board;
use crate::store::{Authority, EventReader, Store, StoreError, Voice};

pub(crate) use able::enforces;
pub(crate) use cas::signing_for_hosts;
pub(crate) use facts::host_facts;
pub(crate) use fault::Fault;
pub(crate) use host_names::certified;
pub(crate) use keys::KeySetup;
pub(crate) use places::look as look_at_keys;
pub(crate) use policy_files::{PolicyReadError, read_policy};
pub(crate) use reload::ReloadError;
pub(crate) use speaker::{Conversation, Holder, Speaker};
pub(crate) use start_error::CoreError;

/// What the core is built from.
pub(crate) struct CoreSetup {
    /// Folder of the database and its lock: `/var/lib/elevated`. It exists.
    pub(crate) data_dir: PathBuf,
    /// Where the keys are that sign documents.
    pub(crate) keys: KeySetup,
    /// Seals the seeds of factors: 32 random bytes, kept outside the database.
    pub(crate) seal_key: Zeroizing<[u8; 32]>,
    /// The policy to begin with, from [`read_policy`].
    pub(crate) policy: Policy,
    /// Where to read it again: the files `*.toml` in it, by name.
    pub(crate) policy_dir: PathBuf,
    /// `NAME:PORT` in paste strings.
    pub(crate) advertised: String,
    /// `SHA256:` fingerprint of the listener's host key, in paste strings.
    pub(crate) fingerprint: String,
    /// The time.
    pub(crate) clock: Clock,
}

/// The core. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Core(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
    pub(crate) agents: Registry,
    pub(crate) floods: Floods,
    pub(crate) sinks: Board,
    issuer: Issuer,
    user_ca: UserCa,
    host_ca: HostCa,
    keys: KeySetup,
    seal: SealKey,
    hasher: Hasher,
    waiting: RwLock<changes::Waiting>,
    policy: RwLock<Arc<Policy>>,
    policy_dir: PathBuf,
    /// Held from reading the files to the commit: of two reloads the later one has the later files.
    reloading: tokio::sync::Mutex<()>,
    advertised: String,
    fingerprint: String,
    link_keys: RwLock<HashMap<String, HostId>>,
    talks: talks::Talks,
    strangers: strangers::Strangers,
}

impl Inner {
    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What signs certificates, for people or for hosts.
    fn ca(&self, of: Authority) -> &Ca {
        match of {
            Authority::People => &self.user_ca.ca,
            Authority::Hosts => &self.host_ca.ca,
        }
    }

    /// What signs certificates for hosts.
    pub(crate) fn host_ca(&self) -> &HostCa {
        &self.host_ca
    }

    /// The policy in force. Fetch it after the transaction began that decides with it.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Core {
    /// Opens the store, makes it on the first call, and takes up what was going on.
    ///
    /// # Errors
    /// A [`CoreError`]; another daemon on the same folder is one.
    pub(crate) async fn open(setup: CoreSetup) -> Result<Self, CoreError> {
        let fresh = ClusterId::from_random(random()?);
        let store = Arc::new(Store::open(&setup.data_dir, setup.clock.clone(), fresh).await?);
        places::follow(&store, &setup.keys).await?;
        let signers = keys::known(&store, &setup.keys).await?;
        let issuer = Issuer::new(signers, store.cluster());
        let user_ca = UserCa::new(cas::known((&store, &issuer), &setup.keys, Authority::People).await?);
        let host_ca = HostCa::new(cas::known((&store, &issuer), &setup.keys, Authority::Hosts).await?);
        own_key::check_all(&mut store.write().await?, &setup.keys).await?;
        let inner = Inner {
            issuer,
            user_ca,
            host_ca,
            keys: setup.keys,
            store,
            clock: setup.clock,
            agents: Registry::default(),
            floods: Floods::default(),
            sinks: Board::default(),
            seal: SealKey::new(&setup.seal_key)?,
            hasher: Hasher::default(),
            waiting: RwLock::default(),
            policy: RwLock::new(Arc::new(setup.policy)),
            policy_dir: setup.policy_dir,
            reloading: tokio::sync::Mutex::default(),
            advertised: setup.advertised,
            fingerprint: setup.fingerprint,
            link_keys: RwLock::new(HashMap::new()),
            talks: talks::Talks::default(),
            strangers: strangers::Strangers::default(),
        };
        let core = Self(Arc::new(inner));
        core.take_up().await?;
        drop(keys::look(&core.0).await?);
        timers::spawn(&core);
        signing::spawn(&core);
        Ok(core)
    }

    /// Records the start, finds the hosts' keys again, and looks at every grant with the policy of today.
    async fn take_up(&self) -> Result<(), Fault> {
        let mut tx = self.0.store.write().await?;
        let kind = Kind::DaemonStarted {
            version: UntrustedText::lossy(env!("CARGO_PKG_VERSION")),
            cluster: self.0.store.cluster(),
            epoch: self.0.store.epoch(),
        };
        restore::look(&self.0, &mut tx).await?;
        tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
        let policy = self.0.policy();
        let waiting = reload::put_in_force(&self.0, &mut tx, &policy, &Voice::DAEMON).await?;
        drop(changes::set_waiting(&self.0, waiting));
        let keys = tx.hosts().await?.into_iter().map(|host| (host.link_fingerprint, host.id)).collect();
        tx.commit().await?;
        *self.0.link_keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Who holds this key.
    #[must_use]
    pub(crate) fn holder(&self, key: &PublicKey) -> Holder {
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let policy = self.0.policy();
        if let Some(person) = policy.person_by_key(&fingerprint) {
            // A person past the end of their entry is nobody here.
            // And so is a key that does not count yet.
            let waits = changes::waits(&self.0, &person.name, &fingerprint.to_string());
            return if waits || person.is_over(self.0.clock.now()) {
                Holder::Nobody
            } else {
                Holder::Person(person.name.clone())
            };
        }
        let hosts = self.0.link_keys.read().unwrap_or_else(PoisonError::into_inner);
        hosts.get(&fingerprint.to_string()).map_or(Holder::Nobody, |id| Holder::Host(*id))
    }

    /// Holds one conversation to its end.
    pub(crate) async fn converse(&self, conversation: Conversation) {
        ask::converse(self, conversation).await;
    }

    /// Enrols a host: one question, one answer. `link_key` is the key that the connection was authenticated with.
    pub(crate) async fn enrol(&self, ask: EnrolAsk, link_key: &PublicKey, from: IpAddr) -> EnrolReply {
        enrol::enrol(self, ask, link_key, from).await
    }

    /// Serves one connection of a host's agent until either channel closes. A newer connection ends this one.
    pub(crate) async fn serve_agent(
        &self,
        host: HostId,
        from: IpAddr,
        claims: mpsc::Receiver<Box<SignedBody>>,
        out: mpsc::Sender<Box<ToAgent>>,
    ) {
        crate::deliver::serve(self, (host, from), claims, out).await;
    }

    /// A reader of the log, for a sink.
    #[must_use]
    pub(crate) fn events(&self) -> EventReader {
        EventReader::new(Arc::clone(&self.0.store))
    }

    /// Where sinks say how they are.
    #[must_use]
    pub(crate) fn sinks(&self) -> Board {
        self.0.sinks.clone()
    }

    /// The cluster's id.
    #[must_use]
    pub(crate) fn cluster(&self) -> ClusterId {
        self.0.store.cluster()
    }

    /// Reads the policy's files again and puts them in force, all or nothing.
    ///
    /// # Errors
    /// A [`ReloadError`]; the policy before stays in force.
    pub(crate) async fn reload_policy(&self) -> Result<Digest, ReloadError> {
        reload::reload(&self.0, &Voice::DAEMON).await
    }

    /// Returns when everything that decisions need was there: the policy, the hosts' places, the writer, a reader.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn works(&self) -> Result<(), StoreError> {
        drop(self.0.policy());
        drop(self.0.link_keys.read().unwrap_or_else(PoisonError::into_inner));
        let _place = self.0.agents.is_connected(HostId::from_random([0; 16]));
        self.0.store.works().await
    }

    /// Closes the store and gives the folder up. Conversations that go on meanwhile fail.
    pub(crate) async fn close(&self) {
        self.0.agents.clear();
        record_floods(self).await;
        self.0.store.close().await;
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// Random bytes from the system, for ids, nonces and tokens.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
