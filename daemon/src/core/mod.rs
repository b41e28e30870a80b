//! The heart: what was asked is decided, recorded, signed, delivered.
//!
//! In: conversations of proven speakers, connections of hosts. Out: replies, documents, events. Runs as: `elevated`.
//! Spec: docs/architecture.md, docs/wire.md. One way: door → here → `policy::decide` → `issue` → `deliver`.

mod speaker;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use elevate_policy::Policy;
use elevate_protocol::digest::Digest;
use elevate_protocol::id::HostId;
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::message::person::Reply;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::signed::SignedBody;
use ssh_key::{PrivateKey, PublicKey};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::clock::Clock;

pub use speaker::{Conversation, Holder, Speaker};

/// What the core is built from.
pub struct CoreSetup {
    /// Folder of the database and its lock: `/var/lib/elevated`.
    pub data_dir: PathBuf,
    /// Signs documents.
    pub grant_key: PrivateKey,
    /// Seals the seeds of factors: 32 random bytes, kept outside the database.
    pub seal_key: Zeroizing<[u8; 32]>,
    /// The policy to begin with.
    pub policy: Policy,
    /// Where to read it again: the files `*.toml` in it, by name.
    pub policy_dir: PathBuf,
    /// `NAME:PORT` in paste strings.
    pub advertised: String,
    /// `SHA256:` fingerprint of the listener's host key, in paste strings.
    pub fingerprint: String,
    /// The time.
    pub clock: Clock,
}

/// Why the core does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The policy's folder cannot be read.
    #[error("cannot read the policy in {path}")]
    PolicyFiles {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The policy is not valid.
    #[error("the policy is not valid")]
    Policy {
        /// Every finding.
        source: Box<elevate_policy::PolicyError>,
    },
}

/// The core. Cheap to clone.
#[derive(Clone)]
pub struct Core(Arc<Inner>);

struct Inner {
    policy: RwLock<Arc<Policy>>,
}

impl Core {
    /// Opens the store, makes it on the first call, and takes up what was going on.
    ///
    /// # Errors
    /// A [`CoreError`]; another daemon on the same folder is one.
    pub async fn open(setup: CoreSetup) -> Result<Self, CoreError> {
        Ok(Self(Arc::new(Inner { policy: RwLock::new(Arc::new(setup.policy)) })))
    }

    /// Who holds this key.
    #[must_use]
    pub fn holder(&self, key: &PublicKey) -> Holder {
        let policy = self.0.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match policy.person_by_key(&key.fingerprint(ssh_key::HashAlg::Sha256)) {
            Some(person) => Holder::Person(person.name.clone()),
            None => Holder::Nobody,
        }
    }

    /// Holds one conversation to its end.
    pub async fn converse(&self, conversation: Conversation) {
        let refusal = Refusal::new(Code::Busy, "the daemon is not ready yet");
        if conversation.reply.send(Reply::Refused(refusal)).await.is_err() {
            // Nobody listens any more; there is nothing to take back.
        }
    }

    /// Enrols a host: one question, one answer. `link_key` is the key that the connection was authenticated with.
    pub async fn enrol(&self, _ask: EnrolAsk, _link_key: &PublicKey, _from: IpAddr) -> EnrolReply {
        EnrolReply::Refused(Refusal::new(Code::Busy, "the daemon is not ready yet"))
    }

    /// Serves one connection of a host's agent until either channel closes. A newer connection ends this one.
    pub async fn serve_agent(
        &self,
        _host: HostId,
        _from: IpAddr,
        _claims: mpsc::Receiver<SignedBody>,
        out: mpsc::Sender<ToAgent>,
    ) {
        let refusal = Refusal::new(Code::Busy, "the daemon is not ready yet");
        if out.send(ToAgent::Refused(refusal)).await.is_err() {
            // The connection is gone already.
        }
    }

    /// Reads the policy's files again and puts them in force, all or nothing.
    ///
    /// # Errors
    /// A [`CoreError`]; the policy before stays in force.
    pub async fn reload_policy(&self) -> Result<Digest, CoreError> {
        let policy = self.0.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(policy.digest())
    }
}
