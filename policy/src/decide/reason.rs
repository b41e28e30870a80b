//! Why a decision is what it is: kept with the activation and printed by `elevate why` and `can-i`.
//!
//! In: what the decision found. Out: [`Reason`] with its text (one sentence, values of others escaped), its code
//! and a hint. Spec: docs/policy.md "Reasons".

use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::Name;
use elevate_protocol::text::{UntrustedText, escape};
use elevate_protocol::time::{Span, Timestamp};

use crate::policy::moment_text;

/// One thing that a decision found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Something that speaks for it.
    #[error(transparent)]
    Support(#[from] Support),
    /// The person, the role or the host does not fit.
    #[error(transparent)]
    Standing(#[from] Standing),
    /// What was asked does not fit.
    #[error(transparent)]
    Asked(#[from] Asked),
    /// The second factor is not there or does not count.
    #[error(transparent)]
    Factor(#[from] FactorFault),
    /// Approvals are not there or do not count.
    #[error(transparent)]
    Approval(#[from] ApprovalFault),
    /// It is too late, or the clock cannot be trusted.
    #[error(transparent)]
    Time(#[from] TimeFault),
}

impl Reason {
    /// Whether it speaks for the request. Too few approvals or no factor yet speak against, for now.
    #[must_use]
    pub fn speaks_for(&self) -> bool {
        match self {
            Self::Support(_) => true,
            Self::Standing(_) | Self::Asked(_) | Self::Factor(_) | Self::Approval(_) | Self::Time(_) => false,
        }
    }

    /// The code of a refusal for this reason. None for what speaks for it.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Support(_) => None,
            Self::Standing(Standing::UnknownRole { .. }) => Some(Code::UnknownRole),
            Self::Standing(_) => Some(Code::NotEligible),
            Self::Asked(_) => Some(Code::Usage),
            Self::Factor(_) => Some(Code::Factor),
            Self::Approval(ApprovalFault::TooFew { .. }) => Some(Code::Pending),
            Self::Approval(ApprovalFault::Denied { .. }) => Some(Code::Denied),
            Self::Approval(_) => Some(Code::NotEligible),
            Self::Time(TimeFault::ClockWentBack { .. } | TimeFault::NoDigest) => Some(Code::Internal),
            Self::Time(TimeFault::Lapsed { .. } | TimeFault::GrantOver { .. }) => Some(Code::Gone),
        }
    }

    /// What to type or do next, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Support(_) => None,
            Self::Standing(standing) => standing.hint(),
            Self::Asked(asked) => Some(asked.hint()),
            Self::Factor(_) => Some("a fresh code for exactly this is needed".to_owned()),
            Self::Approval(fault) => fault.hint(),
            Self::Time(_) => Some("make a new request".to_owned()),
        }
    }
}

/// What cuts an activation short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsWith {
    /// The person's entry ends.
    Person,
    /// The eligibility ends.
    Eligibility,
    /// The role's maximum, extensions included.
    Maximum,
}

impl EndsWith {
    fn says(self) -> &'static str {
        match self {
            Self::Person => "the person's entry ends",
            Self::Eligibility => "the eligibility ends",
            Self::Maximum => "the role's maximum is reached",
        }
    }
}

/// Something that speaks for it. Fields are what the text says of them; times are UTC seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum Support {
    #[error("{person} may activate {role}{}", until_text(until))]
    Eligible { person: Name, role: Name, until: Option<Timestamp> },
    #[error("{host} is one of the hosts of {role}")]
    HostInScope { role: Name, host: Name },
    #[error("{to} instead of {asked}, since then {}", by.says())]
    Shortened { asked: Span, to: Span, by: EndsWith },
    #[error("the ticket has the form that {role} asks for")]
    TicketFits { role: Name },
    #[error("the factor was checked for this request at {}", moment_text(*at))]
    FactorFresh { at: Timestamp },
    #[error("{role} asks for no factor")]
    FactorNotAsked { role: Name },
    #[error("{by} approved at {}", moment_text(*at))]
    Approved { by: Name, at: Timestamp },
    #[error("{role} needs no approval")]
    NobodyAsked { role: Name },
    #[error("{role} or the eligibility for it has changed since the request; it is decided as it is now")]
    RoleChanged { role: Name },
    #[error("{role} allows {}", escape(command))]
    CommandAllowed { role: Name, command: String },
    #[error("{role} allows everything as {run_as}")]
    AnythingAllowed { role: Name, run_as: Name },
    #[error("{role} needs {need} of {}", names(of))]
    WouldNeed { role: Name, need: u32, of: Vec<Name> },
}

/// The person, the role or the host does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum Standing {
    #[error("{person} is nobody in the policy")]
    UnknownPerson { person: Name },
    #[error("the entry of {person} ended at {}", moment_text(*until))]
    PersonOver { person: Name, until: Timestamp },
    #[error("there is no role {role}")]
    UnknownRole { role: Name },
    #[error("{person} is not eligible for {role}")]
    NotEligible { person: Name, role: Name },
    #[error("{person} is eligible for no role")]
    NoRole { person: Name },
    #[error("the eligibility for {role} begins at {}", moment_text(*from))]
    NotYet { role: Name, from: Timestamp },
    #[error("the eligibility for {role} ended at {}", moment_text(*until))]
    EligibilityOver { role: Name, until: Timestamp },
    #[error("{role} is for hosts with {wants}, {host} has {has}")]
    HostOutOfScope { role: Name, host: Name, wants: String, has: String },
    #[error("{role} is for at most {most} hosts at once, this names {asked}")]
    TooManyHosts { role: Name, asked: usize, most: u32 },
    #[error("{role} gives commands on hosts, and no host is named")]
    NoHost { role: Name },
    #[error("{role} administers Elevate itself and has no hosts")]
    HasNoHosts { role: Name },
    #[error("{role} does not allow this command")]
    CommandNotAllowed { role: Name, nearest: Vec<String> },
    #[error("{role} or the eligibility for it has changed since the grant began")]
    RoleChanged { role: Name },
}

