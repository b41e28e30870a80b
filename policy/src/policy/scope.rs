//! The hosts that a role is for, by labels and by names.
//!
//! In: what `parse` checked, and what the daemon knows of a host. Out: in scope, or what does not match.
//! Spec: docs/policy.md "hosts". Threat C10: a selector is never rendered; the request names explicit ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use elevate_protocol::name::Name;
use serde::Serialize;

use crate::decide::facts::HostFacts;

/// Labels that must all match, and names of which one must match. At least one of both is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HostScope {
    /// Label to the values that it may have.
    pub labels: BTreeMap<Name, BTreeSet<Name>>,
    /// Patterns; none: any name.
    pub names: Vec<Glob>,
}

impl HostScope {
    /// Whether the host is in scope.
    ///
    /// # Errors
    /// What the role is for and what the host has, in words: `tier=web` and `tier=db`.
    pub fn covers(&self, host: &HostFacts) -> Result<(), (String, String)> {
        // A scope that says nothing would be every host; parse refuses it, and so does this.
        if self.labels.is_empty() && self.names.is_empty() {
            return Err(("no host".to_owned(), host.name.to_string()));
        }
        for (label, values) in &self.labels {
            let has = host.labels.get(label);
            if !has.is_some_and(|value| values.contains(value)) {
                let has = has.map_or_else(|| format!("no {label}"), |value| format!("{label}={value}"));
                return Err((one_label(label, values), has));
            }
        }
        if !self.names.is_empty() && !self.names.iter().any(|glob| glob.matches(host.name.as_str())) {
            let wants: Vec<&str> = self.names.iter().map(Glob::as_str).collect();
            return Err((format!("names {}", wants.join(", ")), format!("the name {}", host.name)));
        }
        Ok(())
    }
}

fn one_label(label: &Name, values: &BTreeSet<Name>) -> String {
    let values: Vec<&str> = values.iter().map(Name::as_str).collect();
    format!("{label}={}", values.join("|"))
}

impl fmt::Display for HostScope {
    /// `tier=web, env=prod|stage, names web*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.labels.iter().map(|(l, v)| one_label(l, v)).collect();
        if !self.names.is_empty() {
            let names: Vec<&str> = self.names.iter().map(Glob::as_str).collect();
            parts.push(format!("names {}", names.join(" ")));
        }
        f.write_str(&parts.join(", "))
    }
}

/// A host name in which `*` stands for any letters, none too. Nothing else is special.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// The pattern, when it is made of letters of names and `*` and is no longer than a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=elevate_protocol::name::NAME_MAX).contains(&text.len());
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-' | '*');
        (fits && text.chars().all(plain)).then(|| Self(text.to_owned()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches. Linear in pattern times name, both at most 32 bytes.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let mut pieces: Vec<&str> = pieces.collect();
        let Some(last) = pieces.pop() else { return rest.is_empty() };
        for piece in pieces {
            match rest.find(piece).and_then(|at| rest.get(at.saturating_add(piece.len())..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_a_glob_matches_whole_names_only_and_knows_only_the_star() {
        let glob = |text| Glob::parse(text).unwrap();
        for (pattern, name, matches) in [
            ("web*", "web1", true),
            ("web*", "db-web1", false),
            ("web1", "web12", false),
            ("*", "db1", true),
            ("*-prod", "web-prod", true),
            ("*-prod", "web-prod2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(glob(pattern).matches(name), matches, "{pattern} {name}");
        }
        for text in ["", "web*,db*", "web?", "[a-z]", "Web*", "a b", "!web1"] {
            assert_eq!(Glob::parse(text), None, "{text}");
        }
    }
}
