//! What comes out of a decision. A [`Permit`] is the proof that one was made.
//!
//! In: what `decide` found. Out: [`Decision`]. Only this crate builds these; the daemon issues grants from a
//! [`Permit`] and from nothing else. Spec: docs/policy.md "Decisions".

use elevate_protocol::digest::Digest;
use elevate_protocol::document::Approval;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::{Login, Name};
use elevate_protocol::ssh::SshPart;
use elevate_protocol::sudo::SudoPart;
use elevate_protocol::time::{Span, Timestamp};

use super::reason::Reason;
use crate::policy::nonempty::NonEmpty;
use crate::policy::role::{AdminPart, Factor};
use crate::policy::role_digest::RoleDigest;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may start at this very time.
    Permit(Box<Permit>),
    /// It may start when a factor or approvals are there.
    Pending(Pending),
    /// It may not start, and waiting does not help.
    Refuse(Refusal),
}

impl Decision {
    /// Everything that was found, in the order of looking.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Permit(permit) => permit.reasons(),
            Self::Pending(pending) => &pending.reasons,
            Self::Refuse(refusal) => &refusal.reasons,
        }
    }
}

/// The proof that an activation may start now. Built by [`crate::decide()`] only; it can be read,
///
/// ```
/// use elevate_policy::{Permit, PermitReach};
/// fn read(permit: &Permit) -> &PermitReach {
///     permit.reach()
/// }
/// ```
///
/// and neither made nor changed:
///
/// ```compile_fail,E0451
/// use elevate_policy::Permit;
/// fn forge(other: Permit) -> Permit {
///     Permit { ..other }
/// }
/// ```
///
/// ```compile_fail,E0451
/// use elevate_policy::{HARD_CAP, Permit};
/// fn widen(other: Permit) -> Permit {
///     Permit { duration: HARD_CAP, ..other }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    pub(super) activation: ActivationId,
    pub(super) person: Name,
    pub(super) login: Login,
    pub(super) role: Name,
    pub(super) reach: PermitReach,
    pub(super) starts_at: Timestamp,
    pub(super) duration: Span,
    pub(super) not_after_most: Timestamp,
    pub(super) warn: Vec<Span>,
    pub(super) factor: Factor,
    pub(super) lease: Option<Span>,
    pub(super) request_digest: Digest,
    pub(super) role_digest: RoleDigest,
    pub(super) approvals: Vec<Approval>,
    pub(super) reasons: Vec<Reason>,
}

/// What a permit gives, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitReach {
    /// Commands, logins or both, on hosts.
    Hosts {
        /// Each once, by id.
        hosts: NonEmpty<PermitHost>,
        /// What sudo allows.
        sudo: Option<SudoPart>,
        /// What certificates open.
        ssh: Option<Box<SshPart>>,
    },
    /// Administration of Elevate, on the daemon.
    Daemon {
        /// Which parts.
        admin: NonEmpty<AdminPart>,
    },
}

/// A host that a permit is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PermitHost {
    /// What it is.
    pub id: HostId,
    /// What it is called.
    pub name: Name,
}

impl Permit {
    /// The activation.
    #[must_use]
    pub fn activation(&self) -> ActivationId {
        self.activation
    }

    /// Whose it is.
    #[must_use]
    pub fn person(&self) -> &Name {
        &self.person
    }

    /// What the policy says that hosts call the person.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> &Name {
        &self.role
    }

    /// What it gives, and where.
    #[must_use]
    pub fn reach(&self) -> &PermitReach {
        &self.reach
    }

    /// What sudo allows, where it does.
    #[must_use]
    pub fn sudo(&self) -> Option<&SudoPart> {
        match &self.reach {
            PermitReach::Hosts { sudo, .. } => sudo.as_ref(),
            PermitReach::Daemon { .. } => None,
        }
    }

    /// What certificates open, where they do.
    #[must_use]
    pub fn ssh(&self) -> Option<&SshPart> {
        match &self.reach {
            PermitReach::Hosts { ssh, .. } => ssh.as_deref(),
            PermitReach::Daemon { .. } => None,
        }
    }

    /// The time of the decision, at which the clock starts.
    #[must_use]
    pub fn starts_at(&self) -> Timestamp {
        self.starts_at
    }

    /// How long, shortened to what is left of the eligibility.
    #[must_use]
    pub fn duration(&self) -> Span {
        self.duration
    }

    /// First second that is too late: the start and the duration.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.starts_at.after(self.duration)
    }

    /// The latest end that extensions can reach.
    #[must_use]
    pub fn not_after_most(&self) -> Timestamp {
        self.not_after_most
    }

    /// Warnings before the end, longest first, shorter than the duration.
    #[must_use]
    pub fn warn(&self) -> &[Span] {
        &self.warn
    }

    /// When the second factor is asked for.
    #[must_use]
    pub fn factor(&self) -> Factor {
        self.factor
    }

    /// How long the right lives on a host without contact with the daemon; none: to its end.
    #[must_use]
    pub fn lease(&self) -> Option<Span> {
        self.lease
    }

    /// Digest of the request.
    #[must_use]
    pub fn request_digest(&self) -> Digest {
        self.request_digest
    }

    /// Digest of the role and the eligibility.
    #[must_use]
    pub fn role_digest(&self) -> RoleDigest {
        self.role_digest
    }

    /// The approvals that counted.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// What was found.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

/// What is still missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// Whether the person has to show a fresh factor for this request.
    pub factor: bool,
    /// Every rule of approval, met or not; none when nobody is asked.
    pub needs: Vec<Need>,
    /// First second in which the request lapses.
    pub lapses_at: Timestamp,
    /// Digest of the request, which a factor and approvals are bound to.
    pub request_digest: Digest,
    /// Digest of the role and the eligibility, which approvals are bound to.
    pub role_digest: RoleDigest,
    /// What was found.
    pub reasons: Vec<Reason>,
}

impl Pending {
    /// Whether only the person's factor is missing.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.needs.iter().all(|need| need.missing() == 0)
    }
}

/// One rule of approval and how far it is met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// How many.
    pub need: u32,
    /// Of whom: groups resolved, the requester and people whose entry has ended left out.
    pub of: Vec<Name>,
    /// Approvals that count for this rule; each person counts for one rule.
    pub approved: Vec<Approval>,
    /// How long an approval counts.
    pub within: Span,
}

impl Need {
    /// How many are missing.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.need.saturating_sub(u32::try_from(self.approved.len()).unwrap_or(u32::MAX))
    }
}

/// Why it may not start. There is at least one reason against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{because}")]
pub struct Refusal {
    #[source]
    because: Reason,
    pub(super) reasons: Vec<Reason>,
}

impl Refusal {
    /// `because` decides; `found` is what was found before it.
    pub(super) fn new(mut found: Vec<Reason>, because: Reason) -> Self {
        found.push(because.clone());
        Self { because, reasons: found }
    }

    /// The reason that decided.
    #[must_use]
    pub fn because(&self) -> &Reason {
        &self.because
    }

    /// Everything that was found.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The code for the person's side.
    #[must_use]
    pub fn code(&self) -> Code {
        self.because.code().unwrap_or(Code::NotEligible)
    }
}

impl From<&Refusal> for elevate_protocol::message::refusal::Refusal {
    fn from(refusal: &Refusal) -> Self {
        let plain = Self::new(refusal.code(), refusal.because.to_string());
        match refusal.because.hint() {
            Some(hint) => plain.hint(hint),
            None => plain,
        }
    }
}
