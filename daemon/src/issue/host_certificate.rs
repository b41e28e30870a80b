//! Signs OpenSSH host certificates: for the keys that a host says it has, and the names that an administrator gave it.
//!
//! In: a host as the store has it, its names, a key. Out: [`HostUnrecorded`], which becomes a certificate only in the transaction that
//! records it. What is signed is looked at once more before the key sees it, whoever made it (threats E01, E02, E17, E19).
//! Runs as: `elevated`. Spec: docs/ssh.md "The host's own certificate", PROTOCOL.certkeys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use elevate_audit::{Kind, Subject};
use elevate_protocol::document::BACKDATE;
use elevate_protocol::host_ssh::{self, HOST_LIFE, HostKey, HostName, HostNames, HostSshError};
use elevate_protocol::id::HostId;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::certificate::{Builder, CertType, Certificate};
use ssh_key::public::KeyData;

use super::ca::{self, Ca, NONCE, Which};
use crate::signer::{SignError, Signer};
use crate::store::{HostCertificateRow, HostRow, StoreError, Tx, Voice};

/// From a rotation on: how long the key before goes on to sign. Longer than anybody logs in by what they heard before it.
pub(crate) const LEAD: Span = Span(20 * 60);
/// Certificates of one host in an hour.
const EACH_HOUR: u32 = 64;

