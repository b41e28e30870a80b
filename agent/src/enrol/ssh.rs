//! sshd's side of enrolment: one file of ours, tried on what sshd makes of all its files before it counts, and taken out again.
//!
//! In: this host's sshd. Out: an sshd that asks us which certificates open an account, or the host as it was and what to do.
//! What cannot be done here never stops an enrolment: roles that need it are refused on this host. Threats E15; docs/config.md.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::{self, ChildError};
use crate::journal;
use crate::paths::Paths;
use crate::sshd::{self, ACCOUNT, SshdError};

use super::changes::{self, ChangeError, Changes};
use super::say;

/// How long sshd may take to look at its files.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why sshd does not ask us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// It cannot.
    #[error(transparent)]
    Sshd(#[from] SshdError),
    /// Our file's name is taken.
    #[error("{path} is there already and not ours")]
    Foreign {
        /// The file.
        path: String,
    },
    /// A file could not be changed.
    #[error("a file could not be changed")]
    Change(#[from] ChangeError),
    /// sshd cannot be asked.
    #[error("sshd cannot be asked")]
    Child(#[from] ChildError),
    /// sshd does not take its files.
    #[error("sshd does not take its own files{when}: {said}")]
    Refused {
        /// With our file or without.
        when: &'static str,
        /// What it said.
        said: String,
    },
    /// Another value than ours counts.
    #[error("sshd would not ask: `{line}` is not what counts for it")]
    NotEffective {
        /// What should count.
        line: String,
    },
    /// The running sshd could not be told.
    #[error("the running sshd could not be told to read its files anew: {why}")]
    Reload {
        /// Why.
        why: String,
    },
}

/// Puts our file in place where it is not, and tells how that went. Never fails an enrolment.
pub(super) fn set_up(paths: &Paths) {
    if is_set_up(paths) {
        return;
    }
    match place(paths) {
        Ok(()) => say("sshd: certificates of grants open the accounts that their roles name."),
        Err(SshError::Sshd(SshdError::NoSshd)) => {}
        Err(error) => {
            say(&format!("sshd: not set up, and nothing of it was changed: {}", journal::chain(&error)));
            say("      Roles with logins are refused on this host until then: elevate-agent doctor");
        }
    }
}

fn is_set_up(paths: &Paths) -> bool {
    sshd::enforcement(paths).is_ok() && effective(paths).is_ok()
}

fn place(paths: &Paths) -> Result<(), SshError> {
    sshd::possible(paths)?;
    let path = &paths.sshd_file;
    if changes::read(path)?.is_some_and(|stood| !stood.text().is_some_and(sshd::is_ours)) {
        return Err(SshError::Foreign { path: path.display().to_string() });
    }
    takes_its_files(" as they are")?;
    let mut changes = Changes::default();
    let placed = try_out(paths, &mut changes);
    if placed.is_ok() {
        changes.keep();
        return placed;
    }
    for error in changes.undo().err().unwrap_or_default() {
        say(&format!("NOT put back: {}", journal::chain(&error)));
    }
    // An sshd that was told of our file is told of the file before. What it would not take it is not told of.
    if matches!(placed, Err(SshError::Reload { .. })) && takes_its_files("").is_ok() {
        drop(reload());
    }
    placed
}

fn try_out(paths: &Paths, changes: &mut Changes) -> Result<(), SshError> {
    if changes::read(&paths.user_ca)?.is_none() {
        changes.write(&paths.user_ca, "", 0o644)?;
    }
    changes.write(&paths.sshd_file, &sshd::text(paths, &sshd::program()), 0o644)?;
    takes_its_files(" with ours among them")?;
    effective(paths)?;
    reload()
}

/// Takes our file out, and lets sshd know.
///
/// # Errors
/// [`SshError`]; where sshd does not take what is left, the running one goes on with what it has.
pub(super) fn take_out(paths: &Paths, changes: &mut Changes) -> Result<(), SshError> {
    match changes::read(&paths.sshd_file)? {
        Some(stood) if stood.text().is_some_and(sshd::is_ours) => changes.remove(&paths.sshd_file)?,
        Some(_) | None => return Ok(()),
    }
    if Paths::program("sshd").is_none() {
        return Ok(());
    }
    takes_its_files(" without ours")?;
    reload()
}

/// `sshd -t`: a listener that is told to read files which it does not take is gone (HOSTS §4).
fn takes_its_files(when: &'static str) -> Result<(), SshError> {
    ask(&["-t"], when).map(drop)
}

fn ask(arguments: &[&str], when: &'static str) -> Result<String, SshError> {
    let program = Paths::program("sshd").ok_or(SshdError::NoSshd)?;
    let answer = child::run(&program, arguments, DEADLINE)?;
    if answer.code == Some(0) {
        return Ok(answer.stdout);
    }
    Err(SshError::Refused { when, said: format!("{}{}", answer.stdout.trim(), answer.stderr.trim()) })
}

/// Whether ours is what counts for a connection that no Match of the site is about: sshd takes the first value that it reads.
///
/// # Errors
/// [`SshError::NotEffective`], or sshd does not answer.
pub(super) fn effective(paths: &Paths) -> Result<(), SshError> {
    let found = ask(&["-T"], "")?;
    let (ca, program) = (paths.user_ca.display(), sshd::program());
    for line in [
        format!("trustedusercakeys {ca}"),
        format!("authorizedprincipalscommand {} %u %i", program.display()),
        format!("authorizedprincipalscommanduser {ACCOUNT}"),
    ] {
        if !found.lines().any(|one| one == line) {
            return Err(SshError::NotEffective { line });
        }
    }
    Ok(())
}

/// SIGHUP to the listener of the pid file, once it is seen to be sshd. Connections that are there stay.
fn reload() -> Result<(), SshError> {
    let wrong = |why: String| SshError::Reload { why };
    let settings = ask(&["-T"], "")?;
    let file = settings.lines().find_map(|line| line.strip_prefix("pidfile ")).unwrap_or("/run/sshd.pid");
    let Ok(text) = fs::read_to_string(file) else { return Ok(()) };
    let pid: i32 = text.trim().parse().map_err(|_| wrong(format!("{file} names no process")))?;
    let Ok(runs) = fs::read_link(format!("/proc/{pid}/exe")) else { return Ok(()) };
    // A listener whose file was replaced by an update runs the new one from here on.
    let runs = runs.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    let sshd = Paths::program("sshd").and_then(|path| fs::canonicalize(path).ok());
    if pid <= 1 || sshd.as_deref() != Some(Path::new(&runs)) {
        return Err(wrong(format!("{file} names {runs}, which is not sshd")));
    }
    kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|error| wrong(error.to_string()))
}
