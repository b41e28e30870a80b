//! Facts, a request and the time in; a decision with its reasons out.
//!
//! In: [`Policy`], [`Facts`], now. Out: [`Decision`]. Pure: the same input gives the same decision.
//! Spec: docs/policy.md "Decisions". Everything unclear is a refusal.

pub(crate) mod approvals;
pub(crate) mod decision;
pub(crate) mod eligible;
pub(crate) mod explain;
pub(crate) mod extend;
pub(crate) mod facts;
pub(crate) mod reason;
pub(crate) mod request;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_grants;

use std::collections::BTreeSet;

use elevate_protocol::digest::Digest;
use elevate_protocol::document::Approval;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use self::approvals::Binding;
use self::decision::{Decision, Pending, Permit, PermitHost, PermitReach, Refusal};
use self::eligible::Right;
use self::facts::{FactorProof, Facts, Request};
use self::reason::{ApprovalFault, Asked, FactorFault, Reason, Support, TimeFault};
use crate::policy::nonempty::NonEmpty;
use crate::policy::role::{Factor, Reach, ReasonRule, Role};
use crate::policy::role_digest::role_digest;
use crate::policy::{HARD_CAP, Policy};

/// How long a checked factor is good for a start.
pub const FACTOR_FRESH: Span = Span(600);
/// Fewest characters of a reason, white space at both ends not counted.
pub const REASON_MIN: usize = 10;
/// How far a recorded time may lie ahead of now: a clock that was set back a little.
const SKEW: Span = Span::MINUTE;

/// Decides whether an activation may start at `now`.
///
/// In order: a denial and the age of the request; the person, the role and an entry that holds; every host in
/// scope; the duration; ticket and reason. The first that fails refuses. Then the factor and the approvals: what
/// is missing there can still come, and makes it pending.
#[must_use]
pub fn decide(policy: &Policy, facts: &Facts, now: Timestamp) -> Decision {
    let mut found = Vec::new();
    match prepare(policy, facts, now, &mut found) {
        Ok(prepared) => settle(policy, facts, now, &prepared, found),
        Err(because) => Decision::Refuse(Refusal::new(found, because)),
    }
}

/// What stands once nothing refuses.
struct Prepared<'a> {
    right: Right<'a>,
    binding: Binding<'a>,
    duration: Span,
    lapses_at: Timestamp,
}

/// Everything that waiting cannot mend.
fn prepare<'a>(
    policy: &'a Policy,
    facts: &'a Facts,
    now: Timestamp,
    found: &mut Vec<Reason>,
) -> Result<Prepared<'a>, Reason> {
    let request = &facts.request;
    if let Some(denial) = &facts.denial {
        let (by, reason) = (denial.by.clone(), denial.reason.clone());
        return Err(ApprovalFault::Denied { by, reason }.into());
    }
    let right = eligible::right(policy, &request.person, &request.role, now)?;
    let (person, role) = (request.person.clone(), request.role.clone());
    found.push(Support::Eligible { person, role, until: right.end.map(|(at, _)| at) }.into());
    let lapses_at = age(request, right.role, now)?;
    eligible::has_hosts(right.role, &request.hosts)?;
    eligible::few_enough(right.role, request)?;
    for host in &request.hosts {
        eligible::in_scope(right.role, host)?;
        found.push(Support::HostInScope { role: request.role.clone(), host: host.name.clone() }.into());
    }
    let duration = duration(request, right, now, found)?;
    words(request, right.role, found)?;
    let request_digest = request::request_digest(request).map_err(|_| TimeFault::NoDigest)?;
    let role_digest = role_digest(policy, &request.role, &request.person).ok_or(TimeFault::NoDigest)?;
    if role_digest != facts.role_digest {
        found.push(Support::RoleChanged { role: request.role.clone() }.into());
    }
    let binding =
        Binding { requester: &request.person, role: right.role, request: request_digest, role_digest, now };
    Ok(Prepared { right, binding, duration, lapses_at })
}

/// When the request lapses, unless it has.
fn age(request: &Request, role: &Role, now: Timestamp) -> Result<Timestamp, TimeFault> {
    if is_ahead(request.asked_at, now) {
        return Err(TimeFault::ClockWentBack { at: request.asked_at });
    }
    let at = request.asked_at.after(role.pending);
    if now >= at { Err(TimeFault::Lapsed { at }) } else { Ok(at) }
}

/// Whether a recorded time lies further ahead of now than clocks differ.
fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at > now.after(SKEW)
}

/// What was asked or the default, within the maximum, cut at the end of the right (threat C09).
fn duration(
    request: &Request,
    right: Right<'_>,
    now: Timestamp,
    found: &mut Vec<Reason>,
) -> Result<Span, Asked> {
    let role = right.role;
    let most = role.max.min(HARD_CAP);
    let asked = request.duration.unwrap_or(role.duration);
    if asked == Span::ZERO {
        return Err(Asked::DurationZero);
    }
    if asked > most {
        return Err(Asked::DurationTooLong { role: role.name.clone(), asked, most });
    }
    match right.end {
        Some((at, by)) if at.since(now) < asked => {
            let to = at.since(now);
            found.push(Support::Shortened { asked, to, by }.into());
            Ok(to)
        }
        Some(_) | None => Ok(asked),
    }
}

