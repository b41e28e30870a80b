//! Who may activate what, where, at a time.
//!
//! In: the policy, a person, hosts, the time. Out: the standing right and its end, or why there is none.
//! Spec: docs/policy.md "Decisions". Threats C03, C07.

use std::collections::BTreeMap;

use elevate_protocol::name::{Login, Name};
use elevate_protocol::time::Timestamp;

use super::approvals::rule_needs;
use super::decision::Need;
use super::facts::{HostFacts, Request};
use super::reason::{EndsWith, Reason, Standing};
use crate::policy::Policy;
use crate::policy::person::Person;
use crate::policy::role::{Eligibility, Reach, Role};

/// A person's right to activate a role at a time. Holding one is the proof that both exist and that an entry holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) person: &'a Person,
    pub(super) role: &'a Role,
    /// The first second in which the right is gone, and what goes.
    pub(super) end: Option<(Timestamp, EndsWith)>,
}

/// Looks for the right: the person, the role, an entry that names the person and holds.
pub(super) fn right<'a>(
    policy: &'a Policy,
    person: &Name,
    role: &Name,
    now: Timestamp,
) -> Result<Right<'a>, Standing> {
    let entry = policy.person(person).ok_or_else(|| Standing::UnknownPerson { person: person.clone() })?;
    if let Some(until) = entry.until.filter(|_| entry.is_over(now)) {
        return Err(Standing::PersonOver { person: person.clone(), until });
    }
    let role = policy.role(role).ok_or_else(|| Standing::UnknownRole { role: role.clone() })?;
    let mine: Vec<&Eligibility> = role.who.iter().filter(|e| policy.is_member(person, &e.who)).collect();
    if mine.is_empty() {
        return Err(Standing::NotEligible { person: person.clone(), role: role.name.clone() });
    }
    if !mine.iter().any(|e| e.holds(now)) {
        return Err(outside(&mine, role, now, person));
    }
    let until = last_end(&mine, now).map(|at| (at, EndsWith::Eligibility));
    let end = entry.until.map(|at| (at, EndsWith::Person)).into_iter().chain(until).min_by_key(|(at, _)| *at);
    Ok(Right { person: entry, role, end })
}

/// The end of the time that entries cover without a gap from now on. None: without end.
fn last_end(entries: &[&Eligibility], now: Timestamp) -> Option<Timestamp> {
    let mut end = now;
    loop {
        let holding: Vec<&&Eligibility> = entries.iter().filter(|e| e.holds(end)).collect();
        if holding.is_empty() {
            return Some(end);
        }
        // `holds` at `end` means that each of these ends later, so this comes to an end.
        end = holding.iter().map(|e| e.until).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    }
}

/// Why no entry holds: one that begins later is told before one that is over.
fn outside(entries: &[&Eligibility], role: &Role, now: Timestamp, person: &Name) -> Standing {
    let role = role.name.clone();
    let later = entries.iter().filter_map(|e| e.from).filter(|from| *from > now).min();
    let over = entries.iter().filter_map(|e| e.until).filter(|until| *until <= now).max();
    match (later, over) {
        (Some(from), _) => Standing::NotYet { role, from },
        (None, Some(until)) => Standing::EligibilityOver { role, until },
        (None, None) => Standing::NotEligible { person: person.clone(), role },
    }
}

