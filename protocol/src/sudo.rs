//! The sudo part of a role and of a grant: exact argument lists, a shell said out loud, files to edit.
//!
//! In: text from a policy or a document. Out: values in which nothing can be sudoers syntax (threats A01–A07).
//! Spec: docs/grant-format.md "sudo". The measured facts about escaping are in docs/threats.md.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Most arguments of one command, its path included.
pub const ARGS_MAX: usize = 64;
/// Longest argument in bytes.
pub const ARG_LEN_MAX: usize = 1024;
/// Most exact commands of one role.
pub const COMMANDS_MAX: usize = 256;

/// Why some text is not a command, an argument or a path of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SudoError {
    /// No path at all.
    #[error("a command has at least its path")]
    Empty,
    /// A path that is not absolute and plain.
    #[error("{path:?} is not an absolute path of a file without //, . or .. in it")]
    Path {
        /// The path as written.
        path: String,
    },
    /// A character with a meaning of its own in sudoers.
    #[error(
        "{letter:?} in {text:?} is not allowed here: wildcards, quotes, spaces, negation and regular expressions widen a rule; write the exact argument"
    )]
    Letter {
        /// The argument or path.
        text: String,
        /// The character.
        letter: char,
    },
    /// `sudoedit` by a path: a program to sudoers(5) before sudo 1.9.13, an error since; never the built-in one.
    #[error("{path:?} is not how sudo edits files: name the files in `edit`")]
    Sudoedit {
        /// The path.
        path: String,
    },
    /// An empty or too long argument.
    #[error("an argument has 1 to {ARG_LEN_MAX} bytes, this has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Too many arguments.
    #[error("a command has at most {ARGS_MAX} arguments, this has {found}")]
    TooManyArgs {
        /// Arguments found.
        found: usize,
    },
    /// Too many commands.
    #[error("a role has at most {COMMANDS_MAX} exact commands, this has {found}")]
    TooManyCommands {
        /// Commands found.
        found: usize,
    },
    /// A sudo part that allows nothing.
    #[error("a sudo part needs run, edit or shell = true")]
    Nothing,
    /// A shell next to a list, which would make the list look like a limit.
    #[error("shell = true allows everything as that account; leave run and edit out")]
    ShellAndList,
}

/// Characters that mean only themselves in sudoers. `=`, `:` and `,` are allowed in arguments and escaped.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '@' | '%' | '+' | '.' | '/' | '-')
}

/// An absolute path of a file, fit for a sudoers rule: no `//`, no `.` or `..`, no trailing `/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RulePath(String);

impl RulePath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RulePath {
    type Error = SudoError;
    fn try_from(path: String) -> Result<Self, SudoError> {
        if path.len() > ARG_LEN_MAX {
            return Err(SudoError::Length { found: path.len() });
        }
        let Some(rest) = path.strip_prefix('/') else { return Err(SudoError::Path { path }) };
        if rest.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(SudoError::Path { path });
        }
        match path.chars().find(|c| !is_plain(*c)) {
            Some(letter) => Err(SudoError::Letter { text: path, letter }),
            None => Ok(Self(path)),
        }
    }
}

impl From<RulePath> for String {
    fn from(path: RulePath) -> Self {
        path.0
    }
}

impl fmt::Debug for RulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// One exact command: the path and every argument, nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Command {
    path: RulePath,
    args: Vec<String>,
}

impl Command {
    /// The program.
    #[must_use]
    pub fn path(&self) -> &RulePath {
        &self.path
    }

    /// The arguments, perhaps none.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }
}

impl TryFrom<Vec<String>> for Command {
    type Error = SudoError;
    fn try_from(argv: Vec<String>) -> Result<Self, SudoError> {
        if argv.len() > ARGS_MAX {
            return Err(SudoError::TooManyArgs { found: argv.len() });
        }
        let mut parts = argv.into_iter();
        let path: RulePath = parts.next().ok_or(SudoError::Empty)?.try_into()?;
        if path.0.ends_with("/sudoedit") {
            return Err(SudoError::Sudoedit { path: path.0 });
        }
        let args: Vec<String> = parts.collect();
        for arg in &args {
            if arg.is_empty() || arg.len() > ARG_LEN_MAX {
                return Err(SudoError::Length { found: arg.len() });
            }
            if let Some(letter) = arg.chars().find(|c| !(is_plain(*c) || matches!(c, '=' | ':' | ','))) {
                return Err(SudoError::Letter { text: arg.clone(), letter });
            }
        }
        Ok(Self { path, args })
    }
}

impl From<Command> for Vec<String> {
    fn from(command: Command) -> Self {
        std::iter::once(command.path.0).chain(command.args).collect()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.0)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// What a person may run. Never allows nothing: a list is non-empty or `shell` is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSudoPart", into = "RawSudoPart")]
pub struct SudoPart {
    run_as: Name,
    allowed: Allowed,
}

/// What is allowed as the run-as account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Everything, as `shell = true` says.
    Everything,
    /// These exact commands and these files in `sudoedit`; at least one of either.
    Only {
        /// Exact commands.
        run: Vec<Command>,
        /// Files.
        edit: Vec<RulePath>,
    },
}

