//! Turns a permit into documents, one log per host. A key here signs them at once; one behind an agent does it after the commit,
//! in `core/signing.rs`: nobody's transaction waits for an agent.
//!
//! In: a [`Permit`] or an [`Extension`], which only `policy` makes; or the end of an activation. Out: documents in the store,
//! with their events, in the caller's transaction. Runs as: `elevated`. Spec: docs/grant-format.md.

pub(crate) mod ca;
pub(crate) mod certificate;
pub(crate) mod host_certificate;
mod keyring;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use elevate_audit::{Kind, Subject};
use elevate_policy::{Extension, Factor, Permit, PermitReach};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::{
    self, Act, BACKDATE, DOCUMENT_MAX, Document, End, EndCause, Extend, FACTOR_AT_USE, FACTOR_AT_USE_MAX,
    FORMAT, Grant, Keys, LEASE, SSH,
};
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::message::view::State;
use elevate_protocol::signed::GRANT_NAMESPACE;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use tokio::sync::Notify;

use crate::signer::{SignError, Signer};
use crate::store::{Activation, HostPart, NextPlace, StoreError, StoredDocument, Tx, Voice};

/// How long a connected host may take to tell of the end of a grant's time: clocks may differ by a minute.
pub(crate) const EXPIRY_TOLD_WITHIN: Span = Span(90);
/// The same for an end that it was sent.
pub(crate) const END_TOLD_WITHIN: Span = Span(30);

/// Why a document was not issued. Then nothing is to be committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// The store.
    #[error("the store did not do it")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The key did not sign.
    #[error("the grant key did not sign")]
    Sign {
        /// Why.
        #[from]
        source: SignError,
    },
    /// A document cannot be written.
    #[error("a document cannot be written")]
    Form {
        /// Why.
        #[from]
        source: serde_json::Error,
    },
    /// A document is longer than hosts take.
    #[error("the grant would have {found} bytes, at most {DOCUMENT_MAX}")]
    TooLong {
        /// Bytes.
        found: usize,
    },
    /// The uid is no person's; whoever asked was to be refused before.
    #[error("uid {uid} is granted nothing")]
    System {
        /// The uid.
        uid: u32,
    },
    /// The store names no key that is known here.
    #[error("no grant key is known that signs")]
    NoKey,
    /// Permit and activation are not of each other.
    #[error("the permit is not for this activation")]
    Elsewhere,
}

/// Uids below are the system's (login.defs(5) UID_MIN).
const UID_MIN: u32 = 1000;
/// `nobody`, and -1 in 16 and in 32 bits, which chown(2) and sudo take for something else (threat A06).
const UID_NEVER: [u32; 3] = [65_534, 65_535, u32::MAX];

/// Whether a uid can be a person's. Nobody else is ever granted anything.
#[must_use]
pub(crate) fn is_personal(uid: u32) -> bool {
    uid >= UID_MIN && !UID_NEVER.contains(&uid)
}

/// Signs for one cluster.
pub(crate) struct Issuer {
    /// Keys by their public half. Which of them signs is asked of the store, in the transaction of the document: a change of
    /// the key is seen by the changes after it that share its commit, and has their fate.
    known: RwLock<HashMap<String, Signer>>,
    cluster: ClusterId,
    /// Whether the key that signs did not when it was asked last.
    away: AtomicBool,
    /// Rung when something may be signed that waited.
    pub(crate) bell: Arc<Notify>,
}

impl Issuer {
    /// With these keys, for this cluster.
    #[must_use]
    pub(crate) fn new(signers: Vec<Signer>, cluster: ClusterId) -> Self {
        let away = AtomicBool::new(false);
        let issuer = Self { known: RwLock::default(), cluster, away, bell: Arc::default() };
        signers.into_iter().for_each(|signer| issuer.learn(signer));
        issuer
    }

    /// Tells hosts which keys sign from the next document on, in a document by `signer`.
    ///
    /// # Errors
    /// An [`IssueError`].
    pub(crate) async fn keys(
        &self,
        tx: &mut Tx,
        signer: &(u64, Signer),
        hosts: &[HostId],
        keys: &Keys,
    ) -> Result<(), IssueError> {
        let places = tx.next_places(hosts).await?;
        for (host, place) in hosts.iter().zip(places) {
            self.write(tx, Some(signer), (*host, None), (place, Act::Keys(keys.clone()))).await?;
        }
        Ok(())
    }

