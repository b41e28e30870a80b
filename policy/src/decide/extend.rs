//! Whether a grant may last longer.
//!
//! In: the policy, what is known of the grant, a fresh factor for exactly this. Out: [`Extension`], or why not and
//! how much is possible. Spec: docs/policy.md "Extending". Threat C09.

use elevate_protocol::id::ActivationId;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use super::decision::Refusal;
use super::eligible::{Right, has_hosts, in_scope, right};
use super::facts::{FactorProof, Request};
use super::reason::{Asked, EndsWith, Reason, Standing, Support, TimeFault};
use super::request::{ExtendAsk, extension_digest};
use super::{fresh, is_ahead};
use crate::policy::role::Factor;
use crate::policy::role_digest::{RoleDigest, role_digest};
use crate::policy::{HARD_CAP, Policy};

/// What is known of a grant that is to last longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendFacts {
    /// The request that it was granted for.
    pub request: Request,
    /// The role digest that it was granted with.
    pub role_digest: RoleDigest,
    /// When it started.
    pub started_at: Timestamp,
    /// Its end as it is.
    pub not_after: Timestamp,
    /// How much longer.
    pub by: Span,
    /// Why.
    pub reason: Option<UntrustedText>,
    /// The latest factor checked for [`crate::extension_digest`] of [`ExtendFacts::ask`].
    pub factor: Option<FactorProof>,
}

impl ExtendFacts {
    /// What the factor is asked for.
    #[must_use]
    pub fn ask(&self) -> ExtendAsk {
        ExtendAsk {
            cluster: self.request.cluster,
            activation: self.request.activation,
            not_after: self.not_after,
            by: self.by,
            reason: self.reason.clone(),
        }
    }
}

/// The proof that a grant may last longer. Built by [`extend`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    activation: ActivationId,
    not_after: Timestamp,
    not_after_most: Timestamp,
    reasons: Vec<Reason>,
}

impl Extension {
    /// The grant.
    #[must_use]
    pub fn activation(&self) -> ActivationId {
        self.activation
    }

    /// The new first second that is too late.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The latest end that further extensions can reach.
    #[must_use]
    pub fn not_after_most(&self) -> Timestamp {
        self.not_after_most
    }

    /// What was found.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

/// Decides whether a grant may last longer: it lives, the right still holds on every host, the role is the one
/// that was granted, the new end lies within the role's maximum from the start and within the right, and a fresh
/// factor was checked for exactly this. No new approvals.
///
/// # Errors
/// The [`Refusal`]; a missing factor is one of code `factor`, after everything else was found good.
pub fn extend(policy: &Policy, facts: &ExtendFacts, now: Timestamp) -> Result<Extension, Refusal> {
    let mut found = Vec::new();
    match judge(policy, facts, now, &mut found) {
        Ok((not_after, not_after_most)) => {
            let activation = facts.request.activation;
            Ok(Extension { activation, not_after, not_after_most, reasons: found })
        }
        Err(because) => Err(Refusal::new(found, because)),
    }
}

fn judge(
    policy: &Policy,
    facts: &ExtendFacts,
    now: Timestamp,
    found: &mut Vec<Reason>,
) -> Result<(Timestamp, Timestamp), Reason> {
    let request = &facts.request;
    if is_ahead(facts.started_at, now) {
        return Err(TimeFault::ClockWentBack { at: facts.started_at }.into());
    }
    if now >= facts.not_after {
        return Err(TimeFault::GrantOver { at: facts.not_after }.into());
    }
    let right = right(policy, &request.person, &request.role, now)?;
    let (person, role) = (request.person.clone(), request.role.clone());
    found.push(Support::Eligible { person, role, until: right.end.map(|(at, _)| at) }.into());
    has_hosts(right.role, &request.hosts)?;
    for host in &request.hosts {
        in_scope(right.role, host)?;
    }
    // The grant carries the sudo part of then; a role that has changed is not carried on.
    if role_digest(policy, &request.role, &request.person) != Some(facts.role_digest) {
        return Err(Standing::RoleChanged { role: request.role.clone() }.into());
    }
    if facts.by == Span::ZERO {
        return Err(Asked::DurationZero.into());
    }
    let (most, limit) = latest(right, facts.started_at);
    let possible = most.since(facts.not_after);
    if facts.by > possible {
        return Err(Asked::ExtensionTooLong { by: facts.by, possible, limit }.into());
    }
    let digest = extension_digest(&facts.ask()).map_err(|_| TimeFault::NoDigest)?;
    match right.role.factor {
        Factor::None => found.push(Support::FactorNotAsked { role: request.role.clone() }.into()),
        Factor::Activation | Factor::EveryUse => {
            let at = fresh(facts.factor.as_ref(), digest, now)?;
            found.push(Support::FactorFresh { at }.into());
        }
    }
    Ok((facts.not_after.after(facts.by), most))
}

/// The latest end, and what sets it.
fn latest(right: Right<'_>, started_at: Timestamp) -> (Timestamp, EndsWith) {
    let most = started_at.after(right.role.max.min(HARD_CAP));
    right.end.filter(|(at, _)| *at < most).unwrap_or((most, EndsWith::Maximum))
}
