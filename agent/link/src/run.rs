//! Keeps one connection to the daemon and one to the agent, both or none.
//!
//! In: configuration, key, the agent's socket. Out: carried frames; a log line when something changes.
//! Order: daemon first, then the agent, so that a link connection at the agent means a daemon at the other end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use elevate_protocol::message::SUBSYSTEM_AGENT;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::carry::{Carried, End, Limits, carry};
use crate::config::{self, ConfigError, Daemon};
use crate::key::{self, KeyError};
use crate::manager::Manager;
use crate::ssh::{self, Connection, SshError};
use crate::{chain, tell};

/// The user name that the link says; the daemon looks at the key only.
const USER: &str = "elevate-link";
/// How often a socket that is not there is tried, and how many times, before the daemon is let go.
const AGENT_TRIES: u32 = 40;
const AGENT_PAUSE: Duration = Duration::from_millis(500);

/// Why there is, at this moment, no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The configuration.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The key.
    #[error("there is no link key")]
    Key(#[from] KeyError),
    /// The daemon.
    #[error("no connection to the daemon")]
    Ssh(#[from] SshError),
    /// The agent.
    #[error("no agent at {path}")]
    Agent { path: PathBuf, source: io::Error },
    /// Signals cannot be had.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
    /// No randomness.
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
}

async fn reach_agent(path: &Path, connection: &Connection) -> Result<UnixStream, RunError> {
    let mut tries = 0;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(source) if tries >= AGENT_TRIES || connection.is_closed() => {
                return Err(RunError::Agent { path: path.to_owned(), source });
            }
            Err(_) => sleep(AGENT_PAUSE).await,
        }
        tries = tries.saturating_add(1);
    }
}

/// One connection, from its beginning to its end.
async fn once(daemon: &Daemon, key: &Path, socket: &Path) -> Result<(End, Carried), RunError> {
    let key = key::read(key)?;
    let connection = ssh::connect(daemon, USER, key).await?;
    let agent = reach_agent(socket, &connection).await?;
    let stream = connection.open(SUBSYSTEM_AGENT).await?;
    tell(&format!("connected to {}", daemon.address));
    let ended = carry(agent, stream, Limits::OURS).await;
    connection.close().await;
    Ok(ended)
}

async fn keep(daemon: &Daemon, key: &Path, socket: &Path) -> Result<(), RunError> {
    let mut backoff = Backoff::default();
    let mut last = String::new();
    loop {
        let text = match once(daemon, key, socket).await {
            Ok((end, carried)) => {
                // Both sides went on after their hellos: this was a link, not a refusal.
                if carried.up > 1 && carried.down > 1 {
                    backoff.reset();
                }
                last.clear();
                chain(&end)
            }
            Err(error) => chain(&error),
        };
        if text != last {
            tell(&text);
            last = text;
        }
        let mut random = [0u8; 1];
        getrandom::fill(&mut random)?;
        let [random] = random;
        sleep(backoff.next_delay(random)).await;
    }
}

/// Runs until a signal ends it.
///
/// # Errors
/// A [`RunError`] that trying again does not mend: configuration, key, signals.
pub(crate) async fn run(config: &Path, key: &Path, socket: &Path) -> Result<(), RunError> {
    let daemon = config::read(config)?;
    drop(key::read(key)?);
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    let manager = Manager::of_this_process();
    let watched = async {
        match &manager {
            Some(manager) => manager.watch().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = keep(&daemon, key, socket) => ended,
        never = watched => match never {},
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
