//! Which sudo is installed: the classic one or sudo-rs, its version, what it cannot be trusted with, its own visudo.
//!
//! In: the programs of the distribution. Out: [`Sudo`]. Runs as: root. Spec: docs/architecture.md "Two sudos"; THREATS §7, X-d.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use elevate_protocol::flavour::{Ability, Installed};
use elevate_protocol::text::UntrustedText;

use crate::child;
use crate::paths::Paths;

/// How long `sudo -V` may take; sudo built with fqdn may ask DNS for 12 s.
const DEADLINE: Duration = Duration::from_secs(20);
/// The first sudo-rs whose account phase was found to gate rules.
const RS_FIRST: [u32; 3] = [0, 2, 5];
/// The first sudo-rs that has sudoedit.
const RS_EDITS: [u32; 3] = [0, 2, 8];
/// The first sudo-rs that runs PAM's account phase for sudoedit (its changelog, #1612).
const RS_GATES_EDIT: [u32; 3] = [0, 2, 14];
/// The first sudo-rs without GHSA-c978-wq47-pvvw and GHSA-q428-6v73-fc4q.
const RS_FIXED: [u32; 3] = [0, 2, 10];
/// The first classic sudo without CVE-2025-32462 and CVE-2025-32463: 1.9.17p1.
const CLASSIC_FIXED: [u32; 2] = [17, 1];

/// How rules are written for a sudo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// With NOTAFTER, for the classic sudo.
    Classic,
    /// Without: sudo-rs drops a rule that has it (THREATS X-d).
    Rs,
}

/// Which sudo this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sudo {
    /// Classic sudo 1.9, which knows NOTAFTER.
    Classic {
        /// The first line of `sudo -V`.
        line: UntrustedText,
        /// Of 1.9.17p1: 17 and 1.
        version: [u32; 2],
    },
    /// sudo-rs.
    Rs {
        /// The first line of `sudo -V`.
        line: UntrustedText,
        /// Its version.
        version: [u32; 3],
    },
    /// One that nothing is known of.
    Other {
        /// The first line of `sudo -V`.
        line: UntrustedText,
    },
    /// None, or it does not answer.
    Absent,
}

impl Sudo {
    /// Asks the installed one. Blocks.
    #[must_use]
    pub(crate) fn ask() -> Self {
        let Some(program) = Paths::program("sudo") else { return Self::Absent };
        let Ok(answer) = child::run(&program, &["-V"], DEADLINE) else { return Self::Absent };
        Self::of_answer(&answer.stdout, &answer.stderr)
    }

    /// sudo-rs 0.2.5, as Debian 13 has it, names itself on standard error; others on standard output.
    fn of_answer(stdout: &str, stderr: &str) -> Self {
        stdout.lines().chain(stderr.lines()).next().map_or(Self::Absent, Self::of_line)
    }

    fn of_line(text: &str) -> Self {
        let line = UntrustedText::lossy(text);
        // "Sudo version 1.9.13p3"; "sudo-rs 0.2.15", perhaps with more of a distribution's behind it.
        if let Some(rest) = text.strip_prefix("Sudo version 1.9.") {
            let (minor, rest) = number(rest);
            let patch = rest.strip_prefix('p').and_then(|rest| number(rest).0);
            return match minor {
                Some(minor) => Self::Classic { line, version: [minor, patch.unwrap_or(0)] },
                None => Self::Other { line },
            };
        }
        match text.strip_prefix("sudo-rs ").and_then(triple) {
            Some(version) if version >= RS_FIRST => Self::Rs { line, version },
            Some(_) | None => Self::Other { line },
        }
    }

    /// What it calls itself.
    #[must_use]
    pub(crate) fn line(&self) -> Option<&UntrustedText> {
        match self {
            Self::Classic { line, .. } | Self::Rs { line, .. } | Self::Other { line } => Some(line),
            Self::Absent => None,
        }
    }

