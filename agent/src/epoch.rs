//! Root's word on the epoch of this host's log: the file /etc/elevate/epoch, one number and a line end.
//!
//! In: `elevate-agent confirm-epoch N`, or the file from elsewhere. Out: the number, for the agent. It says which epoch may begin, and
//! nothing happens before the daemon says the same. Runs as: root, by hand. Spec: docs/wire.md "Epochs".

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::journal;
use crate::life::{self, Life};
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};
use crate::status;

const FILE_MAX: u64 = 64;
/// How long the command waits for the agent.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// Exit code of an input that was refused.
const USAGE: u8 = 2;

/// Why root's word is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EpochError {
    /// The file cannot be used.
    #[error("root's word on the epoch cannot be used")]
    File {
        /// Why.
        source: SafeError,
    },
    /// It says something else.
    #[error("root's word on the epoch is not one number")]
    Parse,
    /// Nothing waits for it.
    #[error("{0}")]
    Nothing(String),
}

/// Root's word; none: nothing was said.
///
/// # Errors
/// An [`EpochError`]; then nothing was said either.
pub(crate) fn word(paths: &Paths) -> Result<Option<u32>, EpochError> {
    match safe::read(&paths.epoch, FILE_MAX) {
        Ok(text) => {
            let number = text.strip_suffix('\n').ok_or(EpochError::Parse)?;
            number.parse().map(Some).map_err(|_| EpochError::Parse)
        }
        Err(SafeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EpochError::File { source }),
    }
}

/// `confirm-epoch`: writes root's word down, when the daemon has said the same, and waits until the agent has taken it.
pub(crate) fn confirm(paths: &Paths, epoch: u32) -> ExitCode {
    if let Err(error) = waits(paths, epoch) {
        journal::fatal(&error);
        return ExitCode::from(USAGE);
    }
    let written = safe::write(&paths.epoch, &format!("{epoch}\n"), 0o644, Durability::Disk);
    if let Err(source) = written {
        return journal::fatal(&EpochError::File { source });
    }
    let until = Instant::now().checked_add(PATIENCE);
    while until.is_some_and(|until| Instant::now() < until) {
        if status::load(paths).is_ok_and(|status| status.epoch == epoch) {
            eprintln!("epoch {epoch} has begun here; what was in force before has ended");
            return ExitCode::SUCCESS;
        }
        if life::of_agent(&paths.agent_socket) == Life::Absent {
            break;
        }
        // The agent tells nobody of its status: it is looked at.
        thread::sleep(PAUSE);
    }
    eprintln!(
        "noted; it begins as soon as the agent runs and the daemon says it again. See: elevate-agent status"
    );
    ExitCode::SUCCESS
}

fn waits(paths: &Paths, epoch: u32) -> Result<(), EpochError> {
    let status = status::load(paths).map_err(|error| EpochError::Nothing(journal::chain(&error)))?;
    match status.new_epoch {
        Some(said) if said == epoch => Ok(()),
        Some(said) => Err(EpochError::Nothing(format!("the daemon says epoch {said}, not {epoch}"))),
        None => {
            Err(EpochError::Nothing(format!("no epoch waits here; this host is in epoch {}", status.epoch)))
        }
    }
}
