//! One rule of approval: how many, of whom, for how long.
//!
//! In: what `parse` checked. Out: [`ApprovalRule`]. Spec: docs/policy.md "approve".

use std::num::NonZeroU32;

use elevate_protocol::time::Span;
use serde::Serialize;

use super::nonempty::NonEmpty;
use super::{Member, serialize_list};

/// `{ need = 2, of = ["@dba-leads"], within = "24h" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApprovalRule {
    /// How many different people.
    pub need: NonZeroU32,
    /// Of whom, groups unresolved.
    #[serde(serialize_with = "serialize_list")]
    pub of: NonEmpty<Member>,
    /// How long one approval counts, from when it was given.
    pub within: Span,
}
