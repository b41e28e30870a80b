//! `elevate-agent unenroll`: takes out what enroll put in, and leaves every other byte. Needs neither daemon nor agent.
//!
//! In: the host as it is. Out: sudo and PAM as without Elevate. Rights end first, then the gate goes, then what is open is
//! closed, maybe the connection that this runs in. What cannot be taken out is told, and the rest goes on.

use std::fs;
use std::io;
use std::path::Path;

use crate::app::connections;
use crate::journal;
use crate::life::{self, Life};
use crate::paths::Paths;
use crate::probe::SERVICES;
use crate::sshd::PAM_SERVICE;

use super::changes::{ChangeError, Changes};
use super::checks::{self, CheckError};
use super::flow::{holding_signals, link_folder};
use super::leftovers::{self, LeftoverError};
use super::say;
use super::services::{self, Services};
use super::ssh;

/// Why the host is not fully as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnenrolError {
    /// Not possible at all.
    #[error("cannot unenroll")]
    Check(#[from] CheckError),
    /// Something stays; it has been told.
    #[error("{count} things of Elevate are still there; see above")]
    Stays {
        /// How many.
        count: usize,
    },
}

/// Takes the enrolment back.
///
/// # Errors
/// An [`UnenrolError`].
pub(crate) fn run(paths: &Paths, no_services: bool) -> Result<(), UnenrolError> {
    checks::root(paths)?;
    if !no_services && let Services::Failed(said) = services::stop() {
        // A unit that was never installed is no reason to leave sudo as it is.
        say(&format!("The services could not be stopped: {said}"));
    }
    // The terminal may hang up on the way.
    holding_signals(|| take_out_and_tell(paths))
}

fn take_out_and_tell(paths: &Paths) -> Result<(), UnenrolError> {
    let lives = life::of_agent(&paths.agent_socket) != Life::Absent;
    let mut stays = take_out(paths);
    if lives {
        say("elevate-agent still runs here, without any effect on sudo. Stop it.");
    }
    let tell = |error: &LeftoverError| say(&format!("NOT taken out: {}", journal::chain(error)));
    stays.iter().for_each(tell);
    // Whoever does this over a connection under a grant loses it here, and with it every right to go on: all else is done and told.
    connections::close_all(paths);
    if let Err(error) = empty(&paths.run) {
        tell(&error);
        stays.push(error);
    }
    if !stays.is_empty() {
        return Err(UnenrolError::Stays { count: stays.len() });
    }
    say("This host is no longer enrolled; sudo and PAM are as without Elevate. The daemon still lists it.");
    Ok(())
}

/// Everything that enroll and the agent have made but the run folder, which knows what is open, in the order in which it may go.
fn take_out(paths: &Paths) -> Vec<LeftoverError> {
    let mut changes = Changes::default();
    let mut stays = Vec::new();
    let mut note = |done: Result<(), LeftoverError>| stays.extend(done.err());
    note(remove_folder(&paths.sudoers));
    note(remove_folder(&paths.principals));
    note(
        ssh::take_out(paths, &mut changes).map_err(|source| LeftoverError::Ssh { source: Box::new(source) }),
    );
    note(leftovers::include(paths, &mut changes));
    for service in SERVICES.into_iter().chain([PAM_SERVICE]) {
        note(leftovers::pam(paths, service, &mut changes));
    }
    for path in [
        &paths.config,
        &paths.epoch,
        &paths.grant_signers,
        &paths.user_ca,
        &paths.host_ca,
        &paths.vouch_key,
        &link_folder(paths).join("key"),
    ] {
        note(remove_file(path));
    }
    note(remove_folder(&paths.host_certificates));
    for path in [&paths.trust, &paths.keys, &paths.config.with_file_name("")] {
        note(remove_empty(path));
    }
    note(empty(&paths.state));
    changes.keep();
    stays
}

fn removed(done: io::Result<()>, path: &Path) -> Result<(), LeftoverError> {
    match done {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ChangeError::Io { what: "remove", path: path.to_owned(), source }.into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), LeftoverError> {
    removed(fs::remove_file(path), path)
}

fn remove_folder(path: &Path) -> Result<(), LeftoverError> {
    removed(fs::remove_dir_all(path), path)
}

/// A folder goes only when the site has put nothing into it.
fn remove_empty(path: &Path) -> Result<(), LeftoverError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => removed(done, path),
    }
}

/// Removes what is in a folder of ours; the folder itself is the package's.
fn empty(path: &Path) -> Result<(), LeftoverError> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        let inner = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder { remove_folder(&inner)? } else { remove_file(&inner)? }
    }
    Ok(())
}
