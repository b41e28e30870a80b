//! Certificates of hosts: the keys that get one, the names that stand in it, and what one proves.
//!
//! In: text of an administrator, of a host, of a certificate. Out: values that sshd and ssh read in one way only. Spec: docs/ssh.md "The
//! host's own certificate", PROTOCOL.certkeys. Threats E02, E17, E19, E20.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ssh_key::certificate::{CertType, Certificate};
use ssh_key::public::KeyData;
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::document::BACKDATE;
use crate::id::HostId;
use crate::name::Name;
use crate::person_key::{self, PersonKeyError};
use crate::time::{Span, Timestamp};

/// Most names of one host, with its own.
pub const HOST_NAMES_MAX: usize = 16;
/// Most keys of one host that get a certificate.
pub const HOST_KEYS_MAX: usize = 8;
/// The longest that a certificate of a host is valid: a host that is away for two weeks has one still.
pub const HOST_LIFE: Span = Span(21 * 24 * 3600);
/// When a host asks for another one, after this was signed.
pub const HOST_RENEWAL: Span = Span(7 * 24 * 3600);
/// Longest name, as in DNS.
const NAME_MAX: usize = 253;
/// Longest part of a name between two dots.
const LABEL_MAX: usize = 63;

/// Why something is not for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostSshError {
    /// Not a name.
    #[error(
        "{text:?} is no name of a host: small letters, digits, - and _ between dots, or an address; no port and no pattern"
    )]
    Name {
        /// The text.
        text: String,
    },
    /// Too many names, or one twice.
    #[error("a host has at most {HOST_NAMES_MAX} different names, with its own")]
    Names,
    /// Not a key that hosts have.
    #[error(transparent)]
    Key(#[from] PersonKeyError),
    /// A key of a token, or with a comment.
    #[error("a host key is Ed25519, ECDSA or RSA, in OpenSSH's form without a comment")]
    Kind,
    /// Too many keys, or one twice.
    #[error("a host has at most {HOST_KEYS_MAX} different keys")]
    Keys,
}

/// A name that people reach a host by: of DNS, in small letters as ssh(1) looks for it, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostSshError;
    fn from_str(text: &str) -> Result<Self, HostSshError> {
        let wrong = || HostSshError::Name { text: text.chars().take(64).collect() };
        if let Ok(address) = text.parse::<IpAddr>() {
            // As ssh(1) writes it.
            return if address.to_string() == text { Ok(Self(text.to_owned())) } else { Err(wrong()) };
        }
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(letter)
        };
        let numbers = text.split('.').all(|label| label.chars().all(|c| c.is_ascii_digit()));
        if text.len() > NAME_MAX || numbers || !text.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = HostSshError;
    fn try_from(text: String) -> Result<Self, HostSshError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

/// The names that stand in a host's certificates: its own first, then those that an administrator gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<HostName>", into = "Vec<HostName>")]
pub struct HostNames(Vec<HostName>);

impl HostNames {
    /// A host's own name and the others.
    ///
    /// # Errors
    /// [`HostSshError::Names`]; [`HostSshError::Name`] for a name of ours that ssh(1) would not look for.
    pub fn of(own: &Name, others: &[HostName]) -> Result<Self, HostSshError> {
        let own = own.as_str().parse()?;
        let others = others.iter().filter(|one| **one != own).cloned();
        Self::try_from(std::iter::once(own.clone()).chain(others).collect::<Vec<_>>())
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[HostName] {
        &self.0
    }
}

impl TryFrom<Vec<HostName>> for HostNames {
    type Error = HostSshError;
    fn try_from(names: Vec<HostName>) -> Result<Self, HostSshError> {
        let alike = |(nth, name)| names.iter().skip(nth).skip(1).any(|other| other == name);
        if !(1..=HOST_NAMES_MAX).contains(&names.len()) || names.iter().enumerate().any(alike) {
            return Err(HostSshError::Names);
        }
        Ok(Self(names))
    }
}

impl From<HostNames> for Vec<HostName> {
    fn from(names: HostNames) -> Self {
        names.0
    }
}

/// A public key that sshd shows, as one line of OpenSSH's form without a comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey(PublicKey);

impl HostKey {
    /// Reads the line of a `.pub` file; its comment is left out.
    ///
    /// # Errors
    /// [`HostSshError::Key`], [`HostSshError::Kind`].
    pub fn of_file(line: &str) -> Result<Self, HostSshError> {
        let key = PublicKey::new(person_key::parse(line)?.key_data().clone(), "");
        check(key.key_data())?;
        Ok(Self(key))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.0
    }

