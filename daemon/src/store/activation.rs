//! An activation as the store keeps it.
//!
//! In: nothing. Out: [`Activation`] and its parts, as one JSON text in its row.

use elevate_policy::{FactorProof, RecordedDenial, RoleDigest};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::view::State;
use elevate_protocol::name::{Login, Name};
use elevate_protocol::ssh::SshPart;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// One activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// Its id.
    pub(crate) id: ActivationId,
    /// Who asked.
    pub(crate) person: Name,
    /// What hosts call the person.
    pub(crate) login: Login,
    /// The role.
    pub(crate) role: Name,
    /// Where, by id, with the uid there.
    pub(crate) hosts: Vec<HostPart>,
    /// How long was asked; none: the role's default.
    pub(crate) asked: Option<Span>,
    /// How long it is to be, as the latest decision said.
    pub(crate) duration: Span,
    /// Why.
    pub(crate) reason: Option<UntrustedText>,
    /// The change number.
    pub(crate) ticket: Option<UntrustedText>,
    /// When it was asked.
    pub(crate) asked_at: Timestamp,
    /// When it lapses.
    pub(crate) lapses_at: Timestamp,
    /// `web1` or an address.
    pub(crate) from: UntrustedText,
    /// Digest of the request.
    pub(crate) digest: Digest,
    /// Digest of role and eligibility when it was asked.
    pub(crate) role_digest: RoleDigest,
    /// When a factor was last checked for it.
    pub(crate) factor_at: Option<Timestamp>,
    /// What that factor was bound to.
    pub(crate) factor_for: Option<Digest>,
    /// Who denied it, when and why.
    pub(crate) denied: Option<Denied>,
    /// Where it stands.
    pub(crate) state: State,
    /// When the grant began.
    pub(crate) starts_at: Option<Timestamp>,
    /// First second after the grant.
    pub(crate) ends_at: Option<Timestamp>,
    /// The latest end that extensions can reach.
    pub(crate) ends_at_most: Option<Timestamp>,
    /// How long the grant outlives the last contact of a host; none: to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Span>,
    /// What the grant opens by SSH, as the hosts were told; none: nothing, or no grant yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh: Option<SshPart>,
    /// Whether the grant asks for the second factor at every use, as the hosts were told.
    #[serde(default)]
    pub(crate) factor_at_use: bool,
    /// Digest of role and eligibility that the grant was made with.
    pub(crate) granted_digest: Option<RoleDigest>,
    /// How many times it was extended.
    pub(crate) extensions: u32,
    /// Revision of its latest document; 0: none.
    pub(crate) revision: u32,
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Denied {
    /// Who.
    pub(crate) by: Name,
    /// When.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) reason: UntrustedText,
}

/// One host of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostPart {
    /// What it is.
    pub(crate) id: HostId,
    /// What it was called.
    pub(crate) name: Name,
    /// The person's uid there.
    pub(crate) uid: u32,
    /// Why the host ended the grant before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<EndCause>,
}

impl Activation {
    /// The factor as the policy looks at it.
    #[must_use]
    pub(crate) fn factor(&self) -> Option<FactorProof> {
        Some(FactorProof { checked_at: self.factor_at?, bound_to: self.factor_for? })
    }

    /// The denial as the policy looks at it.
    #[must_use]
    pub(crate) fn denial(&self) -> Option<RecordedDenial> {
        let Denied { by, at, reason } = self.denied.clone()?;
        Some(RecordedDenial { by, at, reason })
    }

    /// Whether it waits for others or for its person.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Approved)
    }

    /// Whether a grant is in force as far as the daemon knows.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// The column that is searched, and the moment at which the daemon has to do something about it.
    pub(super) fn phase(&self) -> (&'static str, Option<Timestamp>) {
        match &self.state {
            State::Pending => ("pending", Some(self.lapses_at)),
            State::Approved => ("approved", Some(self.lapses_at)),
            State::Active => ("active", self.ends_at),
            State::Denied { .. }
            | State::Withdrawn
            | State::Lapsed
            | State::Refused { .. }
            | State::Ended { .. } => ("over", None),
        }
    }
}
