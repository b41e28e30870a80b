//! Who may do what, where, how long and with whose word: the policy and the decisions made with it.
//!
//! In: the text of policy files, facts about one request, and the time. Out: [`Decision`] with its reasons.
//! Runs as: whoever links it (the daemon). No I/O, no clock, no randomness, no async. Spec: docs/policy.md.

#![forbid(unsafe_code)]

mod decide;
#[cfg(test)]
mod fixture;
mod lint;
mod parse;
mod policy;
mod reserved;

pub use decide::approvals::{may_decide, needs};
pub use decide::decision::{Decision, Need, Pending, Permit, PermitHost, PermitReach, Refusal};
pub use decide::eligible::{EligibleRole, eligible_roles, offers, roles_for_login, still_eligible};
pub use decide::explain::{Explanation, can_i, explain};
pub use decide::extend::{ExtendFacts, Extension, extend};
pub use decide::facts::{FactorProof, Facts, HostFacts, RecordedApproval, RecordedDenial, Request};
pub use decide::reason::{ApprovalFault, Asked, EndsWith, FactorFault, Reason, Standing, Support, TimeFault};
pub use decide::request::{ExtendAsk, extension_digest, request_digest};
pub use decide::{FACTOR_FRESH, REASON_MIN, decide};
pub use lint::Escape;
pub use parse::finding::{Finding, PolicyError, Severity};
pub use policy::approval::ApprovalRule;
pub use policy::nonempty::NonEmpty;
pub use policy::person::{Person, PersonKey};
pub use policy::role::{AdminPart, Eligibility, Factor, Reach, ReasonRule, Role, TicketRule};
pub use policy::role_digest::{RoleDigest, role_digest};
pub use policy::scope::{Glob, HostScope};
pub use policy::ticket::{PatternError, TicketPattern};
pub use policy::{Defaults, HARD_CAP, Member, Policy, moment_text};
pub use reserved::{RESERVED, is_reserved};
