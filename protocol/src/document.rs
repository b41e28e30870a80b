//! What the daemon signs for one host: an ordered log of grants, extensions and ends.
//!
//! In: the bytes of a verified document. Out: [`Document`]. Spec: docs/grant-format.md.
//! Parsing is not proof: only [`crate::signed`] makes verified values of these.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ActivationId, ClusterId, HostId};
use crate::name::{Login, Name};
use crate::ssh::{Cas, SshPart};
use crate::sudo::SudoPart;
use crate::time::{Span, Timestamp};

/// The only format there is.
pub const FORMAT: u16 = 1;
/// Longest document in bytes, its line end included.
pub const DOCUMENT_MAX: usize = 64 * 1024;
/// Names that may stand in `critical` and that this version enforces.
pub const UNDERSTOOD: [&str; 4] = ["sudo", SSH, LEASE, FACTOR_AT_USE];
/// The name of [`Grant::ssh`] among the critical fields.
pub const SSH: &str = "ssh";
/// The name of [`Grant::lease`] among the critical fields.
pub const LEASE: &str = "lease";
/// The name of [`Grant::factor_at_use`] among the critical fields.
pub const FACTOR_AT_USE: &str = "factor_at_use";
/// How long a code counts for the other uses at the same terminal, at most.
pub const FACTOR_AT_USE_MAX: Span = Span(300);
/// How long before its issue a grant is already valid, for clocks that differ.
pub const BACKDATE: Span = Span::MINUTE;

/// One document of a host's log. Its bytes are one line of JSON and a line end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u16,
    /// The cluster that signed.
    pub cluster: ClusterId,
    /// The one host it is for.
    pub host: HostId,
    /// Counts restores of the daemon's store; changes only with root's word on the host.
    pub epoch: u32,
    /// Place in this host's log, from 1, without gaps.
    pub seq: u64,
    /// What it says.
    pub act: Act,
}

/// What a document does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A right begins.
    Grant(Box<Grant>),
    /// A right lasts longer.
    Extend(Extend),
    /// A right ends before its time.
    End(End),
    /// Other keys sign from the next document on.
    Keys(Keys),
}

/// The document issued for one permitted activation on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id, the id of its request.
    pub id: ActivationId,
    /// 1; extensions and ends count on from here.
    pub revision: u32,
    /// Whose right it is.
    pub person: Name,
    /// What the host's NSS called the person when the grant was decided.
    pub login: Login,
    /// The uid on this host.
    pub uid: u32,
    /// Digest of the request that was decided.
    pub request_digest: Digest,
    /// The role.
    pub role: Name,
    /// Digest of the role and the eligibility.
    pub role_digest: Digest,
    /// First second of validity: the issue less [`BACKDATE`].
    pub not_before: Timestamp,
    /// First second that is too late.
    pub not_after: Timestamp,
    /// Seconds from the issue to `not_after`.
    pub duration: Span,
    /// Seconds before the end at which the person is warned, longest first.
    #[serde(default)]
    pub warn: Vec<Span>,
    /// What sudo allows; absent: nothing. One of this and `ssh` is there. Critical where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<SudoPart>,
    /// What certificates of this grant open; absent: nothing. Critical where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshPart>,
    /// The second factor is asked for at every use; for so long a code counts at one terminal. Absent: it is not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor_at_use: Option<Span>,
    /// Who approved.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Seconds without contact with the daemon after which the host ends the grant; absent: none. Critical where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// Fields that the reader must understand; an unknown name is a refusal.
    #[serde(default)]
    pub critical: Vec<String>,
}

/// One approval as the grant tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The approver.
    pub person: Name,
    /// When the approval was recorded.
    pub at: Timestamp,
}

/// A later end for a grant that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extend {
    /// The grant.
    pub id: ActivationId,
    /// One more than the revision before.
    pub revision: u32,
    /// The new first second that is too late; never earlier than before.
    pub not_after: Timestamp,
}

/// The end of a grant before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The grant.
    pub id: ActivationId,
    /// One more than the revision before.
    pub revision: u32,
    /// Why.
    pub cause: EndCause,
}

/// The keys that sign, all of them. This document itself is still by the key before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Grant keys.
    pub grant: Vec<SigningKey>,
    /// All the keys that sign certificates of people from here on.
    #[serde(default, skip_serializing_if = "Cas::is_empty")]
    pub user_ca: Cas,
    /// All the keys whose certificates of hosts are believed from here on.
    #[serde(default, skip_serializing_if = "Cas::is_empty")]
    pub host_ca: Cas,
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// In OpenSSH's form.
    pub key: String,
    /// Absent: the one key that signs from the next document on. Otherwise it signs nothing more, and from this second on
    /// nothing that it signed is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    /// Its time was over.
    Expired,
    /// The person gave it back.
    Dropped,
    /// An administrator took it.
    Revoked,
    /// The person, the role or the host is no longer eligible.
    NotEligible,
    /// The host could not or would not enforce it.
    NotEnforced,
    /// The account on the host is no longer the one it was granted to.
    AccountChanged,
    /// The host had no contact with the daemon for as long as the grant's lease.
    NoContact,
    /// The daemon was restored from a backup, and the host's log began anew.
    Restored,
}

/// The digest of a log up to and including a document, from the digest before it: two logs with the same one are the same log.
#[must_use]
pub fn head(before: Option<Digest>, body: &str) -> Digest {
    let mut bytes = before.map_or_else(|| vec![0; 32], |digest| digest.bytes().to_vec());
    bytes.extend_from_slice(body.as_bytes());
    Digest::of(&bytes)
}

impl Document {
    /// The activation that this document is about, if it is about one.
    #[must_use]
    pub fn activation(&self) -> Option<ActivationId> {
        match &self.act {
            Act::Grant(grant) => Some(grant.id),
            Act::Extend(extend) => Some(extend.id),
            Act::End(end) => Some(end.id),
            Act::Keys(_) => None,
        }
    }

    /// The bytes to sign: one line of JSON and its line end, so that `head -n 1` of a grant file is the document.
    ///
    /// # Errors
    /// When serde cannot write a field; no value of these types does that.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_log_tells_every_log_from_every_other() {
        let log = |bodies: &[&str]| bodies.iter().fold(None, |before, body| Some(head(before, body)));
        assert_eq!(log(&["a", "b", "c"]), log(&["a", "b", "c"]));
        for other in [&["a", "b"][..], &["a", "x", "c"], &["b", "a", "c"], &["ab", "c"], &["c"]] {
            assert_ne!(log(other), log(&["a", "b", "c"]), "{other:?}");
        }
    }
}
