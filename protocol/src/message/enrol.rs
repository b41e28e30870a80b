//! A new host and the daemon, on the subsystem `elevate-enroll`: one frame each way.
//!
//! In: a one-time token and the host's new keys. Out: who the host now is and whom it trusts. Spec: docs/wire.md "Enrolment".

use serde::{Deserialize, Serialize};

use super::Versions;
use super::refusal::Refusal;
use crate::id::{ClusterId, HostId};
use crate::name::Name;
use crate::secret::Secret;
use crate::ssh::Cas;

/// What `elevate-agent enroll` gives to `elevate-link enroll` on its standard input: one JSON text, then the end. The link
/// makes its key where there is none, asks the daemon, and writes the [`EnrolReply`] as one JSON text to its standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolTask {
    /// `NAME:PORT` of the daemon, see [`crate::paste::is_address`].
    pub address: String,
    /// The daemon's host key, see [`crate::paste::is_fingerprint`].
    pub fingerprint: String,
    /// From the paste string.
    pub token: Secret,
    /// Public half of the vouch key, one line of OpenSSH form.
    pub vouch_key: String,
    /// An SSHSIG over the token by the vouch key, in the vouch namespace.
    pub vouch_proof: String,
}

/// What a host sends. The connection is authenticated with the link key that it names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolAsk {
    /// Versions spoken.
    pub versions: Versions,
    /// From the paste string.
    pub token: Secret,
    /// Public half of the link key, one line of OpenSSH form.
    pub link_key: String,
    /// Public half of the vouch key, one line of OpenSSH form.
    pub vouch_key: String,
    /// An SSHSIG over the token by the vouch key, in the vouch namespace: proof that the host holds it.
    pub vouch_proof: String,
}

/// What the daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EnrolReply {
    /// The host is enrolled.
    Enrolled(Enrolled),
    /// It is not.
    Refused(Refusal),
}

/// Who the host is and whom it trusts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The host's id.
    pub host: HostId,
    /// The name that the invitation gave.
    pub name: Name,
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch that the host's log begins in.
    pub epoch: u32,
    /// The signers file of grants, see [`crate::signed::TrustedKeys::from_signers`].
    pub grant_signers: String,
    /// The keys that sign certificates of people.
    #[serde(default, skip_serializing_if = "Cas::is_empty")]
    pub user_ca: Cas,
    /// The keys that sign certificates of hosts.
    #[serde(default, skip_serializing_if = "Cas::is_empty")]
    pub host_ca: Cas,
}