    /// Issues the grant of a permitted activation to each of its hosts and makes the activation active.
    ///
    /// # Errors
    /// An [`IssueError`].
    pub(crate) async fn grant(
        &self,
        tx: &mut Tx,
        voice: &Voice,
        permit: &Permit,
        activation: &mut Activation,
    ) -> Result<(), IssueError> {
        let permitted: Vec<HostId> = match permit.reach() {
            PermitReach::Hosts { hosts, .. } => hosts.iter().map(|host| host.id).collect(),
            PermitReach::Daemon { .. } => Vec::new(),
        };
        let covers = activation.hosts.iter().all(|host| permitted.contains(&host.id));
        if permit.activation() != activation.id || permitted.len() != activation.hosts.len() || !covers {
            return Err(IssueError::Elsewhere);
        }
        if let Some(host) = activation.hosts.iter().find(|host| !is_personal(host.uid)) {
            return Err(IssueError::System { uid: host.uid });
        }
        activation.revision = 1;
        activation.state = State::Active;
        activation.duration = permit.duration();
        activation.starts_at = Some(permit.starts_at());
        activation.ends_at = Some(permit.not_after());
        activation.ends_at_most = Some(permit.not_after_most());
        activation.lease = permit.lease();
        activation.granted_digest = Some(permit.role_digest());
        activation.ssh = permit.ssh().cloned();
        activation.factor_at_use = permit.factor() == Factor::EveryUse;
        let approvers = || permit.approvals().iter().map(|approval| approval.person.clone()).collect();
        if let PermitReach::Daemon { admin } = permit.reach() {
            let kind = Kind::AdminGranted {
                parts: admin.iter().map(|part| UntrustedText::lossy(part.word())).collect(),
                not_after: permit.not_after(),
                approvers: approvers(),
            };
            tx.record(voice.did(about(activation), kind)).await?;
        }
        for (host, next) in places(tx, activation).await? {
            let act = Act::Grant(Box::new(grant_of(permit, activation, host)));
            let (place, document) = self.append(tx, activation.id, (host, next), act).await?;
            let kind = Kind::GrantIssued {
                place,
                uid: host.uid,
                not_before: permit.starts_at().before(BACKDATE),
                not_after: permit.not_after(),
                document,
                approvers: approvers(),
            };
            tx.record(voice.did(on_host(activation, host), kind)).await?;
        }
        tx.update_activation(activation).await?;
        Ok(())
    }

    /// Issues an extension to each host of an active grant.
    ///
    /// # Errors
    /// An [`IssueError`].
    pub(crate) async fn extend(
        &self,
        tx: &mut Tx,
        voice: &Voice,
        (extension, reason): (&Extension, Option<&UntrustedText>),
        activation: &mut Activation,
    ) -> Result<(), IssueError> {
        if extension.activation() != activation.id || !activation.is_active() {
            return Err(IssueError::Elsewhere);
        }
        activation.revision = activation.revision.saturating_add(1);
        activation.extensions = activation.extensions.saturating_add(1);
        activation.ends_at = Some(extension.not_after());
        activation.ends_at_most = Some(extension.not_after_most());
        if activation.hosts.is_empty() {
            let kind = Kind::AdminExtended { not_after: extension.not_after() };
            tx.record(voice.did(about(activation), kind)).await?;
        }
        for (host, next) in places(tx, activation).await? {
            let not_after = extension.not_after();
            let act = Act::Extend(Extend { id: activation.id, revision: activation.revision, not_after });
            let (place, document) = self.append(tx, activation.id, (host, next), act).await?;
            let kind = Kind::GrantExtended { place, not_after, document, reason: reason.cloned() };
            tx.record(voice.did(on_host(activation, host), kind)).await?;
        }
        tx.update_activation(activation).await?;
        Ok(())
    }

    /// Ends an active grant before its time, on each host.
    ///
    /// # Errors
    /// An [`IssueError`].
    pub(crate) async fn end(
        &self,
        tx: &mut Tx,
        voice: &Voice,
        (cause, reason): (EndCause, Option<&UntrustedText>),
        activation: &mut Activation,
    ) -> Result<(), IssueError> {
        if !activation.is_active() {
            return Err(IssueError::Elsewhere);
        }
        activation.revision = activation.revision.saturating_add(1);
        for place in places(tx, activation).await? {
            let act = Act::End(End { id: activation.id, revision: activation.revision, cause });
            self.append(tx, activation.id, place, act).await?;
        }
        close(tx, voice, (cause, reason), activation).await?;
        Ok(())
    }

    async fn append(
        &self,
        tx: &mut Tx,
        activation: ActivationId,
        (host, place): (&HostPart, NextPlace),
        act: Act,
    ) -> Result<(u64, Digest), IssueError> {
        self.write(tx, None, (host.id, Some(activation)), (place, act)).await
    }