impl Standing {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownRole { .. } | Self::NotEligible { .. } => {
                Some("elevate list shows what you may activate".to_owned())
            }
            Self::HostOutOfScope { wants, .. } => Some(format!("name a host with {wants}: -H HOST")),
            Self::TooManyHosts { .. } => {
                Some("ask for some of them first, and for the others afterwards".to_owned())
            }
            Self::NoHost { role } => Some(format!("elevate {role} -H HOST")),
            Self::HasNoHosts { role } => Some(format!("with your own key, without -H: elevate {role}")),
            Self::CommandNotAllowed { nearest, .. } if !nearest.is_empty() => {
                Some(format!("it allows {}", escape(&nearest.join(" | "))))
            }
            Self::RoleChanged { .. } => Some("make a new request".to_owned()),
            Self::UnknownPerson { .. }
            | Self::NoRole { .. }
            | Self::PersonOver { .. }
            | Self::NotYet { .. }
            | Self::EligibilityOver { .. }
            | Self::CommandNotAllowed { .. } => None,
        }
    }
}

/// What was asked does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum Asked {
    #[error("a duration is longer than nothing")]
    DurationZero,
    #[error("{asked} is longer than {role} allows, which is {most}")]
    DurationTooLong { role: Name, asked: Span, most: Span },
    #[error("{role} needs a reason of at least {least} characters")]
    ReasonMissing { role: Name, least: usize },
    #[error("the reason has {found} characters, {role} needs at least {least}")]
    ReasonTooShort { role: Name, found: usize, least: usize },
    #[error("{role} needs a ticket")]
    TicketMissing { role: Name, pattern: String },
    #[error("the ticket does not have the form that {role} asks for")]
    TicketForm { role: Name, pattern: String },
    #[error("{by} more is too long: {possible} is possible, then {}", limit.says())]
    ExtensionTooLong { by: Span, possible: Span, limit: EndsWith },
}

impl Asked {
    fn hint(&self) -> String {
        match self {
            Self::DurationZero => "write -d 30m".to_owned(),
            Self::DurationTooLong { most, .. } => format!("write -d {most}, or less"),
            Self::ReasonMissing { .. } | Self::ReasonTooShort { .. } => {
                "write -m \"…\" and say what the work is".to_owned()
            }
            Self::TicketMissing { pattern, .. } | Self::TicketForm { pattern, .. } => {
                format!("write -t and a ticket that matches {}", escape(pattern))
            }
            Self::ExtensionTooLong { possible, .. } if possible.0 > 0 => format!("elevate extend {possible}"),
            Self::ExtensionTooLong { .. } => "make a new request when this one has ended".to_owned(),
        }
    }
}

/// The second factor is not there or does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum FactorFault {
    #[error("no factor was checked for this")]
    Missing,
    /// Threat D06.
    #[error("the factor was checked for something else")]
    Elsewhere,
    #[error("the factor was checked too long ago, at {}", moment_text(*at))]
    Old { at: Timestamp },
    #[error("the factor was checked in the future, at {}", moment_text(*at))]
    Ahead { at: Timestamp },
}

/// Approvals are not there or do not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum ApprovalFault {
    #[error("{missing} more of {} must approve", names(of))]
    TooFew { missing: u32, of: Vec<Name> },
    /// Threat C01.
    #[error("{by} made the request, and one's own decision never counts")]
    Own { by: Name },
    #[error("{by} approved another request")]
    Elsewhere { by: Name },
    #[error("the role or the eligibility has changed since {by} approved")]
    Void { by: Name },
    #[error("the approval of {by} of {} is too old", moment_text(*at))]
    Old { by: Name, at: Timestamp },
    /// Threat C06.
    #[error("{by} may not decide about {role}")]
    NotEntitled { by: Name, role: Name },
    #[error("{by} denied it: {}", reason.escaped())]
    Denied { by: Name, reason: UntrustedText },
    #[error("{role} needs no approval, so there is nothing to decide")]
    NothingToDecide { role: Name },
}

impl ApprovalFault {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Own { .. } => Some("somebody else has to decide".to_owned()),
            Self::Elsewhere { .. } | Self::Void { .. } | Self::Old { .. } => {
                Some("it has to be approved again".to_owned())
            }
            Self::TooFew { .. }
            | Self::NotEntitled { .. }
            | Self::Denied { .. }
            | Self::NothingToDecide { .. } => None,
        }
    }
}

/// It is too late, or the clock cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says what its fields are")]
pub enum TimeFault {
    #[error("the request lapsed at {}", moment_text(*at))]
    Lapsed { at: Timestamp },
    #[error("the request was made in the future, at {}: the clock went back", moment_text(*at))]
    ClockWentBack { at: Timestamp },
    #[error("the grant ended at {}", moment_text(*at))]
    GrantOver { at: Timestamp },
    #[error("the digest of the request cannot be made")]
    NoDigest,
}

fn names(of: &[Name]) -> String {
    if of.is_empty() {
        return "nobody".to_owned();
    }
    of.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn until_text(until: &Option<Timestamp>) -> String {
    until.map_or_else(String::new, |at| format!(" until {}", moment_text(at)))
}
