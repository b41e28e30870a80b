//! What a certificate is to say, looked at before the key sees it, whoever wrote it down.
//!
//! In: a grant that lives, a key, a serial, the time. Out: the certificate, signed, or which of the rules it breaks.
//! Spec: docs/ssh.md, PROTOCOL.certkeys. Threats E01–E03, E16, E17, X-n.

use elevate_protocol::document::BACKDATE;
use elevate_protocol::id::ActivationId;
use elevate_protocol::name::Name;
use elevate_protocol::person_key;
use elevate_protocol::ssh::{SshPart, principal};
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::PublicKey;
use ssh_key::certificate::{Builder, CertType, Certificate};
use ssh_key::public::KeyData;

use super::{CertificateError, Live, Opens};
use crate::issue::ca::{self, NONCE};
use crate::signer::Signer;

/// The longest that a certificate is valid from now on.
pub(crate) const LIFE: Span = Span(15 * 60);
/// What a certificate may be bound to.
const CRITICAL: [&str; 2] = ["force-command", "source-address"];
/// What a certificate may allow.
const EXTENSIONS: [&str; 4] =
    ["permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty"];

/// Everything that is to be signed.
pub(super) struct Order {
    pub(super) grant: ActivationId,
    pub(super) ends_at: Timestamp,
    pub(super) key: PublicKey,
    kind: CertType,
    pub(super) serial: u64,
    key_id: String,
    pub(super) principals: Vec<String>,
    /// What may stand there instead of the grant's own principal: accounts, where the role has certificates for machines without agent.
    accounts: Vec<Name>,
    pub(super) valid_after: Timestamp,
    pub(super) valid_before: Timestamp,
    critical: Vec<(String, String)>,
    extensions: Vec<(String, String)>,
}

impl Order {
    /// Exactly what the grant gives.
    pub(super) fn under(live: &Live, opens: &Opens, (key, serial): (PublicKey, u64), now: Timestamp) -> Self {
        let mut order = Self::of((live.activation.id, live.ends_at), &live.ssh, (key, serial), now);
        if let Opens::Accounts(accounts) = opens {
            order.principals = accounts.iter().map(ToString::to_string).collect();
        }
        order
    }

    fn of(
        (grant, ends_at): (ActivationId, Timestamp),
        ssh: &SshPart,
        (key, serial): (PublicKey, u64),
        now: Timestamp,
    ) -> Self {
        let critical = ssh.options().critical_options().into_iter();
        let extensions = ssh.options().extensions().into_iter();
        let accounts = if ssh.options().agentless { ssh.logins().to_vec() } else { Vec::new() };
        Self {
            grant,
            accounts,
            ends_at,
            key,
            kind: CertType::User,
            serial,
            key_id: grant.to_string(),
            principals: vec![principal(grant)],
            valid_after: now.before(BACKDATE),
            valid_before: ends_at.min(now.after(LIFE)),
            critical: critical.map(|(name, value)| (name.to_owned(), value)).collect(),
            extensions: extensions.map(|name| (name.to_owned(), String::new())).collect(),
        }
    }

    /// Looks at all of it, as if a stranger had made it.
    fn check(&self, ca: &KeyData, now: Timestamp) -> Result<(), CertificateError> {
        if self.kind != CertType::User {
            return Err(CertificateError::Kind);
        }
        if self.serial == 0 {
            return Err(CertificateError::Serial);
        }
        person_key::check(self.key.key_data())?;
        // A certificate by this key for itself would make a CA of a certificate.
        if self.key.key_data() == ca {
            return Err(CertificateError::Own);
        }
        if self.key_id != self.grant.to_string() {
            return Err(CertificateError::KeyId);
        }
        if self.principals != [principal(self.grant)] && !self.names_accounts() {
            return Err(CertificateError::Principals { found: self.principals.clone() });
        }
        let most = self.ends_at.min(now.after(LIFE));
        let begins = self.valid_after == now.before(BACKDATE);
        if !begins || self.valid_before > most || self.valid_before <= now || self.valid_after.0 < 0 {
            return Err(CertificateError::Validity);
        }
        let critical = self.critical.iter().find(|(name, value)| {
            !CRITICAL.contains(&name.as_str()) || value.is_empty() || value.chars().any(char::is_control)
        });
        let extension = self
            .extensions
            .iter()
            .find(|(name, value)| !EXTENSIONS.contains(&name.as_str()) || !value.is_empty());
        match critical.or(extension) {
            Some((name, _)) => Err(CertificateError::Option { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Whether it names accounts of the role and nothing else, and the role has certificates that do.
    fn names_accounts(&self) -> bool {
        let is_own = |one: &String| self.accounts.iter().any(|account| account.as_str() == one);
        let is_first =
            |(index, one): (usize, &String)| !self.principals.iter().take(index).any(|other| other == one);
        !self.principals.is_empty()
            && self.principals.iter().all(is_own)
            && self.principals.iter().enumerate().all(is_first)
    }

    fn builder(&self, nonce: [u8; NONCE]) -> Result<Builder, CertificateError> {
        let seconds = |at: Timestamp| u64::try_from(at.0).map_err(|_| CertificateError::Validity);
        let (after, before) = (seconds(self.valid_after)?, seconds(self.valid_before)?);
        let mut builder = Builder::new(nonce, self.key.key_data().clone(), after, before)?;
        builder.serial(self.serial)?.cert_type(self.kind)?.key_id(self.key_id.clone())?;
        for principal in &self.principals {
            builder.valid_principal(principal.clone())?;
        }
        for (name, value) in &self.critical {
            builder.critical_option(name.clone(), value.clone())?;
        }
        for (name, value) in &self.extensions {
            builder.extension(name.clone(), value.clone())?;
        }
        Ok(builder)
    }
}

/// Has the key sign it, if it says nothing else than it may.
///
/// # Errors
/// A [`CertificateError`]; the key has not seen what it was to sign, but for a key that does not sign.
pub(super) async fn sign(
    signer: &Signer,
    order: &Order,
    (nonce, now): ([u8; NONCE], Timestamp),
) -> Result<Certificate, CertificateError> {
    order.check(signer.public_key().key_data(), now)?;
    ca::seal(signer, || order.builder(nonce)).await
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
