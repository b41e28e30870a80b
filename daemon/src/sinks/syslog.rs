//! Events as RFC 5424 datagrams to the local syslog socket.
//!
//! In: events. Out: one datagram each. The socket is named anew for each, so that a syslog daemon may be restarted.

use std::path::PathBuf;
use std::time::Duration;

use elevate_audit::{Origin, to_syslog};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::{Sink, Start};
use crate::log;
use crate::store::Recorded;

const SEND: Duration = Duration::from_secs(5);

/// The local syslog.
pub(super) struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
    origin: Origin,
}

impl Datagrams {
    /// # Errors
    /// When the system gives no socket; whether somebody listens is seen at each event.
    pub(super) fn new(path: PathBuf, host: String) -> std::io::Result<Self> {
        let origin = Origin { host, pid: std::process::id() };
        Ok(Self { socket: UnixDatagram::unbound()?, path, origin })
    }
}

impl Sink for Datagrams {
    const NAME: &'static str = "syslog";
    const START: Start = Start::Oldest;

    async fn send(&mut self, event: &Recorded) -> Result<(), String> {
        let message = match to_syslog(&event.event, &self.origin) {
            Ok(message) => message,
            Err(error) => {
                // It will not get better by waiting; the log itself has it.
                log::error(&format!("syslog: event {}: {}", event.event.seq, log::chain(&error)));
                return Ok(());
            }
        };
        match timeout(SEND, self.socket.send_to(&message, &self.path)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
            Err(_) => Err(format!("{} takes nothing", self.path.display())),
        }
    }
}
