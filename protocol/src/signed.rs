//! Signatures over exact bytes (OpenSSH SSHSIG), and the types that prove that one was checked.
//!
//! In: bytes and armoured signatures from anywhere. Out: [`VerifiedDocument`], [`VerifiedGrant`], [`LiveGrant`];
//! nothing else can make these. Verify first, then parse the same bytes (threat C15). Spec: docs/grant-format.md.

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig};

use crate::document::{Act, DOCUMENT_MAX, Document, EndCause, FORMAT, Grant, UNDERSTOOD};
use crate::id::HostId;
use crate::signers::TrustedKey;
pub use crate::signers::TrustedKeys;
use crate::time::Timestamp;

/// SSHSIG namespace of grant documents.
pub const GRANT_NAMESPACE: &str = "elevate-grant@v1";
/// SSHSIG namespace of what a host vouches for.
pub const VOUCH_NAMESPACE: &str = "elevate-vouch@v1";
/// The principal under which grant keys stand in a signers file.
pub const GRANT_PRINCIPAL: &str = "grants";
/// Longest armoured signature in bytes.
const SIGNATURE_MAX: usize = 4096;
/// Most documents in one grant file.
const CHAIN_MAX: usize = 256;
const ARMOUR_END: &str = "-----END SSH SIGNATURE-----\n";

/// Why something signed was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not an SSHSIG in its one canonical form, or too long.
    #[error("the signature is not an SSHSIG in canonical form")]
    Signature,
    /// None of the trusted keys made this signature over these bytes in this namespace.
    #[error("not signed by a trusted key")]
    NotTrusted,
    /// Longer than allowed, or not one line and its end.
    #[error("the signed bytes are not one line of at most {DOCUMENT_MAX} bytes")]
    Form,
    /// Not the JSON of the type.
    #[error("the signed bytes are no document: {reason}")]
    Parse {
        /// What serde says.
        reason: String,
    },
    /// Another format version.
    #[error("format {found} is not known here")]
    Format {
        /// The version found.
        found: u16,
    },
    /// A field that must be understood is not.
    #[error("the critical field {name:?} is not known here; this host needs a newer elevate-agent")]
    Critical {
        /// Its name.
        name: String,
    },
    /// Signed for another host.
    #[error("for host {named}, not for this one")]
    WrongHost {
        /// The host that it names.
        named: HostId,
    },
    /// A grant of nothing.
    #[error("the grant allows nothing")]
    Nothing,
    /// Documents that do not belong together.
    #[error("the documents of the grant do not follow each other")]
    Chain,
    /// A signers file that is not in the form we write.
    #[error("line {line} of the signers file is not `{GRANT_PRINCIPAL} namespaces=\"…\" KEY`")]
    Signers {
        /// Line number from 1.
        line: usize,
    },
    /// A key type that signs nothing here.
    #[error("keys are Ed25519 or ECDSA P-256")]
    KeyType,
    /// A key that was replaced signed a document after its last one.
    #[error("signed by a key that was replaced before document {seq}")]
    Replaced {
        /// The document's place.
        seq: u64,
    },
}

/// Exact bytes and a signature over them, as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBody {
    /// The signed text, byte for byte.
    pub body: String,
    /// An armoured SSHSIG.
    pub signature: String,
}

impl SignedBody {
    /// Signs `body` with a plain key.
    ///
    /// # Errors
    /// When the key cannot sign (an encrypted key, a public half).
    pub fn sign(body: String, key: &PrivateKey, namespace: &str) -> Result<Self, ssh_key::Error> {
        let signature = key.sign(namespace, HashAlg::Sha512, body.as_bytes())?.to_pem(LineEnding::LF)?;
        Ok(Self { body, signature })
    }

