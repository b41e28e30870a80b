//! Which approvals count, for which rule, and who may still give one.
//!
//! In: the role's rules, recorded approvals, the time. Out: [`Need`]s, approvals set against them.
//! Threats C01, C03, C04, C06. One person counts for one rule only: two rules ask for two heads.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::Approval;
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;

use super::decision::Need;
use super::facts::{RecordedApproval, Request};
use super::is_ahead;
use super::reason::{ApprovalFault, Reason, Standing, Support};
use crate::policy::Policy;
use crate::policy::role::Role;
use crate::policy::role_digest::RoleDigest;

/// What approvals are compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding<'a> {
    pub(super) requester: &'a Name,
    pub(super) role: &'a Role,
    pub(super) request: Digest,
    pub(super) role_digest: RoleDigest,
    pub(super) now: Timestamp,
}

/// The rules of a role for a requester, nothing approved yet.
pub(super) fn rule_needs(policy: &Policy, role: &Role, requester: &Name, now: Timestamp) -> Vec<Need> {
    let rules = role.approve.iter().map(|rule| {
        let mut of = policy.resolve(rule.of.iter());
        of.remove(requester);
        of.retain(|name| policy.person(name).is_some_and(|person| !person.is_over(now)));
        Need {
            need: rule.need.get(),
            of: of.into_iter().collect(),
            approved: Vec::new(),
            within: rule.within,
        }
    });
    rules.collect()
}

/// The rules of a role for a requester at this time, nothing approved yet: what `list` and `can-i` show.
#[must_use]
pub fn needs(policy: &Policy, role: &Name, requester: &Name, now: Timestamp) -> Vec<Need> {
    policy.role(role).map(|role| rule_needs(policy, role, requester, now)).unwrap_or_default()
}

/// Sets the recorded approvals against the rules. Each approval leaves one reason, for or against.
pub(super) fn count(
    policy: &Policy,
    binding: Binding<'_>,
    approvals: &[RecordedApproval],
) -> (Vec<Need>, Vec<Reason>) {
    let mut needs = rule_needs(policy, binding.role, binding.requester, binding.now);
    let mut reasons: Vec<Reason> = Vec::new();
    let mut given: BTreeMap<&Name, Timestamp> = BTreeMap::new();
    for approval in approvals {
        match usable(binding, approval, &needs) {
            // The latest of one person counts, once (threat C04).
            Ok(()) => {
                let at = given.entry(&approval.approver).or_insert(approval.at);
                *at = approval.at.max(*at);
            }
            Err(fault) => reasons.push(fault.into()),
        }
    }
    assign(&mut needs, &given, binding.now);
    let approved = needs.iter().flat_map(|need| &need.approved);
    reasons.extend(approved.map(|a| Support::Approved { by: a.person.clone(), at: a.at }.into()));
    reasons.extend(needs.iter().filter(|need| need.missing() > 0).map(still_missing));
    (needs, reasons)
}

fn still_missing(need: &Need) -> Reason {
    let has = |name: &&Name| !need.approved.iter().any(|approval| approval.person == **name);
    let of = need.of.iter().filter(has).cloned().collect();
    ApprovalFault::TooFew { missing: need.missing(), of }.into()
}

/// Whether an approval may count for some rule.
fn usable(binding: Binding<'_>, approval: &RecordedApproval, needs: &[Need]) -> Result<(), ApprovalFault> {
    let by = approval.approver.clone();
    if by == *binding.requester {
        return Err(ApprovalFault::Own { by });
    }
    if approval.request != binding.request {
        return Err(ApprovalFault::Elsewhere { by });
    }
    if approval.role != binding.role_digest {
        return Err(ApprovalFault::Void { by });
    }
    let mut rules = needs.iter().filter(|need| need.of.contains(&by)).peekable();
    if rules.peek().is_none() {
        return Err(ApprovalFault::NotEntitled { by, role: binding.role.name.clone() });
    }
    if !rules.any(|need| is_live(need, approval.at, binding.now)) {
        return Err(ApprovalFault::Old { by, at: approval.at });
    }
    Ok(())
}

/// Whether an approval of that time still counts for the rule. One of the future does not.
fn is_live(need: &Need, at: Timestamp, now: Timestamp) -> bool {
    !is_ahead(at, now) && now < at.after(need.within)
}

/// Gives each person to at most one rule so that as many places as possible are filled: augmenting paths
/// (Kuhn's method), since the first rule that fits may take the one person whom another needs.
fn assign(needs: &mut [Need], given: &BTreeMap<&Name, Timestamp>, now: Timestamp) {
    let places: Vec<usize> = needs
        .iter()
        .enumerate()
        .flat_map(|(rule, need)| {
            let most = usize::try_from(need.need).unwrap_or(usize::MAX).min(need.of.len());
            std::iter::repeat_n(rule, most)
        })
        .collect();
    let fits: Vec<BTreeSet<&Name>> = needs
        .iter()
        .map(|need| {
            let live = given.iter().filter(|(name, at)| need.of.contains(**name) && is_live(need, **at, now));
            live.map(|(name, _)| *name).collect()
        })
        .collect();
    let mut holder: BTreeMap<&Name, usize> = BTreeMap::new();
    for place in 0..places.len() {
        fill(place, &places, &fits, &mut holder, &mut BTreeSet::new());
    }
    let seats: Vec<(Approval, usize)> = holder
        .into_iter()
        .filter_map(|(name, place)| {
            let rule = places.get(place)?;
            Some((Approval { person: name.clone(), at: *given.get(name)? }, *rule))
        })
        .collect();
    for (approval, rule) in seats {
        if let Some(need) = needs.get_mut(rule) {
            need.approved.push(approval);
        }
    }
}

/// Fills one place, moving people between places where that helps. Depth is at most the number of people tried.
fn fill<'a>(
    place: usize,
    places: &[usize],
    fits: &[BTreeSet<&'a Name>],
    holder: &mut BTreeMap<&'a Name, usize>,
    tried: &mut BTreeSet<&'a Name>,
) -> bool {
    let people = places.get(place).and_then(|rule| fits.get(*rule));
    for name in people.into_iter().flatten() {
        if !tried.insert(*name) {
            continue;
        }
        let moved = match holder.get(*name).copied() {
            None => true,
            Some(other) => fill(other, places, fits, holder, tried),
        };
        if moved {
            holder.insert(*name, place);
            return true;
        }
    }
    false
}

/// Whether a person may approve or deny a request at this time: somebody of one of the role's rules, never the
/// requester (threat C01), not past their own end.
///
/// # Errors
/// The [`Reason`] why not.
pub fn may_decide(policy: &Policy, approver: &Name, request: &Request, now: Timestamp) -> Result<(), Reason> {
    let by = approver.clone();
    let Some(person) = policy.person(approver) else {
        return Err(Standing::UnknownPerson { person: by }.into());
    };
    if let Some(until) = person.until.filter(|_| person.is_over(now)) {
        return Err(Standing::PersonOver { person: by, until }.into());
    }
    if *approver == request.person {
        return Err(ApprovalFault::Own { by }.into());
    }
    let Some(role) = policy.role(&request.role) else {
        return Err(Standing::UnknownRole { role: request.role.clone() }.into());
    };
    if role.approve.is_empty() {
        return Err(ApprovalFault::NothingToDecide { role: role.name.clone() }.into());
    }
    let named = role.approve.iter().any(|rule| rule.of.iter().any(|m| policy.is_member(approver, m)));
    if named { Ok(()) } else { Err(ApprovalFault::NotEntitled { by, role: role.name.clone() }.into()) }
}