/// Ticket and reason. A ticket is looked at wherever the role has a pattern, and then stands for a reason.
fn words(request: &Request, role: &Role, found: &mut Vec<Reason>) -> Result<(), Asked> {
    let name = || role.name.clone();
    let mut ticket_fits = false;
    if let Some(rule) = &role.ticket {
        let pattern = || rule.pattern.as_str().to_owned();
        match &request.ticket {
            Some(ticket) if rule.pattern.matches(ticket.raw()) => ticket_fits = true,
            Some(_) => return Err(Asked::TicketForm { role: name(), pattern: pattern() }),
            None if rule.required => return Err(Asked::TicketMissing { role: name(), pattern: pattern() }),
            None => {}
        }
    }
    if ticket_fits {
        found.push(Support::TicketFits { role: name() }.into());
        return Ok(());
    }
    let given = request.reason.as_ref().map_or(0, characters);
    match role.reason {
        ReasonRule::Optional => Ok(()),
        ReasonRule::Required if given >= REASON_MIN => Ok(()),
        ReasonRule::Required if given == 0 => Err(Asked::ReasonMissing { role: name(), least: REASON_MIN }),
        ReasonRule::Required => Err(Asked::ReasonTooShort { role: name(), found: given, least: REASON_MIN }),
    }
}

fn characters(text: &UntrustedText) -> usize {
    text.raw().trim().chars().count()
}

/// Factor and approvals, then the permit or what is missing.
fn settle(
    policy: &Policy,
    facts: &Facts,
    now: Timestamp,
    prepared: &Prepared<'_>,
    mut found: Vec<Reason>,
) -> Decision {
    let Prepared { right, binding, duration, lapses_at } = *prepared;
    let factor = match factor(right.role, facts.factor.as_ref(), binding.request, now) {
        Ok(support) => {
            found.push(support.into());
            true
        }
        Err(fault) => {
            found.push(fault.into());
            false
        }
    };
    let (needs, mut counted) = approvals::count(policy, binding, &facts.approvals);
    if needs.is_empty() {
        found.push(Support::NobodyAsked { role: right.role.name.clone() }.into());
    }
    found.append(&mut counted);
    let pending = Pending {
        factor: !factor,
        needs,
        lapses_at,
        request_digest: binding.request,
        role_digest: binding.role_digest,
        reasons: found,
    };
    match reach(right.role, &facts.request) {
        Some(reach) if factor && pending.is_approved() => {
            Decision::Permit(Box::new(permit(facts, (right, reach), (now, duration), pending)))
        }
        Some(_) | None => Decision::Pending(pending),
    }
}

/// Whether the factor counts: checked for exactly this request (threat D06), lately, not in the future.
fn factor(
    role: &Role,
    proof: Option<&FactorProof>,
    request: Digest,
    now: Timestamp,
) -> Result<Support, FactorFault> {
    match role.factor {
        Factor::None => Ok(Support::FactorNotAsked { role: role.name.clone() }),
        Factor::Activation | Factor::EveryUse => {
            fresh(proof, request, now).map(|at| Support::FactorFresh { at })
        }
    }
}

/// When the factor for `bound_to` was checked, if it was and is fresh.
fn fresh(proof: Option<&FactorProof>, bound_to: Digest, now: Timestamp) -> Result<Timestamp, FactorFault> {
    let proof = proof.ok_or(FactorFault::Missing)?;
    let at = proof.checked_at;
    if proof.bound_to != bound_to {
        return Err(FactorFault::Elsewhere);
    }
    if is_ahead(at, now) {
        return Err(FactorFault::Ahead { at });
    }
    if now.since(at) > FACTOR_FRESH {
        return Err(FactorFault::Old { at });
    }
    Ok(at)
}

/// Builds the one proof that an activation may start. Nothing is missing in `settled`.
fn permit(
    facts: &Facts,
    (right, reach): (Right<'_>, PermitReach),
    (now, duration): (Timestamp, Span),
    settled: Pending,
) -> Permit {
    let Right { person, role, end } = right;
    let most = now.after(role.max.min(HARD_CAP));
    let approvals: BTreeSet<(Timestamp, elevate_protocol::name::Name)> =
        settled.needs.into_iter().flat_map(|need| need.approved).map(|a| (a.at, a.person)).collect();
    Permit {
        activation: facts.request.activation,
        person: person.name.clone(),
        login: person.login.clone(),
        role: role.name.clone(),
        reach,
        starts_at: now,
        duration,
        not_after_most: end.map_or(most, |(at, _)| at.min(most)),
        warn: role.warn.iter().copied().filter(|warn| *warn < duration).collect(),
        factor: role.factor,
        lease: role.lease,
        request_digest: settled.request_digest,
        role_digest: settled.role_digest,
        approvals: approvals.into_iter().map(|(at, person)| Approval { person, at }).collect(),
        reasons: settled.reasons,
    }
}

/// What the permit gives, with each host once, by id. None: commands without a host, which `prepare` has refused.
fn reach(role: &Role, request: &Request) -> Option<PermitReach> {
    match &role.reach {
        Reach::Daemon { admin } => Some(PermitReach::Daemon { admin: admin.clone() }),
        Reach::Hosts { sudo, ssh, .. } => {
            let mut hosts: Vec<PermitHost> = request
                .hosts
                .iter()
                .map(|host| PermitHost { id: host.id, name: host.name.clone() })
                .collect();
            hosts.sort();
            hosts.dedup_by_key(|host| host.id);
            let (sudo, ssh) = (sudo.clone(), ssh.clone());
            NonEmpty::from_vec(hosts).map(|hosts| PermitReach::Hosts { hosts, sudo, ssh })
        }
    }
}
