//! Events over TCP with octet counting (RFC 6587 §3.4.1).
//!
//! In: events. Out: frames on one connection. Syslog over TCP has no acknowledgement, so one is taken from TCP itself: every
//! few seconds we close our half and wait for the collector's, which it closes when it has read everything; a collector that
//! dies with something unread makes a reset instead (threats I08, I18). Only then the place in the log moves.

use std::io;
use std::time::Duration;

use elevate_audit::{Origin, SYSLOG_MAX};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::follow::{Habits, Sink, Start};
use super::{message, resolve};
use crate::log;
use crate::store::Recorded;

const CONNECT: Duration = Duration::from_secs(10);
/// How long a collector may take nothing, or not close, before the connection is given up and everything sent again.
const PATIENCE: Duration = Duration::from_secs(120);
/// After the collector closed: until its machine has acknowledged the last byte.
const LAST_BYTE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A collector behind TCP.
pub(super) struct Tcp {
    address: String,
    origin: Origin,
    start: Start,
    stream: Option<TcpStream>,
}

impl Tcp {
    pub(super) fn new(address: String, origin: Origin, start: Start) -> Self {
        Self { address, origin, start, stream: None }
    }

    async fn open(&self) -> Result<TcpStream, String> {
        let to = resolve(&self.address).await?;
        let stream = match timeout(CONNECT, TcpStream::connect(to)).await {
            Ok(connected) => connected.map_err(|error| self.told(&error))?,
            Err(_) => return Err(format!("{}: no connection within {} s", self.address, CONNECT.as_secs())),
        };
        // A machine that vanished while nothing was sent is noticed, even so.
        if let Err(errno) = setsockopt(&stream, sockopt::KeepAlive, &true) {
            log::debug(&format!("{}: no keepalive: {errno}", self.address));
        }
        Ok(stream)
    }

    fn told(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.address)
    }

    async fn put(&mut self, message: &[u8]) -> Result<(), String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await?,
        };
        let mut frame = format!("{} ", message.len()).into_bytes();
        frame.extend_from_slice(message);
        match timeout(PATIENCE, stream.write_all(&frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.told(&error)),
            Err(_) => return Err(format!("{}: takes nothing", self.address)),
        }
        self.stream = Some(stream);
        Ok(())
    }
}

/// Reads to the end; what a collector says is thrown away.
async fn to_the_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut nothing = [0u8; 512];
    while stream.read(&mut nothing).await? != 0 {}
    Ok(())
}

/// After both sides closed: whether all that we sent was acknowledged, or a reset came for some of it. Linux keeps the peer's
/// address until the connection is over both ways, and the reset as the socket's error.
async fn all_taken(stream: &TcpStream) -> io::Result<()> {
    let began = Instant::now();
    while stream.peer_addr().is_ok() {
        if began.elapsed() > LAST_BYTE {
            return Err(io::Error::other("closed without taking the last bytes"));
        }
        sleep(LOOK_AGAIN).await;
    }
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

impl Sink for Tcp {
    fn habits(&self) -> Habits {
        Habits {
            start: self.start,
            window: 4096,
            hold: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            again: 256,
        }
    }

    async fn send(&mut self, event: &Recorded) -> Result<(), String> {
        match message(event, &self.origin, SYSLOG_MAX) {
            Some(message) => self.put(&message).await,
            None => Ok(()),
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let closing = async {
            stream.shutdown().await?;
            to_the_end(&mut stream).await?;
            all_taken(&stream).await
        };
        match timeout(PATIENCE, closing).await {
            Ok(closed) => closed.map_err(|error| self.told(&error)),
            Err(_) => Err(format!("{}: does not say that it has read everything", self.address)),
        }
    }
}
