//! The hosts of a role: labels that must match, and name patterns.
//!
//! In: `hosts = { tier = "web", env = ["prod", "stage"], names = ["web*"] }`. Out: [`HostScope`].
//! Spec: docs/policy.md "hosts". Threat C10.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::name::Name;

use super::reader::{Item, Report, name};
use crate::policy::scope::{Glob, HostScope};

const FORM: &str = "write { tier = \"web\", env = [\"prod\", \"stage\"] } or { names = [\"web*\"] }";

/// Reads the scope; one that says nothing is an error.
pub(super) fn hosts(report: &mut Report<'_>, item: Item<'_>) -> Option<HostScope> {
    let entries = item.entries(report, FORM)?;
    if entries.is_empty() {
        let hint = "write which hosts; for every host write names = [\"*\"], which says it out loud";
        report.error(item.place, "no label and no name here would be every host", hint);
        return None;
    }
    let mut scope = HostScope { labels: BTreeMap::new(), names: Vec::new() };
    let mut good = true;
    for entry in entries {
        if entry.key == "names" {
            match names(report, entry.value) {
                Some(names) => scope.names = names,
                None => good = false,
            }
            continue;
        }
        match (name(report, entry.key, entry.key_place), values(report, entry.value)) {
            (Some(label), Some(values)) => {
                scope.labels.insert(label, values);
            }
            (None, _) | (_, None) => good = false,
        }
    }
    good.then_some(scope)
}

fn values(report: &mut Report<'_>, item: Item<'_>) -> Option<BTreeSet<Name>> {
    let items = one_or_more(report, item)?;
    let values: Vec<Option<Name>> = items.iter().map(|item| item.name(report)).collect();
    values.into_iter().collect()
}

fn names(report: &mut Report<'_>, item: Item<'_>) -> Option<Vec<Glob>> {
    let items = one_or_more(report, item)?;
    let globs: Vec<Option<Glob>> = items.iter().map(|item| glob(report, *item)).collect();
    globs.into_iter().collect()
}

fn glob(report: &mut Report<'_>, item: Item<'_>) -> Option<Glob> {
    let text = item.text(report)?;
    let glob = Glob::parse(text);
    if glob.is_none() {
        let message = format!("{text:?} is no host name or pattern");
        let hint = "write a name in which * stands for any letters; several as a list: [\"web*\", \"db1\"]";
        report.error(item.place, message, hint);
    }
    glob
}

/// A text alone is a list of one.
fn one_or_more<'t>(report: &mut Report<'_>, item: Item<'t>) -> Option<Vec<Item<'t>>> {
    if item.as_str().is_some() {
        return Some(vec![item]);
    }
    item.filled_list(report, "name at least one value, or leave the key out")
}