    async fn write(
        &self,
        tx: &mut Tx,
        signer: Option<&(u64, Signer)>,
        (host, activation): (HostId, Option<ActivationId>),
        (place, act): (NextPlace, Act),
    ) -> Result<(u64, Digest), IssueError> {
        let NextPlace { epoch, seq, before, key: (number, public) } = place;
        let (number, signer) = match signer {
            Some(other) => other.clone(),
            None => (number, self.by(&public)?),
        };
        let document = Document { format: FORMAT, cluster: self.cluster, host, epoch, seq, act };
        let line = document.to_line()?;
        if line.len() > DOCUMENT_MAX {
            return Err(IssueError::TooLong { found: line.len() });
        }
        let digest = Digest::of(line.as_bytes());
        let head = Some(document::head(before, &line));
        let signature = signer.at_once(&line, GRANT_NAMESPACE)?;
        let stored = StoredDocument {
            host,
            epoch,
            seq,
            activation,
            signer: number,
            body: line,
            signature,
            head,
            acked_at: None,
            refused: None,
        };
        tx.insert_document(&stored).await?;
        Ok((seq, digest))
    }
}

/// The next place in the log of each of its hosts.
async fn places<'a>(
    tx: &mut Tx,
    activation: &'a Activation,
) -> Result<impl Iterator<Item = (&'a HostPart, NextPlace)> + use<'a>, StoreError> {
    let ids: Vec<HostId> = activation.hosts.iter().map(|host| host.id).collect();
    Ok(activation.hosts.iter().zip(tx.next_places(&ids).await?))
}

/// Marks an activation as ended and records it; documents are the caller's matter.
///
/// # Errors
/// A [`StoreError`].
pub(crate) async fn close(
    tx: &mut Tx,
    voice: &Voice,
    (cause, reason): (EndCause, Option<&UntrustedText>),
    activation: &mut Activation,
) -> Result<(), StoreError> {
    let at = match (cause, activation.ends_at) {
        (EndCause::Expired, Some(at)) => at,
        (_, _) => tx.now(),
    };
    activation.state = State::Ended { cause, at };
    tx.update_activation(activation).await?;
    let within = if cause == EndCause::Expired { EXPIRY_TOLD_WITHIN } else { END_TOLD_WITHIN };
    tx.await_end(activation.id, within).await?;
    let hosts = activation.hosts.iter().map(|host| host.name.clone()).collect();
    tx.record(voice.did(about(activation), Kind::GrantEnded { cause, hosts, reason: reason.cloned() })).await
}

/// The subject of an event about an activation.
#[must_use]
pub(crate) fn about(activation: &Activation) -> Subject {
    let one = match activation.hosts.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    Subject {
        person: Some(activation.person.clone()),
        host: one.map(|host| host.name.clone()),
        host_id: one.map(|host| host.id),
        role: Some(activation.role.clone()),
        activation: Some(activation.id),
    }
}

/// What an event on one of its hosts is about.
#[must_use]
pub(crate) fn on_host(activation: &Activation, host: &HostPart) -> Subject {
    Subject { host: Some(host.name.clone()), host_id: Some(host.id), ..about(activation) }
}

fn grant_of(permit: &Permit, activation: &Activation, host: &HostPart) -> Grant {
    let (sudo, ssh) = (permit.sudo().cloned(), permit.ssh().cloned());
    let at_use = match permit.factor() {
        Factor::EveryUse => Some(FACTOR_AT_USE_MAX),
        Factor::Activation | Factor::None => None,
    };
    let lease = permit.lease().map(|_| LEASE);
    let parts = sudo.as_ref().map(|_| "sudo").into_iter().chain(ssh.as_ref().map(|_| SSH));
    let more = lease.into_iter().chain(at_use.map(|_| FACTOR_AT_USE));
    let critical = parts.chain(more).map(ToOwned::to_owned).collect();
    Grant {
        id: permit.activation(),
        revision: activation.revision,
        person: permit.person().clone(),
        login: permit.login().clone(),
        uid: host.uid,
        request_digest: permit.request_digest(),
        role: permit.role().clone(),
        role_digest: permit.role_digest().digest(),
        not_before: permit.starts_at().before(BACKDATE),
        not_after: permit.not_after(),
        duration: permit.duration(),
        warn: permit.warn().to_vec(),
        sudo,
        ssh,
        factor_at_use: at_use,
        approvals: permit.approvals().to_vec(),
        lease: permit.lease(),
        critical,
    }
}
