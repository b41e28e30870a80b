//! What is shown: activations, eligibilities, people, hosts. Data for tables and JSON, decided nowhere but in the daemon.
//!
//! Times are UTC seconds. Free text is [`UntrustedText`] and is escaped by whoever shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::document::EndCause;
use crate::host_ssh::HostName;
use crate::id::{ActivationId, HostId};
use crate::name::Name;
use crate::signed::SignedBody;
use crate::text::UntrustedText;
use crate::time::{Span, Timestamp};

/// One activation from its request to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationView {
    /// Its id.
    pub id: ActivationId,
    /// The fewest letters, at least four, that name it in this cluster.
    pub short: String,
    /// Who asked.
    pub person: Name,
    /// The role.
    pub role: Name,
    /// The role's title.
    pub title: Option<UntrustedText>,
    /// What it allows, in a few words: "runs anything as postgres", "runs 3 commands as root".
    pub allows: String,
    /// The account that its commands run as, where there is one: what `elevate run` gives sudo as -u.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<Name>,
    /// The accounts that its certificates open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Name>,
    /// Whether each use asks for a code, so that sudo needs a terminal.
    #[serde(default)]
    pub factor_at_use: bool,
    /// Where it stands.
    pub state: State,
    /// The hosts and what each says.
    pub hosts: Vec<ActivationHostView>,
    /// How long was asked.
    pub duration: Span,
    /// Why.
    pub reason: Option<UntrustedText>,
    /// The change number.
    pub ticket: Option<UntrustedText>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When a pending request lapses.
    pub lapses_at: Timestamp,
    /// When the person's factor was last checked for it, and the address that the code came from.
    pub factor_at: Option<Timestamp>,
    /// `web1` for door 1, `10.1.2.3` for door 2.
    pub from: UntrustedText,
    /// Approvals it needs and has.
    pub needs: Vec<NeedView>,
    /// Digest of the request, which approvals are bound to.
    pub digest: Digest,
    /// First second of the grant.
    pub starts_at: Option<Timestamp>,
    /// First second after the grant.
    pub ends_at: Option<Timestamp>,
    /// The latest end that extensions can reach.
    pub ends_at_most: Option<Timestamp>,
    /// How many times it was extended.
    pub extensions: u32,
}

/// Where an activation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// Waits for approvals.
    Pending,
    /// Approved; the person has to start it with a fresh factor.
    Approved,
    /// A grant is in force.
    Active,
    /// An approver said no.
    Denied {
        /// Who.
        by: Name,
        /// Why.
        reason: UntrustedText,
    },
    /// The person took it back.
    Withdrawn,
    /// Nobody decided in time, or the person did not start it in time.
    Lapsed,
    /// The policy no longer permits it.
    Refused {
        /// Why.
        reason: String,
    },
    /// The grant is over.
    Ended {
        /// Why.
        cause: EndCause,
        /// When.
        at: Timestamp,
    },
}

impl State {
    /// The state in one word, as in JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Active => "active",
            Self::Denied { .. } => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Refused { .. } => "refused",
            Self::Ended { .. } => "ended",
        }
    }
}

/// What one host says of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationHostView {
    /// The host.
    pub name: Name,
    /// Where the latest document stands there.
    pub state: HostState,
    /// The documents, when they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<SignedBody>,
}

/// Where a document stands on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostState {
    /// Nothing was issued yet.
    None,
    /// Decided, and the key that signs is away: the host hears of it when the key is back.
    Unsigned,
    /// Issued, the host has not acknowledged it.
    Sent,
    /// Issued, and the host is not connected.
    Offline {
        /// Last heard of.
        since: Option<Timestamp>,
    },
    /// The host acknowledged it.
    Confirmed,
    /// The host refuses it.
    Refused {
        /// Why.
        why: UntrustedText,
    },
    /// The host ended it before its time.
    Ended {
        /// Why.
        cause: EndCause,
    },
}

/// One rule of approval and how far it is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedView {
    /// How many.
    pub need: u32,
    /// Of whom, groups resolved, the requester left out.
    pub of: Vec<Name>,
    /// Who has approved so far.
    pub approved: Vec<ApprovedView>,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedView {
    /// Who.
    pub person: Name,
    /// When.
    pub at: Timestamp,
    /// What was said.
    pub reason: Option<UntrustedText>,
}