/// Why there is no certificate for a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostCertificateError {
    /// The key to be certified is none for a host.
    #[error("no certificate for this key: {0}")]
    Key(#[from] HostSshError),
    /// A key that signs certificates is to be certified itself.
    #[error("the key that signs certificates gets none")]
    Own,
    /// Not exactly names of the host.
    #[error("a certificate names its host, not {found:?}")]
    Principals {
        /// What was to be signed.
        found: Vec<String>,
    },
    /// The key id is not the host's id.
    #[error("the key id of a host's certificate is the host's id")]
    KeyId,
    /// A certificate of another type.
    #[error("only certificates for hosts are signed with this key")]
    Kind,
    /// Not from a minute ago to at most the end of its life.
    #[error("a host's certificate is valid from {BACKDATE} ago for at most {HOST_LIFE}")]
    Validity,
    /// Serial 0, which says nothing.
    #[error("a certificate has a serial")]
    Serial,
    /// Too many.
    #[error("more than {EACH_HOUR} certificates for one host in an hour")]
    Often,
    /// The host is not enrolled any more, or is called otherwise by now.
    #[error("the host is another one by now")]
    Changed,
    /// There is no key.
    #[error("there is no key for certificates of hosts")]
    NoKey,
    /// The key did not sign.
    #[error("the key for certificates of hosts did not sign")]
    Sign(#[from] SignError),
    /// The certificate cannot be written.
    #[error("the certificate cannot be written")]
    Form(#[from] ssh_key::Error),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The store.
    #[error("the store did not do it")]
    Store(#[from] StoreError),
}

/// Everything that is to be signed.
struct HostOrder {
    host: HostId,
    names: HostNames,
    key: HostKey,
    kind: CertType,
    serial: u64,
    key_id: String,
    principals: Vec<String>,
    valid_after: Timestamp,
    valid_before: Timestamp,
}

impl HostOrder {
    fn of(host: HostId, names: HostNames, (key, serial): (HostKey, u64), now: Timestamp) -> Self {
        Self {
            host,
            key,
            kind: CertType::Host,
            serial,
            key_id: host.to_string(),
            principals: names.all().iter().map(ToString::to_string).collect(),
            names,
            valid_after: now.before(BACKDATE),
            valid_before: now.after(HOST_LIFE),
        }
    }

    /// Looks at all of it, as if a stranger had made it.
    fn check(&self, ca: &KeyData, now: Timestamp) -> Result<(), HostCertificateError> {
        if self.kind != CertType::Host {
            return Err(HostCertificateError::Kind);
        }
        if self.serial == 0 {
            return Err(HostCertificateError::Serial);
        }
        let key = self.key.key().key_data();
        host_ssh::check(key)?;
        // A certificate by this key for itself would make a CA of a certificate.
        if key == ca {
            return Err(HostCertificateError::Own);
        }
        if self.key_id != self.host.to_string() {
            return Err(HostCertificateError::KeyId);
        }
        let names: Result<Vec<HostName>, _> = self.principals.iter().map(|name| name.parse()).collect();
        // No name at all would be every name.
        if names.as_ref().is_ok_and(Vec::is_empty) || names.as_deref() != Ok(self.names.all()) {
            return Err(HostCertificateError::Principals { found: self.principals.clone() });
        }
        let begins = self.valid_after == now.before(BACKDATE);
        let ends = now < self.valid_before && self.valid_before <= now.after(HOST_LIFE);
        if begins && ends && self.valid_after.0 >= 0 { Ok(()) } else { Err(HostCertificateError::Validity) }
    }

    fn builder(&self, nonce: [u8; NONCE]) -> Result<Builder, HostCertificateError> {
        let seconds = |at: Timestamp| u64::try_from(at.0).map_err(|_| HostCertificateError::Validity);
        let (after, before) = (seconds(self.valid_after)?, seconds(self.valid_before)?);
        let mut builder = Builder::new(nonce, self.key.key().key_data().clone(), after, before)?;
        builder.serial(self.serial)?.cert_type(self.kind)?.key_id(self.key_id.clone())?;
        for principal in &self.principals {
            builder.valid_principal(principal.clone())?;
        }
        Ok(builder)
    }
}

/// Has the key sign it, if it says nothing else than it may.
///
/// # Errors
/// A [`HostCertificateError`]; the key has not seen what it was to sign, but for a key that does not sign.
async fn sign(
    signer: &Signer,
    order: &HostOrder,
    (nonce, now): ([u8; NONCE], Timestamp),
) -> Result<Certificate, HostCertificateError> {
    order.check(signer.public_key().key_data(), now)?;
    ca::seal(signer, || order.builder(nonce)).await
}

/// How many of each host's in the hour that goes on.
#[derive(Default)]
struct Rate(Mutex<(Option<Timestamp>, HashMap<HostId, u32>)>);

impl Rate {
    fn take(&self, host: HostId, now: Timestamp) -> Result<(), HostCertificateError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, counts) = &mut *held;
        // A clock that was set back begins anew as well.
        if since.is_none_or(|since| now < since || now >= since.after(Span::HOUR)) {
            *since = Some(now);
            counts.clear();
        }
        let count = counts.entry(host).or_default();
        *count = count.saturating_add(1);
        if *count > EACH_HOUR { Err(HostCertificateError::Often) } else { Ok(()) }
    }
}

/// The keys that sign certificates for hosts.
pub(crate) struct HostCa {
    pub(crate) ca: Ca,
    rate: Rate,
}

impl HostCa {
    #[must_use]
    pub(crate) fn new(ca: Ca) -> Self {
        Self { ca, rate: Rate::default() }
    }

    /// Signs a certificate for a host's key. In nobody's transaction: an agent may take its time.
    ///
    /// # Errors
    /// A [`HostCertificateError`].
    pub(crate) async fn certify(
        &self,
        (host, names): (HostId, &HostNames),
        key: HostKey,
        (which, now): (Which, Timestamp),
    ) -> Result<HostUnrecorded, HostCertificateError> {
        let (number, signer) = self.ca.key(which).ok_or(HostCertificateError::NoKey)?;
        self.rate.take(host, now)?;
        let order = HostOrder::of(host, names.clone(), (key, self.ca.serial()), now);
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let certificate = sign(&signer, &order, (nonce, now)).await?;
        Ok(HostUnrecorded { certificate, order, ca: number })
    }
}

/// A certificate that no host gets to see before it was recorded.
pub(crate) struct HostUnrecorded {
    certificate: Certificate,
    order: HostOrder,
    ca: u64,
}

impl HostUnrecorded {
    /// Records it, in the caller's transaction, in which the host has `names` and is `host`. The certificate in OpenSSH's form.
    ///
    /// # Errors
    /// A [`HostCertificateError`]; nothing is to be committed then, and the certificate is gone.
    pub(crate) async fn record(
        self,
        tx: &mut Tx,
        voice: &Voice,
        (host, names): (&HostRow, &HostNames),
    ) -> Result<String, HostCertificateError> {
        let Self { certificate, order, ca } = self;
        if host.id != order.host || *names != order.names {
            return Err(HostCertificateError::Changed);
        }
        let fingerprint = order.key.fingerprint();
        tx.insert_host_certificate(&HostCertificateRow {
            serial: order.serial,
            ca,
            host: order.host,
            fingerprint: fingerprint.clone(),
            valid_before: order.valid_before,
        })
        .await?;
        let kind = Kind::HostCertificate {
            serial: order.serial,
            fingerprint: UntrustedText::lossy(&fingerprint),
            names: order.names.into(),
            valid_after: order.valid_after,
            valid_before: order.valid_before,
        };
        let subject = Subject { host: Some(host.name.clone()), host_id: Some(host.id), ..Subject::default() };
        tx.record(voice.did(subject, kind)).await?;
        Ok(certificate.to_openssh()?)
    }
}

#[cfg(test)]
#[path = "host_certificate_tests.rs"]
mod tests;