    /// The body, once one of `keys` is found to have signed it in `namespace`.
    ///
    /// # Errors
    /// [`VerifyError::Signature`] for anything but the one canonical form, [`VerifyError::NotTrusted`] otherwise.
    pub fn verify(&self, keys: &TrustedKeys, namespace: &str) -> Result<&str, VerifyError> {
        self.verified_by(keys, namespace).map(|(body, _)| body)
    }

    /// The same, and the key that signed it.
    pub(crate) fn verified_by<'k>(
        &self,
        keys: &'k TrustedKeys,
        namespace: &str,
    ) -> Result<(&str, &'k TrustedKey), VerifyError> {
        if self.signature.len() > SIGNATURE_MAX {
            return Err(VerifyError::Signature);
        }
        let signature = SshSig::from_pem(&self.signature).map_err(|_| VerifyError::Signature)?;
        // One signature has one form: no trailing data, no other line breaks, no second signature.
        let canonical = signature.to_pem(LineEnding::LF).map_err(|_| VerifyError::Signature)?;
        if canonical != self.signature {
            return Err(VerifyError::Signature);
        }
        let signed =
            |one: &&TrustedKey| one.key().verify(namespace, self.body.as_bytes(), &signature).is_ok();
        keys.keys().iter().find(signed).map(|key| (self.body.as_str(), key)).ok_or(VerifyError::NotTrusted)
    }
}

/// A document whose signature and host were checked. Only [`verify_document`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDocument(Document);

impl VerifiedDocument {
    /// What was verified.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.0
    }
}

/// Checks signature, then form, then host; the first failure wins.
///
/// # Errors
/// A [`VerifyError`] that says which.
pub fn verify_document(
    signed: &SignedBody,
    keys: &TrustedKeys,
    host: &HostId,
) -> Result<VerifiedDocument, VerifyError> {
    let (body, key) = signed.verified_by(keys, GRANT_NAMESPACE)?;
    let line = body.strip_suffix('\n').ok_or(VerifyError::Form)?;
    if body.len() > DOCUMENT_MAX || line.contains('\n') {
        return Err(VerifyError::Form);
    }
    let document: Document =
        serde_json::from_str(line).map_err(|error| VerifyError::Parse { reason: error.to_string() })?;
    if document.format != FORMAT {
        return Err(VerifyError::Format { found: document.format });
    }
    if document.host != *host {
        return Err(VerifyError::WrongHost { named: document.host });
    }
    if !key.covers((document.epoch, document.seq)) {
        return Err(VerifyError::Replaced { seq: document.seq });
    }
    if let Act::Grant(grant) = &document.act
        && let Some(name) = grant.critical.iter().find(|name| !UNDERSTOOD.contains(&name.as_str()))
    {
        return Err(VerifyError::Critical { name: name.clone() });
    }
    Ok(VerifiedDocument(document))
}

/// A grant and what was signed about it later, oldest first: the content of a `.grant` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedGrant(Vec<SignedBody>);

impl SignedGrant {
    /// A grant as it is issued.
    #[must_use]
    pub fn new(grant: SignedBody) -> Self {
        Self(vec![grant])
    }

    /// The same grant with one more document at its end.
    #[must_use]
    pub fn with(mut self, later: SignedBody) -> Self {
        self.0.push(later);
        self
    }

