//! The digest that approvals are bound to, beside the request's: the role and the requester's eligibility.
//!
//! In: the policy, a role, a person. Out: [`RoleDigest`]. It changes when the role or an entry of `who` that
//! applies to the requester changes, and only then: adding bob voids nothing of alice's. Spec: docs/policy.md.

use std::num::NonZeroU32;

use elevate_protocol::digest::Digest;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use serde::{Deserialize, Serialize};

use super::Policy;
use super::approval::ApprovalRule;
use super::role::{Eligibility, Factor, Reach, ReasonRule, Role, TicketRule};

/// Digest of a role and of one person's eligibility for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleDigest(Digest);

impl RoleDigest {
    /// A digest as it was recorded with a request or an approval. Compared, never trusted.
    #[must_use]
    pub fn recorded(digest: Digest) -> Self {
        Self(digest)
    }

    /// The plain digest, as a grant carries it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0
    }
}

/// Field order is the canonical order; a new field needs a new `kind`.
#[derive(Serialize)]
struct Canonical<'a> {
    kind: &'static str,
    name: &'a Name,
    title: &'a Option<UntrustedText>,
    reach: &'a Reach,
    max_hosts: Option<NonZeroU32>,
    duration: Span,
    max: Span,
    reason: ReasonRule,
    ticket: &'a Option<TicketRule>,
    factor: Factor,
    approve: &'a [ApprovalRule],
    warn: &'a [Span],
    pending: Span,
    lease: Option<Span>,
    person: &'a Name,
    entries: Vec<&'a Eligibility>,
}

/// The digest of a role and of every entry of its `who` that names `person`, directly or through groups,
/// whatever the time is: so that it does not change by itself. None: no such role, or no entry at all.
#[must_use]
pub fn role_digest(policy: &Policy, role: &Name, person: &Name) -> Option<RoleDigest> {
    let role = policy.role(role)?;
    let entries: Vec<&Eligibility> =
        role.who.iter().filter(|entry| policy.is_member(person, &entry.who)).collect();
    if entries.is_empty() {
        return None;
    }
    digest_of(role, person, entries)
}

fn digest_of(role: &Role, person: &Name, mut entries: Vec<&Eligibility>) -> Option<RoleDigest> {
    entries.sort();
    let canonical = Canonical {
        kind: "elevate-role@v3",
        name: &role.name,
        title: &role.title,
        reach: &role.reach,
        max_hosts: role.max_hosts,
        duration: role.duration,
        max: role.max,
        reason: role.reason,
        ticket: &role.ticket,
        factor: role.factor,
        approve: &role.approve,
        warn: &role.warn,
        pending: role.pending,
        lease: role.lease,
        person,
        entries,
    };
    serde_json::to_vec(&canonical).ok().map(|bytes| RoleDigest(Digest::of(&bytes)))
}
