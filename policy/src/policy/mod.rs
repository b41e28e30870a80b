//! The policy as a whole, checked: people, groups, roles.
//!
//! In: the text of the files in `policy.d`. Out: [`Policy`], in which every name resolves, groups have no cycles
//! and everything that grants is non-empty. Spec: docs/policy.md.

pub(crate) mod approval;
mod diff;
mod effective;
mod moment;
pub(crate) mod nonempty;
pub(crate) mod person;
pub(crate) mod role;
pub(crate) mod role_digest;
pub(crate) mod scope;
pub(crate) mod ticket;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use elevate_protocol::digest::Digest;
use elevate_protocol::name::{Login, Name};
use elevate_protocol::time::Span;
use serde::{Serialize, Serializer};
use ssh_key::Fingerprint;

pub use self::moment::moment_text;
pub(crate) use self::moment::{Edge, moment_from_toml};
use self::nonempty::NonEmpty;
use self::person::Person;
use self::role::{ReasonRule, Role};
use crate::parse::finding::{Finding, PolicyError};

/// The longest activation, extensions included, whatever a policy says.
pub const HARD_CAP: Span = Span::DAY;

/// A person or a group, as `"alice"` and `"@web-admins"` name them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A person.
    Person(Name),
    /// Everybody in a group, and in the groups in it.
    Group(Name),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => write!(f, "{name}"),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(crate) fn serialize_list<T: Serialize, S: Serializer>(
    list: &NonEmpty<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter())
}

/// What roles have when they do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defaults {
    /// How long an activation lasts.
    pub duration: Span,
    /// How long at most, extensions included.
    pub max: Span,
    /// Whether a reason must be given.
    pub reason: ReasonRule,
    /// Warnings before the end, longest first.
    pub warn: Vec<Span>,
    /// How long a request may wait.
    pub pending: Span,
    /// How long a right outlives the last contact of its host; none inside: to its end. None: each role's own default.
    pub lease: Option<Option<Span>>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            duration: Span::HOUR,
            max: Span(8 * 3600),
            reason: ReasonRule::Required,
            warn: vec![Span(600), Span(300), Span(60)],
            pending: Span::DAY,
            lease: None,
        }
    }
}

/// A whole policy. Built only by [`Policy::parse`].
///
/// Two policies are equal when they say the same; file names, [`Policy::digest`] and warnings do not count.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) defaults: Defaults,
    pub(crate) people: BTreeMap<Name, Person>,
    pub(crate) groups: BTreeMap<Name, Vec<Member>>,
    pub(crate) roles: BTreeMap<Name, Role>,
    pub(crate) keys: BTreeMap<Fingerprint, Name>,
    pub(crate) logins: BTreeMap<Login, Name>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) digest: Digest,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        (&self.defaults, &self.people, &self.groups, &self.roles)
            == (&other.defaults, &other.people, &other.groups, &other.roles)
    }
}

impl Eq for Policy {}

impl Policy {
    /// Reads all files as one policy: file name (as it is to be shown) and text of each, in order.
    ///
    /// # Errors
    /// [`PolicyError`] with everything that can be found wrong, each with file, line, column and what to write.
    pub fn parse(files: &[(String, String)]) -> Result<Self, PolicyError> {
        crate::parse::parse(files)
    }

    /// Digest over the names and bytes of all files, in order: the version of this policy.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What is allowed and yet more than it looks like (threat A08), each with its place.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// What roles have when they do not say.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Every person, by name.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
    }

    /// Every role, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// A person by id.
    #[must_use]
    pub fn person(&self, name: &Name) -> Option<&Person> {
        self.people.get(name)
    }

    /// A role by name.
    #[must_use]
    pub fn role(&self, name: &Name) -> Option<&Role> {
        self.roles.get(name)
    }

    /// The person whose key this is, by its SHA-256 fingerprint. A person past `until` is still found;
    /// every decision looks at the date.
    #[must_use]
    pub fn person_by_key(&self, fingerprint: &Fingerprint) -> Option<&Person> {
        self.keys.get(fingerprint).and_then(|name| self.people.get(name))
    }

    /// The person whom hosts call so. As with [`Policy::person_by_key`], the date is not looked at.
    #[must_use]
    pub fn person_by_login(&self, login: &Login) -> Option<&Person> {
        self.logins.get(login).and_then(|name| self.people.get(name))
    }

    /// The groups that a person is in, through other groups too, by name.
    #[must_use]
    pub fn groups_of(&self, person: &Name) -> Vec<Name> {
        let inside = |group: &&Name| self.is_member(person, &Member::Group((*group).clone()));
        self.groups.keys().filter(inside).cloned().collect()
    }

    /// Everybody whom these name, groups resolved, by name.
    #[must_use]
    pub fn resolve<'a>(&'a self, members: impl IntoIterator<Item = &'a Member>) -> BTreeSet<Name> {
        resolve(&self.groups, members)
    }

    /// Whether `member` names this person, directly or through groups.
    pub(crate) fn is_member(&self, person: &Name, member: &Member) -> bool {
        let mut seen: BTreeSet<&Name> = BTreeSet::new();
        let mut open = vec![member];
        while let Some(member) = open.pop() {
            match member {
                Member::Person(name) if name == person => return true,
                Member::Group(name) if seen.insert(name) => {
                    open.extend(self.groups.get(name).into_iter().flatten());
                }
                Member::Person(_) | Member::Group(_) => {}
            }
        }
        false
    }

    /// The policy as one TOML text with every default written out. It parses back to an equal policy.
    #[must_use]
    pub fn show_effective(&self) -> String {
        effective::show(self)
    }

    /// What `after` changes, key by key, defaults written out; nothing when it changes nothing.
    #[must_use]
    pub fn diff(&self, after: &Self) -> String {
        diff::diff(&self.show_effective(), &after.show_effective())
    }
}

/// Everybody whom these name. Threat C03: each group is visited once and nothing recurs, so neither depth nor a
/// cycle can hold it up.
pub(crate) fn resolve<'a>(
    groups: &'a BTreeMap<Name, Vec<Member>>,
    members: impl IntoIterator<Item = &'a Member>,
) -> BTreeSet<Name> {
    let mut people = BTreeSet::new();
    let mut seen: BTreeSet<&Name> = BTreeSet::new();
    let mut open: Vec<&Member> = members.into_iter().collect();
    while let Some(member) = open.pop() {
        match member {
            Member::Person(name) => {
                people.insert(name.clone());
            }
            Member::Group(name) if seen.insert(name) => open.extend(groups.get(name).into_iter().flatten()),
            Member::Group(_) => {}
        }
    }
    people
}
