//! A program run as another account, with something on its standard input: the link, and sudo for the canaries.
//!
//! In: path, arguments, account, input. Out: what it said. Absolute path, no environment, no shell, no terminal, deadline (STYLE §6).

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::{self, Answer, ChildError};
use crate::paths::Paths;

/// Whose process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct As {
    /// The uid.
    pub(crate) uid: u32,
    /// The gid; there are no other groups.
    pub(crate) gid: u32,
}

impl As {
    /// Root.
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Runs a program to its end, or kills it and its group at the deadline.
///
/// # Errors
/// [`ChildError`] when there is no answer.
pub(crate) fn run(
    path: &Path,
    arguments: &[&str],
    account: As,
    input: &str,
    deadline: Duration,
) -> Result<Answer, ChildError> {
    let start = |source| ChildError::Start { path: path.to_owned(), source };
    // sudo and PAM modules write to the controlling terminal where there is one, and enroll is typed at a terminal: in a session
    // of its own a program has none. setsid(1) does not fork here, since it is not a group leader, so the child leads its group.
    let missing = || start(std::io::Error::new(std::io::ErrorKind::NotFound, "no setsid(1) on this host"));
    let mut child = Command::new(Paths::program("setsid").ok_or_else(missing)?)
        .arg(path)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .uid(account.uid)
        .gid(account.gid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Shorter than a pipe holds, so this does not wait. A program that does not read is told nothing; it will say so.
        drop(stdin.write_all(input.as_bytes()));
    }
    child::answer(child, path, deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_as_the_account_with_its_input_and_nothing_else() {
        let second = Duration::from_secs(10);
        let nobody = As { uid: 65534, gid: 65534 };
        let answer = run(Path::new("/usr/bin/id"), &[], nobody, "", second).unwrap();
        assert!(
            answer.stdout.starts_with("uid=65534") && !answer.stdout.contains("(root)"),
            "{}",
            answer.stdout
        );
        let answer = run(Path::new("/usr/bin/env"), &[], nobody, "", second).unwrap();
        assert_eq!(answer.stdout, "");
        let answer = run(Path::new("/bin/cat"), &[], nobody, "hello", second).unwrap();
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), "hello"));
    }
}