    /// How rules are written for it; none for one that we do not enforce with.
    #[must_use]
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Classic { .. } => Some(Dialect::Classic),
            Self::Rs { .. } => Some(Dialect::Rs),
            Self::Other { .. } | Self::Absent => None,
        }
    }

    /// As the daemon is told of it.
    #[must_use]
    pub(crate) fn installed(&self) -> Option<Installed> {
        self.dialect()?;
        Some(Installed { line: self.line()?.clone(), lacks: self.lacks() })
    }

    /// What it cannot be trusted with. A sudoedit without the account phase passes by the gate, by a rule of its own and by one
    /// that allows everything; there is no other layer on sudo-rs.
    fn lacks(&self) -> BTreeSet<Ability> {
        match self {
            Self::Rs { version, .. } if *version < RS_EDITS => BTreeSet::from([Ability::Edit]),
            Self::Rs { version, .. } if *version < RS_GATES_EDIT => {
                BTreeSet::from([Ability::Edit, Ability::Shell])
            }
            Self::Classic { .. } | Self::Rs { .. } | Self::Other { .. } | Self::Absent => BTreeSet::new(),
        }
    }

    /// What `doctor` says of it besides its name: whether it is old, and what it cannot do.
    #[must_use]
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self {
            Self::Classic { version, .. } if *version < CLASSIC_FIXED => notes.push(
                "this sudo is older than 1.9.17p1, which fixed CVE-2025-32462 and CVE-2025-32463; a distribution may have fixed it without a new number".to_owned(),
            ),
            Self::Rs { version, .. } => {
                if *version < RS_FIXED {
                    notes.push("this sudo-rs is older than 0.2.10, which fixed CVE-2025-64170 and CVE-2025-64517".to_owned());
                }
                notes.push("sudo-rs has no NOTAFTER: the agent and the PAM gate end a right, sudo itself does not; and it asks PAM nothing for a person without a rule, so it offers no roles".to_owned());
            }
            Self::Classic { .. } | Self::Other { .. } | Self::Absent => {}
        }
        notes.extend(self.lacks().iter().map(|ability| {
            format!(
                "roles that need {} are refused here: 0.2.14 is the first sudo-rs that can",
                ability.phrase()
            )
        }));
        notes
    }
}

/// The digits that a text begins with, and the rest.
fn number(text: &str) -> (Option<u32>, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (digits.parse().ok(), rest)
}

fn triple(text: &str) -> Option<[u32; 3]> {
    let (major, rest) = number(text);
    let (minor, rest) = number(rest.strip_prefix('.')?);
    let (patch, _) = number(rest.strip_prefix('.')?);
    Some([major?, minor?, patch?])
}

/// The file behind `sudo`, so that another one is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binary(Option<[i64; 5]>);

impl Binary {
    /// As it is at this moment; links of alternatives are followed.
    #[must_use]
    pub(crate) fn seen() -> Self {
        let meta = Paths::program("sudo").and_then(|path| std::fs::metadata(path).ok());
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self(meta.map(|meta| {
            [whole(meta.dev()), whole(meta.ino()), whole(meta.len()), meta.mtime(), meta.ctime()]
        }))
    }
}

/// Where a visudo may be.
pub(crate) const VISUDO: [&str; 3] = ["/usr/sbin/visudo", "/usr/bin/visudo", "/usr/lib/cargo/bin/visudo"];

/// The visudo that reads as this sudo does: beside it where alternatives lead there, else in the usual places. Blocks.
#[must_use]
pub(crate) fn visudo(dialect: Dialect) -> Option<PathBuf> {
    let real = Paths::program("sudo").and_then(|path| std::fs::canonicalize(path).ok());
    let beside = real.and_then(|path| Some(path.parent()?.join("visudo")));
    let places = VISUDO.map(PathBuf::from);
    beside.into_iter().chain(places).find(|path| path.is_file() && speaks(path, dialect))
}

