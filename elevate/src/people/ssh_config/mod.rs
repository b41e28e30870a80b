//! `elevate ssh-config`: plain `ssh`, scp, rsync and git use the grants that are there.
//!
//! In: my roles; at each login an account and a host. Out: lines for ssh_config(5), and at each login a certificate in a folder of
//! mine, or at once why there is none. Spec: docs/ssh.md "Plain ssh".

mod kept;
mod lines;
mod ready;

use std::path::{Path, PathBuf};

use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::view::ActivationView;
use elevate_protocol::name::Name;
use elevate_protocol::text::escape;
use nix::unistd::User;

use kept::Kept;

use super::known_hosts::{self, Files};
use super::request::not_expected;
use super::session::Session;
use crate::args::SshConfig;
use crate::door::Which;
use crate::failure::Failure;
use crate::talk::{End, Wait};

const HOW: &str = "elevate ssh-config > ~/.ssh/elevate_config, and in ~/.ssh/config: Include elevate_config";

/// A door: an account on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    login: Name,
    host: Name,
}

impl std::fmt::Display for Place {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}@{}", self.login, self.host)
    }
}

/// `elevate ssh-config`.
pub(super) fn ssh_config(session: &mut Session, words: &SshConfig) -> Result<u8, Failure> {
    if let Some([folder, login, host]) = words.ready.as_deref() {
        let name = |text: &str| -> Result<Name, Failure> {
            text.parse().map_err(|error| Failure::usage(format!("{}: {error}", escape(text)), HOW))
        };
        return ready::ready(session, Path::new(folder), &Place { login: name(login)?, host: name(host)? });
    }
    let end = session.ask_through(Which::Two, &Ask::Eligible, Wait::Machines)?;
    let End::Done(Outcome::Eligible(mine)) = end else { return Err(not_expected(end)) };
    let files = known_hosts::files(session)?;
    let believed = known_hosts::ask(session)?;
    known_hosts::keep(
        &files,
        mine.iter().filter(|role| !role.logins.is_empty()).flat_map(|role| &role.hosts),
        &believed,
    )?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/elevate"));
    let account = User::from_uid(session.around.uid).ok().flatten().map(|user| user.name);
    let shown = lines::Shown {
        program: plain(&program)?,
        folder: plain(&folder(session))?,
        hosts: shown(&files)?,
        account: account.as_deref().filter(|name| !name.is_empty() && name.chars().all(is_plain)),
    };
    session.console.script(lines::lines(&mine, &shown).as_bytes());
    Ok(0)
}

/// These are over: their certificates go, so that the next plain `ssh` says so. What cannot be taken away opens nothing.
pub(super) fn forget(session: &Session, over: &[ActivationView]) {
    let folder = folder(session);
    if let Some(kept) = folder.is_dir().then(|| Kept::open(&folder, session.around.uid).ok()).flatten() {
        over.iter().for_each(|view| kept.forget(view.id));
    }
}

/// In memory where the system gives a person such a folder, and gone with the last login; under the home folder elsewhere.
fn folder(session: &Session) -> PathBuf {
    let runtime = PathBuf::from(format!("/run/user/{}", session.around.uid));
    if runtime.is_dir() { runtime.join("elevate") } else { session.around.home.join(".cache/elevate") }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/_.+@-".contains(letter)
}

/// The files about hosts as they stand there.
pub(super) fn shown(files: &Files<PathBuf>) -> Result<Files<String>, Failure> {
    Ok(Files { lines: plain(&files.lines)?, revoked: plain(&files.revoked)? })
}

/// A path that stands in ssh_config(5) and in a shell's words as it is.
fn plain(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if text.chars().all(is_plain) => Ok(text.to_owned()),
        _ => {
            let shown = escape(&path.display().to_string());
            Err(Failure::usage(
                format!("{shown} cannot be written in ssh_config: letters, digits, / _ . + @ - can"),
                HOW,
            ))
        }
    }
}