/// The JSON form of [`SudoPart`].
#[derive(Clone, Serialize, Deserialize)]
struct RawSudoPart {
    #[serde(rename = "as")]
    run_as: Name,
    #[serde(default)]
    run: Vec<Command>,
    #[serde(default)]
    edit: Vec<RulePath>,
    #[serde(default)]
    shell: bool,
}

impl SudoPart {
    /// Builds the part from exact commands and files.
    ///
    /// # Errors
    /// [`SudoError::Nothing`] when both lists are empty, [`SudoError::TooManyCommands`] above the bound.
    pub fn only(run_as: Name, run: Vec<Command>, edit: Vec<RulePath>) -> Result<Self, SudoError> {
        let found = run.len().saturating_add(edit.len());
        if found == 0 {
            return Err(SudoError::Nothing);
        }
        if found > COMMANDS_MAX {
            return Err(SudoError::TooManyCommands { found });
        }
        Ok(Self { run_as, allowed: Allowed::Only { run, edit } })
    }

    /// Everything as `run_as`.
    #[must_use]
    pub fn everything(run_as: Name) -> Self {
        Self { run_as, allowed: Allowed::Everything }
    }

    /// The account that commands run as.
    #[must_use]
    pub fn run_as(&self) -> &Name {
        &self.run_as
    }

    /// What may be run.
    #[must_use]
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Whether this part allows exactly `argv` as a command (not `sudoedit`).
    #[must_use]
    pub fn allows(&self, argv: &[String]) -> bool {
        match &self.allowed {
            Allowed::Everything => true,
            Allowed::Only { run, .. } => run.iter().any(|command| {
                argv.split_first()
                    .is_some_and(|(path, args)| path == command.path.as_str() && args == command.args)
            }),
        }
    }
}

impl TryFrom<RawSudoPart> for SudoPart {
    type Error = SudoError;
    fn try_from(raw: RawSudoPart) -> Result<Self, SudoError> {
        if !raw.shell {
            return Self::only(raw.run_as, raw.run, raw.edit);
        }
        if raw.run.is_empty() && raw.edit.is_empty() {
            return Ok(Self::everything(raw.run_as));
        }
        Err(SudoError::ShellAndList)
    }
}

impl From<SudoPart> for RawSudoPart {
    fn from(part: SudoPart) -> Self {
        match part.allowed {
            Allowed::Everything => Self { run_as: part.run_as, run: vec![], edit: vec![], shell: true },
            Allowed::Only { run, edit } => Self { run_as: part.run_as, run, edit, shell: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argv: &[&str]) -> Result<Command, SudoError> {
        Command::try_from(argv.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a02_text_that_is_sudoers_syntax_is_no_command() {
        for argv in [
            &["ALL"][..],
            &["sudoedit", "/etc/passwd"],
            &["/usr/bin/"],
            &["/usr/bin/../bin/id"],
            &["/usr/bin/id, ALL"],
            &["/usr/bin/id\nALL"],
            &["!/usr/bin/id"],
            &["^/usr/bin/.*$"],
            &["/usr/bin/id", "a\\"],
            &["/usr/bin/id", "\"\""],
            &["/usr/bin/id", ""],
            &["/usr/bin/id", "(ALL) ALL"],
            &["/usr/bin/id", "#include"],
            &[],
        ] {
            assert!(command(argv).is_err(), "{argv:?}");
        }
    }

    #[test]
    fn a02_sudoedit_is_no_program() {
        let path = "/usr/bin/sudoedit".to_owned();
        assert_eq!(command(&[&path, "/etc/motd"]), Err(SudoError::Sudoedit { path }));
        assert!(command(&["/opt/sudoedit/run"]).is_ok() && command(&["/usr/bin/xsudoedit"]).is_ok());
    }

    #[test]
    fn a07_wildcards_and_regular_expressions_are_refused() {
        for letter in
            ['*', '?', '[', ']', '^', '$', '!', '(', ')', '{', '~', ' ', '\t', '\'', '"', '\\', '#', 'é']
        {
            let text = format!("a{letter}b");
            assert_eq!(command(&["/usr/bin/less", &text]), Err(SudoError::Letter { text, letter }));
        }
    }

    #[test]
    fn a06_a_negated_or_numeric_run_as_is_refused() {
        for text in ["ALL", "!root", "#0", "root,!bin", "-1"] {
            let json = format!(r#"{{"as":"{text}","shell":true}}"#);
            assert!(serde_json::from_str::<SudoPart>(&json).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_never_allows_nothing_and_never_hides_a_shell() {
        let parse = |json: &str| serde_json::from_str::<SudoPart>(json).map_err(|e| e.to_string());
        assert!(parse(r#"{"as":"root"}"#).unwrap_err().contains("needs run, edit or shell"));
        assert!(
            parse(r#"{"as":"root","shell":true,"run":[["/bin/id"]]}"#)
                .unwrap_err()
                .contains("leave run and edit out")
        );
        let part = parse(r#"{"as":"root","run":[["/bin/id"]]}"#).unwrap();
        assert!(part.allows(&["/bin/id".into()]) && !part.allows(&["/bin/id".into(), "-u".into()]));
        assert_eq!(serde_json::from_str::<SudoPart>(&serde_json::to_string(&part).unwrap()).unwrap(), part);
    }
}
