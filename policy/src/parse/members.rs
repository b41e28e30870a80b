//! `"alice"` and `"@web-admins"`: references to people and groups that must exist, and groups without cycles.
//!
//! In: texts. Out: [`Member`]s that resolve. Spec: docs/policy.md "[groups]". Threat C03.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::name::Name;

use super::reader::{Entry, Item, Place, Report, name};
use super::suggest::suggest;
use crate::policy::Member;

/// The names that may be referred to.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) people: BTreeSet<Name>,
    pub(super) groups: BTreeSet<Name>,
    /// Who is in which group, once that is read.
    pub(super) members: BTreeMap<Name, Vec<Member>>,
}

impl Known {
    /// A person or a group, as written: `@name` is a group.
    pub(super) fn member(&self, report: &mut Report<'_>, item: Item<'_>) -> Option<Member> {
        let text = item.text(report)?;
        match text.strip_prefix('@') {
            Some(group) => self.group(report, group, item.place).map(Member::Group),
            None => self.person(report, text, item.place).map(Member::Person),
        }
    }

    pub(super) fn person(&self, report: &mut Report<'_>, text: &str, place: Place) -> Option<Name> {
        let wanted = name(report, text, place)?;
        if self.people.contains(&wanted) {
            return Some(wanted);
        }
        let hint = if self.groups.contains(&wanted) {
            format!("{wanted} is a group: write \"@{wanted}\"")
        } else {
            did_you_mean(text, &self.people, "add it to [people]")
        };
        report.error(place, format!("there is no person {text:?}"), hint);
        None
    }

    pub(super) fn group(&self, report: &mut Report<'_>, text: &str, place: Place) -> Option<Name> {
        let wanted = name(report, text, place)?;
        if self.groups.contains(&wanted) {
            return Some(wanted);
        }
        let hint = if self.people.contains(&wanted) {
            format!("{wanted} is a person: write \"{wanted}\" without @")
        } else {
            did_you_mean(text, &self.groups, "add it to [groups]")
        };
        report.error(place, format!("there is no group {text:?}"), hint);
        None
    }
}

fn did_you_mean(text: &str, names: &BTreeSet<Name>, otherwise: &str) -> String {
    match suggest(text, names.iter().map(Name::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => otherwise.to_owned(),
    }
}

/// Reads `[groups]` and refuses cycles.
pub(super) fn groups(
    report: &mut Report<'_>,
    section: &[Entry<'_>],
    known: &Known,
) -> BTreeMap<Name, Vec<Member>> {
    let mut groups = BTreeMap::new();
    let mut places = BTreeMap::new();
    for entry in section {
        let Some(group) = name(report, entry.key, entry.key_place) else { continue };
        let hint = "name people, or other groups as \"@name\"; or leave the group out";
        let Some(items) = entry.value.filled_list(report, hint) else { continue };
        let mut members: Vec<Member> = items.iter().filter_map(|item| known.member(report, *item)).collect();
        members.sort();
        members.dedup();
        places.insert(group.clone(), entry.key_place);
        groups.insert(group, members);
    }
    if let Some(cycle) = cycle(&groups) {
        let place = cycle.first().and_then(|first| places.get(first)).copied();
        let way: Vec<String> = cycle.iter().chain(cycle.first()).map(|group| format!("@{group}")).collect();
        if let Some(place) = place {
            let message = format!("these groups contain each other: {}", way.join(" > "));
            report.error(place, message, "take one of them out of the other");
        }
    }
    groups
}

/// One cycle, if there is any: groups without open members are taken away until none is left or only such as lead
/// into a cycle. No recursion, whatever the depth.
fn cycle(groups: &BTreeMap<Name, Vec<Member>>) -> Option<Vec<Name>> {
    let inner = |members: &[Member]| -> BTreeSet<Name> {
        let groups = members.iter().filter_map(|member| match member {
            Member::Group(name) => Some(name.clone()),
            Member::Person(_) => None,
        });
        groups.collect()
    };
    let mut open: BTreeMap<Name, BTreeSet<Name>> =
        groups.iter().map(|(name, members)| (name.clone(), inner(members))).collect();
    let mut used_by: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for (name, inside) in &open {
        for other in inside {
            used_by.entry(other.clone()).or_default().push(name.clone());
        }
    }
    let mut done: Vec<Name> = open.iter().filter(|(_, i)| i.is_empty()).map(|(n, _)| n.clone()).collect();
    while let Some(name) = done.pop() {
        open.remove(&name);
        for outer in used_by.get(&name).into_iter().flatten() {
            if let Some(inside) = open.get_mut(outer) {
                inside.remove(&name);
                if inside.is_empty() {
                    done.push(outer.clone());
                }
            }
        }
    }
    let mut way: Vec<Name> = vec![open.keys().next()?.clone()];
    loop {
        let next = open.get(way.last()?)?.iter().find(|inner| open.contains_key(*inner))?.clone();
        if let Some(start) = way.iter().position(|seen| *seen == next) {
            return Some(way.split_off(start));
        }
        way.push(next);
    }
}
