//! Sends recorded events on: to syslog collectors, to a program. Each sink has its own task and its own place in the log.
//!
//! In: the log, the configuration. Out: each event at least once and in order to each sink. Spec: docs/events.md "Sinks".

mod board;
mod follow;
mod local;
mod notify;
mod tcp;
mod udp;

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use elevate_audit::{Origin, to_syslog};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::{Begin, Collector, Notify, Target};
use crate::log;
use crate::store::{EventReader, Recorded};

pub(crate) use board::{Board, Condition};
use follow::{Start, keep};

const RESOLVE: Duration = Duration::from_secs(10);

impl From<Begin> for Start {
    fn from(begin: Begin) -> Self {
        match begin {
            Begin::First => Self::First,
            Begin::Next => Self::Next,
        }
    }
}

/// Events to one syslog collector, for as long as the daemon runs.
pub(crate) async fn to_collector(reader: EventReader, board: Board, settings: Collector, host: String) {
    let origin = Origin { host, pid: std::process::id() };
    let post = board.post(format!("syslog.{}", settings.name), settings.to.to_string());
    let start = settings.from.into();
    match settings.to {
        Target::Unix(path) => match local::Local::new(path, origin, start) {
            Ok(sink) => keep(reader, sink, post).await,
            Err(error) => log::error(&format!("syslog.{}: no socket: {error}", settings.name)),
        },
        Target::Udp(address) => keep(reader, udp::Udp::new(address, origin, start), post).await,
        Target::Tcp(address) => keep(reader, tcp::Tcp::new(address, origin, start), post).await,
    }
}

/// The first address of `HOST:PORT`.
async fn resolve(address: &str) -> Result<SocketAddr, String> {
    let failed = |why: &str| format!("{address}: {why}");
    match timeout(RESOLVE, lookup_host(address)).await {
        Ok(Ok(mut found)) => found.next().ok_or_else(|| failed("no address")),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("the name is not resolved in time")),
    }
}

/// The event as a message. None when it cannot be written, which no waiting mends; the log itself has it.
fn message(event: &Recorded, origin: &Origin, longest: usize) -> Option<Vec<u8>> {
    match to_syslog(&event.event, origin, longest) {
        Ok(message) => Some(message),
        Err(error) => {
            log::error(&format!("syslog: event {}: {}", event.event.seq, log::chain(&error)));
            None
        }
    }
}

/// Events to a program, for as long as the daemon runs.
pub(crate) async fn to_program(reader: EventReader, board: Board, settings: Notify) {
    let shown = settings.exec.first().cloned().unwrap_or_default();
    if let Some(sink) = notify::Program::new(&settings.exec) {
        keep(reader, sink, board.post("notify".to_owned(), shown)).await;
    }
}