    /// SHA-256, as ssh-keygen(1) shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Looks whether a key is one of a host and good enough.
///
/// # Errors
/// [`HostSshError::Key`], [`HostSshError::Kind`].
pub fn check(key: &KeyData) -> Result<(), HostSshError> {
    person_key::check(key)?;
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::Rsa(_) => Ok(()),
        // KeyData is not ours and grows: what is not known above is refused.
        KeyData::Dsa(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::SkEd25519(_)
        | KeyData::Certificate(_)
        | KeyData::Other(_)
        | _ => Err(HostSshError::Kind),
    }
}

impl TryFrom<String> for HostKey {
    type Error = HostSshError;
    fn try_from(text: String) -> Result<Self, HostSshError> {
        let key = Self::of_file(&text)?;
        if String::from(key.clone()) == text { Ok(key) } else { Err(HostSshError::Kind) }
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        // None of the kinds that were read fails to be written.
        key.0.to_openssh().unwrap_or_default()
    }
}

/// The keys of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<HostKey>", into = "Vec<HostKey>")]
pub struct HostKeys(Vec<HostKey>);

impl HostKeys {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[HostKey] {
        &self.0
    }
}

impl TryFrom<Vec<HostKey>> for HostKeys {
    type Error = HostSshError;
    fn try_from(keys: Vec<HostKey>) -> Result<Self, HostSshError> {
        let alike = |(nth, key)| keys.iter().skip(nth).skip(1).any(|other| other == key);
        if keys.len() > HOST_KEYS_MAX || keys.iter().enumerate().any(alike) {
            return Err(HostSshError::Keys);
        }
        Ok(Self(keys))
    }
}

impl From<HostKeys> for Vec<HostKey> {
    fn from(keys: HostKeys) -> Self {
        keys.0
    }
}

/// What a certificate of a host proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProof {
    /// The host that it was signed for.
    pub host: HostId,
    /// Its serial.
    pub serial: u64,
    /// The names that it is good for.
    pub names: HostNames,
    /// First second.
    pub valid_after: Timestamp,
    /// First second that is too late.
    pub valid_before: Timestamp,
    /// SHA-256 of the key that signed it.
    pub by: Fingerprint,
}

/// Why a certificate proves nothing of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostProofError {
    /// Not one.
    #[error("it cannot be read")]
    Form,
    /// For people.
    #[error("it is none for hosts")]
    Kind,
    /// Of another key.
    #[error("it is of another key")]
    Key,
    /// Another CA, not by the CA that it names, or not valid now.
    #[error("none of the keys that sign certificates of hosts here has signed it for this moment")]
    Signature,
    /// A key id that is no host's, names that no host of ours has, or too long a time.
    #[error("its key id, its names, its options or its time are not those of a host here")]
    Content,
}

/// What a certificate proves of a key at `now`, when one of `cas` has signed it.
///
/// # Errors
/// [`HostProofError`].
pub fn prove_host(
    line: &str,
    key: &HostKey,
    (cas, now): (&[PublicKey], Timestamp),
) -> Result<HostProof, HostProofError> {
    let certificate = Certificate::from_openssh(line).map_err(|_| HostProofError::Form)?;
    if certificate.cert_type() != CertType::Host {
        return Err(HostProofError::Kind);
    }
    if certificate.public_key() != key.key().key_data() {
        return Err(HostProofError::Key);
    }
    let cas: Vec<Fingerprint> = cas.iter().map(|ca| ca.fingerprint(HashAlg::Sha256)).collect();
    let second = u64::try_from(now.0).map_err(|_| HostProofError::Signature)?;
    certificate.validate_at(second, &cas).map_err(|_| HostProofError::Signature)?;
    let names: Result<Vec<HostName>, _> =
        certificate.valid_principals().iter().map(|name| name.parse()).collect();
    let names = names.and_then(HostNames::try_from).map_err(|_| HostProofError::Content)?;
    let at = |second: u64| i64::try_from(second).map(Timestamp).map_err(|_| HostProofError::Content);
    let (valid_after, valid_before) = (at(certificate.valid_after())?, at(certificate.valid_before())?);
    // What ssh(1) does not know of a host it refuses: a critical option would take the certificate away from people.
    let plain = certificate.critical_options().is_empty() && certificate.extensions().is_empty();
    // Its length, not its end by our clock: that may be behind the daemon's.
    if !plain || valid_before > valid_after.after(BACKDATE).after(HOST_LIFE) {
        return Err(HostProofError::Content);
    }
    let host = certificate.key_id().parse().map_err(|_| HostProofError::Content)?;
    let by = certificate.signature_key().fingerprint(HashAlg::Sha256);
    Ok(HostProof { host, serial: certificate.serial(), names, valid_after, valid_before, by })
}

#[cfg(test)]
#[path = "host_ssh_tests.rs"]
mod tests;
