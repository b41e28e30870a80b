//! TOML files to a [`Policy`], with every error at its place.
//!
//! In: file names and texts. Out: a policy, or all findings. Sections of all files are merged as one; a key that
//! is written twice is an error that names both places. Spec: docs/policy.md.

mod approve;
mod defaults;
pub(crate) mod finding;
mod hosts;
mod later;
mod members;
mod offline;
mod people;
mod reader;
mod roles;
mod ssh;
mod sudo;
mod suggest;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use elevate_protocol::digest::Digest;
use toml::Spanned;
use toml::de::DeTable;

use self::finding::PolicyError;
use self::members::Known;
use self::reader::{Entry, Place, Report, entries, unknown_key};
use crate::policy::Policy;

const SECTIONS: [&str; 4] = ["defaults", "people", "groups", "roles"];
/// Most files, and the longest file in bytes.
const FILES_MAX: usize = 256;
const FILE_MAX: usize = 4 * 1024 * 1024;

pub(crate) fn parse(files: &[(String, String)]) -> Result<Policy, PolicyError> {
    let mut report = Report::new(files);
    let policy = read(&mut report, files);
    // Warnings wait until there is a policy to be warned of.
    let (errors, warnings) = report.into_findings();
    match policy {
        Some(policy) if errors.is_empty() => Ok(Policy { warnings, ..policy }),
        Some(_) | None => Err(PolicyError::new(errors)),
    }
}

fn read(report: &mut Report<'_>, files: &[(String, String)]) -> Option<Policy> {
    if files.len() > FILES_MAX {
        let place = Place { file: FILES_MAX, at: 0 };
        report.error(place, format!("more than {FILES_MAX} files"), "join some of them");
        return None;
    }
    let parsed: Vec<Option<Spanned<DeTable<'_>>>> =
        files.iter().enumerate().map(|(file, (_, text))| syntax(report, file, text)).collect();
    // Names would not resolve when a file is missing: syntax first, everything else afterwards.
    let parsed: Vec<Spanned<DeTable<'_>>> = parsed.into_iter().collect::<Option<_>>()?;
    let mut sections = merge(report, &parsed);
    let mut section = |name: &str| sections.remove(name).unwrap_or_default();
    let (people, groups, roles) = (section("people"), section("groups"), section("roles"));
    let mut known = Known {
        people: people.iter().filter_map(|entry| entry.key.parse().ok()).collect(),
        groups: groups.iter().filter_map(|entry| entry.key.parse().ok()).collect(),
        members: BTreeMap::new(),
    };
    let defaults = defaults::defaults(report, section("defaults"));
    let people = people::people(report, &people, &known);
    known.members = members::groups(report, &groups, &known);
    let roles = roles::roles(report, &roles, &defaults, &known);
    let digest = digest(files)?;
    let (keys, logins, people) = (people.keys, people.logins, people.people);
    Some(Policy {
        defaults,
        people,
        groups: known.members,
        roles,
        keys,
        logins,
        warnings: Vec::new(),
        digest,
    })
}

/// Reads one file as TOML, going on after an error to find the next.
fn syntax<'t>(report: &mut Report<'_>, file: usize, text: &'t str) -> Option<Spanned<DeTable<'t>>> {
    if text.len() > FILE_MAX {
        let message = format!("the file has {} bytes, at most {FILE_MAX}", text.len());
        report.error(Place { file, at: 0 }, message, "split it into several files");
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let hint = if message.contains("duplicate key") {
            "write each key once; to name several, write a list"
        } else {
            "write key = \"value\" lines below a [section], texts between double quotes"
        };
        report.error(Place { file, at }, message, hint);
    }
    errors.is_empty().then_some(table)
}

/// Puts the sections of all files together.
fn merge<'t>(
    report: &mut Report<'_>,
    files: &'t [Spanned<DeTable<'t>>],
) -> BTreeMap<&'static str, Vec<Entry<'t>>> {
    let mut sections: BTreeMap<&'static str, BTreeMap<&'t str, Entry<'t>>> = BTreeMap::new();
    for (file, table) in files.iter().enumerate() {
        for section in entries(file, table.get_ref()) {
            let Some(name) = SECTIONS.iter().find(|name| **name == section.key) else {
                unknown_key(report, &section, &SECTIONS);
                continue;
            };
            let inside = section.value.entries(report, "write it as a [section] with keys below it");
            let merged = sections.entry(name).or_default();
            for entry in inside.unwrap_or_default() {
                if let Some(first) = merged.get(entry.key) {
                    let message = format!("{} is already at {}", entry.key, report.shown(first.key_place));
                    report.error(entry.key_place, message, "keep one of the two places");
                    continue;
                }
                merged.insert(entry.key, entry);
            }
        }
    }
    sections.into_iter().map(|(name, entries)| (name, entries.into_values().collect())).collect()
}

/// Over names and bytes of all files, each length before its bytes, so that nothing moves between two files unseen.
fn digest(files: &[(String, String)]) -> Option<Digest> {
    serde_json::to_vec(&("elevate-policy@v1", files)).ok().map(|bytes| Digest::of(&bytes))
}