fn speaks(visudo: &Path, dialect: Dialect) -> bool {
    let Ok(answer) = child::run(visudo, &["-V"], DEADLINE) else { return false };
    let line = answer.stdout.lines().next().unwrap_or_default();
    match dialect {
        Dialect::Classic => line.starts_with("visudo version 1."),
        Dialect::Rs => line.starts_with("visudo-rs ") || line.starts_with("visudo version 0."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(line: &str) -> Vec<Ability> {
        Sudo::of_line(line).lacks().into_iter().collect()
    }

    #[test]
    fn this_machine_has_classic_sudo_and_its_visudo() {
        assert!(
            matches!(Sudo::ask(), Sudo::Classic { line, .. } if line.raw().starts_with("Sudo version 1.9"))
        );
        assert!(visudo(Dialect::Classic).is_some() && Binary::seen() == Binary::seen());
        assert_ne!(Binary::seen(), Binary(None));
    }

    #[test]
    fn flavour_and_version_are_read_and_strangers_are_refused() {
        let line = |text: &str| UntrustedText::lossy(text);
        let found = Sudo::of_line("Sudo version 1.9.13p3");
        assert_eq!(found, Sudo::Classic { line: line("Sudo version 1.9.13p3"), version: [13, 3] });
        let found = Sudo::of_line("sudo-rs 0.2.8-1ubuntu5");
        assert_eq!(found, Sudo::Rs { line: line("sudo-rs 0.2.8-1ubuntu5"), version: [0, 2, 8] });
        for other in [
            "sudo-rs 0.2.4",
            "sudo-rs",
            "sudo-rs 0.2",
            "Sudo version 1.8.31",
            "Sudo version 1.9.x",
            "doas",
            "",
        ] {
            assert_eq!(Sudo::of_line(other), Sudo::Other { line: line(other) }, "{other}");
            assert_eq!(Sudo::of_line(other).installed(), None);
        }
        assert_eq!(Sudo::of_line("Sudo version 1.9.16").dialect(), Some(Dialect::Classic));
    }

    #[test]
    fn a_version_counts_from_either_stream() {
        let old = Sudo::of_answer("", "sudo-rs 0.2.5\n");
        assert_eq!(old, Sudo::of_line("sudo-rs 0.2.5"));
        assert_eq!(Sudo::of_answer("sudo-rs 0.2.15\n", "a warning\n"), Sudo::of_line("sudo-rs 0.2.15"));
        assert_eq!(Sudo::of_answer("", ""), Sudo::Absent);
    }

    /// Each sudoedit that does not run the account phase would pass by the only layer there is on sudo-rs.
    #[test]
    fn what_would_pass_by_the_gate_is_lacking() {
        assert_eq!(lacks("sudo-rs 0.2.5"), [Ability::Edit], "has no sudoedit at all");
        assert_eq!(lacks("sudo-rs 0.2.8"), [Ability::Edit, Ability::Shell]);
        assert_eq!(lacks("sudo-rs 0.2.13"), [Ability::Edit, Ability::Shell]);
        assert_eq!(lacks("sudo-rs 0.2.14"), []);
        assert_eq!(lacks("sudo-rs 0.10.0"), []);
        assert_eq!(lacks("Sudo version 1.9.5p2"), []);
    }

    #[test]
    fn doctor_is_told_of_old_ones() {
        let says =
            |line: &str, what: &str| Sudo::of_line(line).notes().iter().any(|note| note.contains(what));
        assert!(says("Sudo version 1.9.17", "1.9.17p1") && !says("Sudo version 1.9.17p1", "1.9.17p1"));
        assert!(says("sudo-rs 0.2.9", "0.2.10") && !says("sudo-rs 0.2.10", "older than 0.2.10"));
        assert!(says("sudo-rs 0.2.5", "sudoedit") && says("sudo-rs 0.2.15", "NOTAFTER"));
    }
}