/// A role that a person may activate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EligibilityView {
    /// The role.
    pub role: Name,
    /// Its title.
    pub title: Option<UntrustedText>,
    /// What it allows, in a few words.
    pub allows: String,
    /// Hosts in scope that are enrolled.
    pub hosts: Vec<Name>,
    /// What else one of them is called, by an administrator's word. Not through a host's door.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Name, Vec<HostName>>,
    /// The accounts that its certificates open there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Name>,
    /// Default duration.
    pub duration: Span,
    /// Longest, extensions included.
    pub max: Span,
    /// Whether a reason is required.
    pub reason: bool,
    /// The pattern of a ticket, where one is asked for.
    pub ticket: Option<String>,
    /// Whether a second factor is asked for.
    pub factor: bool,
    /// Approvals: how many of whom.
    pub needs: Vec<NeedView>,
    /// When the eligibility ends.
    pub until: Option<Timestamp>,
}

/// What `elevate` alone shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverviewView {
    /// Who.
    pub person: Name,
    /// Active grants.
    pub active: Vec<ActivationView>,
    /// Own requests that wait.
    pub waiting: Vec<ActivationView>,
    /// Requests that wait for this person's decision.
    pub to_review: Vec<ActivationView>,
    /// What may be activated.
    pub eligible: Vec<EligibilityView>,
}

/// Why something is allowed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplanationView {
    /// The answer.
    pub yes: bool,
    /// What to type next, where there is something.
    pub hint: Option<String>,
    /// The reasons, in the order they were found.
    pub reasons: Vec<ReasonView>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonView {
    /// The role that it is about, when it is about one.
    pub role: Option<Name>,
    /// Whether it speaks for it.
    pub yes: bool,
    /// The reason.
    pub text: String,
}

/// A second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorView {
    /// `totp`.
    pub kind: String,
    /// When it was enrolled.
    pub since: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
    /// Recovery codes that were not used; none: there is no set.
    pub recovery: Option<u32>,
    /// Until when this door is locked for it, after wrong codes.
    pub locked_until: Option<Timestamp>,
}

/// A certificate for SSH, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateView {
    /// In OpenSSH's form: one line.
    pub certificate: String,
    /// The grant that it is for.
    pub id: ActivationId,
    /// The fewest letters, at least four, that name it in this cluster.
    pub short: String,
    /// The role.
    pub role: Name,
    /// Where it opens a door.
    pub hosts: Vec<Name>,
    /// The one of them that was asked for, where that was by another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// The accounts that it opens there.
    pub logins: Vec<Name>,
    /// Its serial.
    pub serial: u64,
    /// Of the certified key.
    pub fingerprint: String,
    /// Every principal in it.
    pub principals: Vec<String>,
    /// First second.
    pub valid_after: Timestamp,
    /// First second that is too late.
    pub valid_before: Timestamp,
    /// First second after the grant: until then there is another one.
    pub ends_at: Timestamp,
}

/// Who a person is to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountView {
    /// The person.
    pub person: Name,
    /// Through which door: `web1`, or the fingerprint of the key.
    pub through: UntrustedText,
    /// Groups, nested ones too.
    pub groups: Vec<Name>,
    /// Factors.
    pub factors: Vec<FactorView>,
}

/// A person as administrators see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonView {
    /// The person.
    pub person: Name,
    /// The login on hosts.
    pub login: String,
    /// Fingerprints of the SSH keys.
    pub keys: Vec<String>,
    /// Whether a factor is enrolled.
    pub factor: bool,
    /// Whether an invitation is open.
    pub invited: bool,
    /// What waits before it counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<ChangeView>,
    /// When the person's entry ends.
    pub until: Option<Timestamp>,
}

/// A host as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostView {
    /// Its name.
    pub name: Name,
    /// Its id.
    pub id: HostId,
    /// Its labels.
    pub labels: std::collections::BTreeMap<Name, Name>,
    /// Names that an administrator gave it beside its own.
    pub names: Vec<HostName>,
    /// Until when the certificate is valid that it got last; none: it got none.
    pub certified_until: Option<Timestamp>,
    /// When it enrolled.
    pub since: Timestamp,
    /// Whether it is connected.
    pub connected: bool,
    /// Last heard of.
    pub seen_at: Option<Timestamp>,
    /// Which sudo enforces there.
    pub sudo: Option<UntrustedText>,
    /// Documents not yet acknowledged.
    pub behind: u64,
    /// The epoch that waits for the word of the host's root, who was refused until then.
    pub new_epoch: Option<u32>,
    /// An invitation that is to take its place, and waits before it counts.
    pub replacement: Option<ChangeView>,
}

/// A change of who a person or a host is, which waits before it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeView {
    /// `factor`, `host`, or the fingerprint of a key.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// Who began it.
    pub by: UntrustedText,
    /// When it counts by itself; none: by an administrator's word only.
    pub counts_at: Option<Timestamp>,
}
