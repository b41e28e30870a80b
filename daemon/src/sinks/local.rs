//! Events as RFC 5424 datagrams to a local syslog socket.
//!
//! In: events. Out: one datagram each. The socket is named anew for each, so that a syslog daemon may be restarted.
//! What the kernel took lies in the receiver's own queue: no more can be known of it.

use std::path::PathBuf;
use std::time::Duration;

use elevate_audit::{Origin, SYSLOG_MAX};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::follow::{Habits, Sink, Start};
use super::message;
use crate::store::Recorded;

const SEND: Duration = Duration::from_secs(5);

/// The local syslog.
pub(super) struct Local {
    socket: UnixDatagram,
    path: PathBuf,
    origin: Origin,
    start: Start,
}

impl Local {
    /// # Errors
    /// When the system gives no socket; whether somebody listens is seen at each event.
    pub(super) fn new(path: PathBuf, origin: Origin, start: Start) -> std::io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, path, origin, start })
    }
}

impl Sink for Local {
    fn habits(&self) -> Habits {
        Habits {
            start: self.start,
            window: 4096,
            hold: Duration::from_secs(1),
            linger: Duration::ZERO,
            again: 0,
        }
    }

    async fn send(&mut self, event: &Recorded) -> Result<(), String> {
        let Some(message) = message(event, &self.origin, SYSLOG_MAX) else { return Ok(()) };
        match timeout(SEND, self.socket.send_to(&message, &self.path)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
            Err(_) => Err(format!("{} takes nothing", self.path.display())),
        }
    }
}
