//! `policy diff`: what another policy changes, key by key, with every default written out on both sides.
//!
//! In: two policies. Out: text; lines that begin with `-` are what goes, with `+` what comes. Nothing changed: no text. A default that
//! changes shows in every role that it reaches. Spec: docs/cli.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One section of the effective text: its keys and lines.
type Section<'a> = BTreeMap<&'a str, &'a str>;

/// The changes from one effective text to another.
pub(super) fn diff(before: &str, after: &str) -> String {
    let (before, after) = (sections(before), sections(after));
    let mut out = String::new();
    let mut names: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) => changed(&mut out, name, old, new),
            (Some(old), None) => whole(&mut out, '-', name, old),
            (None, Some(new)) => whole(&mut out, '+', name, new),
            (None, None) => {}
        }
    }
    out
}

/// A section that comes or goes as a whole.
fn whole(out: &mut String, sign: char, name: &str, section: &Section<'_>) {
    line(out, sign, name);
    section.values().for_each(|text| line(out, sign, text));
}

fn changed(out: &mut String, name: &str, old: &Section<'_>, new: &Section<'_>) {
    let mut keys: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| old.get(key) != new.get(key));
    if keys.is_empty() {
        return;
    }
    line(out, ' ', name);
    for key in keys {
        for (sign, side) in [('-', old), ('+', new)] {
            if let Some(text) = side.get(key) {
                line(out, sign, text);
            }
        }
    }
}

fn line(out: &mut String, sign: char, text: &str) {
    // Writing to a String does not fail.
    writeln!(out, "{sign} {text}").unwrap_or_default();
}

/// The effective text has one line for each key and no line inside a value.
fn sections(text: &str) -> BTreeMap<&str, Section<'_>> {
    let mut all: BTreeMap<&str, Section<'_>> = BTreeMap::new();
    let mut name = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            name = line;
            all.entry(name).or_default();
        } else {
            let key = line.split(" = ").next().unwrap_or(line);
            all.entry(name).or_default().insert(key, line);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "[people]\nalice = { until = 2026-12-31 }\nbob = {}\n\n[roles.dba]\nmax = \"8h\"\nwho = [\"alice\"]\n\n[roles.old]\nmax = \"1h\"\n";

    #[test]
    fn what_changes_is_told_key_by_key_and_sections_as_a_whole() {
        assert_eq!(diff(BEFORE, BEFORE), "");
        let after = BEFORE
            .replace("max = \"8h\"", "max = \"4h\"")
            .replace("bob = {}\n", "carol = {}\n")
            .replace("[roles.old]\nmax = \"1h\"\n", "[roles.new]\nmax = \"2h\"\n");
        assert_eq!(
            diff(BEFORE, &after),
            "  [people]\n- bob = {}\n+ carol = {}\n  [roles.dba]\n- max = \"8h\"\n+ max = \"4h\"\n+ [roles.new]\n+ max = \"2h\"\n- [roles.old]\n- max = \"1h\"\n"
        );
    }
}
