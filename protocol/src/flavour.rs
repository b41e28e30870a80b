//! Which sudo a host has, which parts of a role it cannot enforce, and whether certificates open accounts there.
//!
//! In: what the host's agent found out. Out: what the daemon refuses before anybody activates it. Spec: docs/wire.md "Vouches".

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::sudo::{Allowed, SudoPart};
use crate::text::UntrustedText;

/// Something that a role may need of sudo and that not every sudo can be trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// Files to edit: `sudoedit` that exists and runs PAM's account phase.
    Edit,
    /// `shell = true`: that nothing which everything includes passes by PAM's account phase.
    Shell,
}

impl Ability {
    /// As a sentence goes on after "needs": "sudoedit".
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Edit => "sudoedit behind the PAM gate",
            Self::Shell => "everything, sudoedit too, behind the PAM gate",
        }
    }
}

/// The sudo that enforces on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// The first line of `sudo -V`.
    pub line: UntrustedText,
    /// What it cannot be trusted with.
    #[serde(default)]
    pub lacks: BTreeSet<Ability>,
}

impl Installed {
    /// The first thing that the part needs and this sudo lacks.
    #[must_use]
    pub fn misses(&self, part: &SudoPart) -> Option<Ability> {
        let needs = match part.allowed() {
            Allowed::Everything => Some(Ability::Shell),
            Allowed::Only { edit, .. } if edit.is_empty() => None,
            Allowed::Only { .. } => Some(Ability::Edit),
        };
        needs.filter(|ability| self.lacks.contains(ability))
    }
}

/// Whether a host enforces rules of sudo, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Enforcement {
    /// With this sudo.
    With(Installed),
    /// Not at all.
    None {
        /// What is missing.
        why: UntrustedText,
    },
}

impl Enforcement {
    /// The first line of `sudo -V` of a sudo that enforces.
    #[must_use]
    pub fn line(&self) -> Option<&UntrustedText> {
        match self {
            Self::With(installed) => Some(&installed.line),
            Self::None { .. } => None,
        }
    }

    /// Why a right with this part would not be enforced; none when it would.
    #[must_use]
    pub fn hindrance(&self, part: &SudoPart) -> Option<String> {
        match self {
            Self::None { why } => Some(why.escaped()),
            Self::With(installed) => installed.misses(part).map(|ability| {
                format!("{} cannot be trusted with {}", installed.line.escaped(), ability.phrase())
            }),
        }
    }
}

/// Whether certificates of grants open accounts on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SshEnforcement {
    /// sshd asks which.
    Asks,
    /// They open nothing.
    None {
        /// Why.
        why: UntrustedText,
    },
}

impl SshEnforcement {
    /// Why a right with an SSH part would not be enforced; none when it would.
    #[must_use]
    pub fn hindrance(&self) -> Option<String> {
        match self {
            Self::Asks => None,
            Self::None { why } => Some(why.escaped()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_misses_what_it_needs_and_nothing_else() {
        let part = |json: &str| serde_json::from_str::<SudoPart>(json).unwrap();
        let (runs, edits, shell) = (
            part(r#"{"as":"root","run":[["/usr/bin/id"]]}"#),
            part(r#"{"as":"root","run":[["/usr/bin/id"]],"edit":["/etc/motd"]}"#),
            part(r#"{"as":"root","shell":true}"#),
        );
        let sudo = |lacks: &[Ability]| Installed {
            line: UntrustedText::lossy("sudo-rs 0.2.5"),
            lacks: lacks.iter().copied().collect(),
        };
        assert_eq!(sudo(&[Ability::Edit]).misses(&edits), Some(Ability::Edit));
        assert_eq!(sudo(&[Ability::Edit]).misses(&shell), None);
        assert_eq!(sudo(&[Ability::Edit, Ability::Shell]).misses(&shell), Some(Ability::Shell));
        assert_eq!(sudo(&[Ability::Edit, Ability::Shell]).misses(&runs), None);
        assert_eq!(sudo(&[]).misses(&edits), None);
        let text = serde_json::to_string(&sudo(&[Ability::Shell, Ability::Edit])).unwrap();
        assert_eq!(text, r#"{"line":"sudo-rs 0.2.5","lacks":["edit","shell"]}"#);
    }
}