    /// The file: each document's line followed by its armoured signature.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.iter().flat_map(|part| [part.body.as_str(), part.signature.as_str()]).collect()
    }

    /// Reads a file of that form.
    ///
    /// # Errors
    /// [`VerifyError::Form`] for anything else, a truncated file too.
    pub fn from_text(text: &str) -> Result<Self, VerifyError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let line = rest.find('\n').ok_or(VerifyError::Form)?.saturating_add(1);
            let (body, after) = rest.split_at(line);
            let end = after.find(ARMOUR_END).ok_or(VerifyError::Form)?.saturating_add(ARMOUR_END.len());
            let (signature, remaining) = after.split_at(end);
            parts.push(SignedBody { body: body.to_owned(), signature: signature.to_owned() });
            rest = remaining;
        }
        if parts.is_empty() || parts.len() > CHAIN_MAX {
            return Err(VerifyError::Form);
        }
        Ok(Self(parts))
    }

    /// Checks every document, and that they follow each other: one grant first, revisions without gaps, an end
    /// only last, no extension that shortens.
    ///
    /// # Errors
    /// The first [`VerifyError`] met.
    pub fn verify(&self, keys: &TrustedKeys, host: &HostId) -> Result<VerifiedGrant, VerifyError> {
        let mut verified: Option<VerifiedGrant> = None;
        for signed in &self.0 {
            let document = verify_document(signed, keys, host)?.0;
            verified = Some(match (verified, document.act) {
                (None, Act::Grant(grant)) => VerifiedGrant::begin(*grant, document.epoch)?,
                (Some(so_far), act) => so_far.follow(act)?,
                (None, Act::Extend(_) | Act::End(_) | Act::Keys(_)) => return Err(VerifyError::Chain),
            });
        }
        verified.ok_or(VerifyError::Chain)
    }
}

/// A grant whose signatures, host and order were checked; whether it is in force is another question.
/// Only [`SignedGrant::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedGrant {
    grant: Grant,
    epoch: u32,
    revision: u32,
    not_after: Timestamp,
    ended: Option<EndCause>,
}

/// A grant that was verified and is in force at the time that was asked about.
/// Only [`VerifiedGrant::live`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct LiveGrant<'a>(&'a VerifiedGrant);

/// Why a verified grant is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLive {
    /// Its first second has not come.
    #[error("not yet valid")]
    NotYet,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// It was ended before its time.
    #[error("ended")]
    Ended(EndCause),
}

impl VerifiedGrant {
    fn begin(grant: Grant, epoch: u32) -> Result<Self, VerifyError> {
        if grant.revision != 1 || grant.not_after <= grant.not_before {
            return Err(VerifyError::Chain);
        }
        if grant.sudo.is_none() && grant.ssh.is_none() {
            return Err(VerifyError::Nothing);
        }
        Ok(Self { epoch, revision: 1, not_after: grant.not_after, ended: None, grant })
    }

    fn follow(mut self, act: Act) -> Result<Self, VerifyError> {
        let (id, revision) = match &act {
            Act::Grant(_) | Act::Keys(_) => return Err(VerifyError::Chain),
            Act::Extend(extend) => (extend.id, extend.revision),
            Act::End(end) => (end.id, end.revision),
        };
        let next = self.revision.checked_add(1);
        if id != self.grant.id || Some(revision) != next || self.ended.is_some() {
            return Err(VerifyError::Chain);
        }
        self.revision = revision;
        match act {
            Act::Extend(extend) if extend.not_after >= self.not_after => self.not_after = extend.not_after,
            Act::End(end) => self.ended = Some(end.cause),
            Act::Extend(_) | Act::Grant(_) | Act::Keys(_) => return Err(VerifyError::Chain),
        }
        Ok(self)
    }

    /// The grant as it was issued; its end may have moved, see [`VerifiedGrant::not_after`].
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The epoch of the grant's own document.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The latest revision.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// First second that is too late, extensions counted.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Why it was ended before its time, when it was.
    #[must_use]
    pub fn ended(&self) -> Option<EndCause> {
        self.ended
    }

    /// Proof that the grant is in force at `now`.
    ///
    /// # Errors
    /// [`NotLive`] that says why not.
    pub fn live(&self, now: Timestamp) -> Result<LiveGrant<'_>, NotLive> {
        if let Some(cause) = self.ended {
            return Err(NotLive::Ended(cause));
        }
        if now < self.grant.not_before {
            return Err(NotLive::NotYet);
        }
        if now >= self.not_after {
            return Err(NotLive::Expired);
        }
        Ok(LiveGrant(self))
    }
}

impl LiveGrant<'_> {
    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.0.grant
    }

    /// First second that is too late, extensions counted.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