/// Not more hosts at once than the role says.
///
/// # Errors
/// [`Standing::TooManyHosts`].
pub(super) fn few_enough(role: &Role, request: &Request) -> Result<(), Standing> {
    let asked = request.hosts.len();
    match role.max_hosts {
        Some(most) if u32::try_from(asked).map_or(true, |asked| asked > most.get()) => {
            Err(Standing::TooManyHosts { role: role.name.clone(), asked, most: most.get() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Commands need a host to run on; administering Elevate has none.
pub(super) fn has_hosts(role: &Role, hosts: &[HostFacts]) -> Result<(), Standing> {
    match (&role.reach, hosts) {
        (Reach::Hosts { .. }, []) => Err(Standing::NoHost { role: role.name.clone() }),
        (Reach::Daemon { .. }, [_, ..]) => Err(Standing::HasNoHosts { role: role.name.clone() }),
        (Reach::Hosts { .. }, [_, ..]) | (Reach::Daemon { .. }, []) => Ok(()),
    }
}

/// Whether the host is in the role's scope.
pub(super) fn in_scope(role: &Role, host: &HostFacts) -> Result<(), Standing> {
    role.covers(host).map_err(|(wants, has)| Standing::HostOutOfScope {
        role: role.name.clone(),
        host: host.name.clone(),
        wants,
        has,
    })
}

/// Whether an active grant may go on after the policy, the time or the hosts' labels changed (threat C07).
///
/// # Errors
/// The first [`Reason`] why not.
pub fn still_eligible(
    policy: &Policy,
    person: &Name,
    role: &Name,
    hosts: &[HostFacts],
    now: Timestamp,
) -> Result<(), Reason> {
    let right = right(policy, person, role, now)?;
    has_hosts(right.role, hosts)?;
    for host in hosts {
        in_scope(right.role, host)?;
    }
    Ok(())
}

/// A role that a person may activate at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EligibleRole<'a> {
    /// The role.
    pub role: &'a Role,
    /// First second in which the right is gone; none: no end.
    pub until: Option<Timestamp>,
    /// The rules of approval for this person.
    pub needs: Vec<Need>,
}

/// Every role that the person may activate at this time, by name; hosts are not looked at.
#[must_use]
pub fn eligible_roles<'a>(policy: &'a Policy, person: &Name, now: Timestamp) -> Vec<EligibleRole<'a>> {
    let mine = policy.roles().filter_map(|role| right(policy, person, &role.name, now).ok());
    mine.map(|right| EligibleRole {
        role: right.role,
        until: right.end.map(|(at, _)| at),
        needs: rule_needs(policy, right.role, person, now),
    })
    .collect()
}

/// What a host offers: every login that may activate something on it at this time, with the roles, by name. The same as
/// [`roles_for_login`] of everybody, found from the roles: a host has few of them, the policy many people.
#[must_use]
pub fn offers(policy: &Policy, host: &HostFacts, now: Timestamp) -> BTreeMap<Login, Vec<Name>> {
    let mut offers: BTreeMap<Login, Vec<Name>> = BTreeMap::new();
    for role in policy.roles().filter(|role| role.covers(host).is_ok()) {
        let holding = role.who.iter().filter(|entry| entry.holds(now)).map(|entry| &entry.who);
        for name in policy.resolve(holding) {
            if let Some(person) = policy.person(&name).filter(|person| !person.is_over(now)) {
                offers.entry(person.login.clone()).or_default().push(role.name.clone());
            }
        }
    }
    offers
}

/// The roles that whoever has this login may activate on this host at this time, by name: what a host offers.
#[must_use]
pub fn roles_for_login<'a>(
    policy: &'a Policy,
    login: &Login,
    host: &HostFacts,
    now: Timestamp,
) -> Vec<EligibleRole<'a>> {
    let Some(person) = policy.person_by_login(login) else { return Vec::new() };
    let mut roles = eligible_roles(policy, &person.name, now);
    roles.retain(|eligible| eligible.role.covers(host).is_ok());
    roles
}

#[cfg(test)]
mod tests {
    use crate::fixture::{NOW, db1, facts, host, policy_with, refusal, request};
    use crate::{Decision, decide};

    #[test]
    fn c10_a_role_for_few_hosts_at_once_refuses_more() {
        let db = |id: u8| host(id, &format!("db{id}"), &[("tier", "db"), ("env", "prod")]);
        let policy = policy_with("[roles.dba]\n", "[roles.dba]\nmax_hosts = 2\n");
        let mut asked = request("alice", "dba", db1());
        asked.hosts = vec![db(2), db(3)];
        assert!(matches!(decide(&policy, &facts(&policy, asked.clone()), NOW), Decision::Pending(_)));
        asked.hosts = vec![db(2), db(3), db(4)];
        let refused = refusal(&policy, &facts(&policy, asked), NOW);
        assert_eq!(refused.to_string(), "dba is for at most 2 hosts at once, this names 3");
        assert!(policy.show_effective().contains("\nmax_hosts = 2\n"));
    }

    #[test]
    fn a_role_for_no_host_at_once_is_an_error() {
        let text = crate::fixture::MAIN.replace("[roles.dba]\n", "[roles.dba]\nmax_hosts = 0\n");
        assert!(crate::fixture::parse(&text).unwrap_err().contains("max_hosts is at least 1"));
    }
}
