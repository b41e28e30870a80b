//! What this host never allows, whatever is signed: /etc/elevate/ceiling.toml, written by the host's root.
//!
//! In: the file. Out: [`Ceiling`]. Absent: the defaults. An error in it: no grants at all. Spec: docs/config.md "ceiling.toml".

use elevate_protocol::document::BACKDATE;
use elevate_protocol::name::Name;
use elevate_protocol::signed::VerifiedGrant;
use elevate_protocol::ssh::SshPart;
use elevate_protocol::sudo::{Allowed, RulePath, SudoPart};
use elevate_protocol::time::Span;
use serde::Deserialize;

use crate::paths::Paths;
use crate::safe::{self, SafeError};

const FILE_MAX: u64 = 64 * 1024;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ceiling {
    /// The longest right, extensions included; never above 24 h.
    #[serde(deserialize_with = "span")]
    longest: Span,
    /// Roles that are not obeyed here.
    forbid_roles: Vec<Name>,
    /// Accounts that nobody runs anything as.
    forbid_run_as: Vec<Name>,
    /// Programs and files that no right names. A right to everything names them all.
    forbid_commands: Vec<RulePath>,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { longest: Span::DAY, forbid_roles: vec![], forbid_run_as: vec![], forbid_commands: vec![] }
    }
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Why the ceiling is not known; nothing is allowed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CeilingError {
    /// The file cannot be used.
    #[error("ceiling.toml cannot be used")]
    File {
        /// Why.
        source: SafeError,
    },
    /// The file is not valid.
    #[error("ceiling.toml is not valid")]
    Parse {
        /// Line, column and key.
        source: Box<toml::de::Error>,
    },
}

/// What a grant goes beyond.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Beyond {
    /// Too long.
    #[error("a right of {found} is longer than this host allows ({longest})")]
    Longest {
        /// From its start to its end.
        found: Span,
        /// What is allowed.
        longest: Span,
    },
    /// The role.
    #[error("the root of this host does not allow the role {name}")]
    Role {
        /// Which.
        name: Name,
    },
    /// The account.
    #[error("the root of this host does not allow running anything as {name}")]
    RunAs {
        /// Which.
        name: Name,
    },
    /// A program or file.
    #[error("the root of this host does not allow {path}")]
    Command {
        /// Which.
        path: String,
    },
}

impl Ceiling {
    /// Reads the file.
    ///
    /// # Errors
    /// [`CeilingError`] for anything but a valid file or none.
    pub(crate) fn load(paths: &Paths) -> Result<Self, CeilingError> {
        match safe::read(&paths.ceiling, FILE_MAX) {
            Ok(text) => {
                toml::from_str(&text).map_err(|source| CeilingError::Parse { source: Box::new(source) })
            }
            Err(SafeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(source) => Err(CeilingError::File { source }),
        }
    }

    /// Whether a grant stays below it. Pure.
    ///
    /// # Errors
    /// The first [`Beyond`] met.
    pub(crate) fn check(&self, verified: &VerifiedGrant) -> Result<(), Beyond> {
        let grant = verified.grant();
        let longest = self.longest.min(Span::DAY);
        let found = verified.not_after().since(grant.not_before);
        if found > longest.plus(BACKDATE) {
            return Err(Beyond::Longest { found, longest });
        }
        if self.forbid_roles.contains(&grant.role) {
            return Err(Beyond::Role { name: grant.role.clone() });
        }
        if let Some(ssh) = &grant.ssh {
            self.check_ssh(ssh)?;
        }
        let Some(sudo) = &grant.sudo else { return Ok(()) };
        if self.forbid_run_as.contains(sudo.run_as()) {
            return Err(Beyond::RunAs { name: sudo.run_as().clone() });
        }
        self.check_commands(sudo)
    }

    /// Who logs in as an account runs everything as it, whatever command a certificate forces.
    fn check_ssh(&self, ssh: &SshPart) -> Result<(), Beyond> {
        if let Some(name) = ssh.logins().iter().find(|name| self.forbid_run_as.contains(name)) {
            return Err(Beyond::RunAs { name: name.clone() });
        }
        match self.forbid_commands.first() {
            Some(path) => Err(Beyond::Command { path: path.as_str().to_owned() }),
            None => Ok(()),
        }
    }

    fn check_commands(&self, sudo: &SudoPart) -> Result<(), Beyond> {
        let named = match sudo.allowed() {
            Allowed::Everything => self.forbid_commands.first(),
            Allowed::Only { run, edit } => run
                .iter()
                .map(|command| command.path())
                .chain(edit)
                .find(|path| self.forbid_commands.contains(path)),
        };
        match named {
            Some(path) => Err(Beyond::Command { path: path.as_str().to_owned() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::samples::{grant, held, runs};

    fn ceiling(text: &str) -> Ceiling {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_grant_above_the_ceiling_is_refused_with_its_reason() {
        let id = held(grant(5, 2000, runs(r#"{"as":"root","run":[["/usr/bin/id"]],"edit":["/etc/motd"]}"#)));
        let all = held(grant(5, 2000, runs(r#"{"as":"root","shell":true}"#)));
        assert_eq!(Ceiling::default().check(&id.verified), Ok(()));
        for (text, said) in [
            ("longest = \"30m\"", "a right of 1h1m is longer than this host allows (30m)"),
            ("forbid_roles = [\"web-ops\"]", "the root of this host does not allow the role web-ops"),
            ("forbid_run_as = [\"root\"]", "the root of this host does not allow running anything as root"),
            ("forbid_commands = [\"/etc/motd\"]", "the root of this host does not allow /etc/motd"),
        ] {
            assert_eq!(ceiling(text).check(&id.verified).unwrap_err().to_string(), said);
        }
        let shell = ceiling("forbid_commands = [\"/usr/bin/dd\"]");
        assert_eq!(shell.check(&id.verified), Ok(()));
        assert_eq!(shell.check(&all.verified), Err(Beyond::Command { path: "/usr/bin/dd".into() }));
    }

    #[test]
    fn a_login_is_everything_as_its_account() {
        let mut terms = grant(5, 2000, runs(r#"{"as":"deploy","run":[["/usr/bin/id"]]}"#));
        terms.ssh = Some(serde_json::from_str(r#"{"logins":["deploy","root"]}"#).unwrap());
        let login = held(terms);
        assert_eq!(Ceiling::default().check(&login.verified), Ok(()));
        let root = ceiling("forbid_run_as = [\"root\"]").check(&login.verified);
        assert_eq!(root, Err(Beyond::RunAs { name: "root".parse().unwrap() }));
        let command = ceiling("forbid_commands = [\"/usr/bin/dd\"]").check(&login.verified);
        assert_eq!(command, Err(Beyond::Command { path: "/usr/bin/dd".into() }));
    }

    #[test]
    fn c09_a_ceiling_cannot_be_raised_above_a_day_and_an_error_is_an_error() {
        let mut terms = grant(5, 2000, runs(r#"{"as":"root","shell":true}"#));
        terms.not_after = terms.not_before.after(Span(86_461));
        assert!(ceiling("longest = \"90d\"").check(&held(terms).verified).is_err());
        for text in ["longest = 3600", "longest = \"30\"", "forbid_role = []", "forbid_commands = [\"id\"]"] {
            assert!(toml::from_str::<Ceiling>(text).is_err(), "{text}");
        }
    }
}
