//! Events as RFC 5426 datagrams through a network.
//!
//! In: events. Out: datagrams of at most 2 KiB, with pauses, so that a receiver's buffer keeps up. UDP says nothing of arrival:
//! what is noticed is a machine that says that nobody listens (ICMP). Spec: docs/events.md "Sinks".

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use elevate_audit::{DATAGRAM_MAX, Origin};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::follow::{Habits, Sink, Start};
use super::{message, resolve};
use crate::store::Recorded;

const SEND: Duration = Duration::from_secs(5);
/// Datagrams between two pauses.
const BURST: u32 = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// How long a "nobody listens" is waited for before datagrams count as delivered.
const SETTLE: Duration = Duration::from_millis(200);

/// A collector behind UDP.
pub(super) struct Udp {
    address: String,
    origin: Origin,
    start: Start,
    socket: Option<UdpSocket>,
    sent: u32,
}

impl Udp {
    pub(super) fn new(address: String, origin: Origin, start: Start) -> Self {
        Self { address, origin, start, socket: None, sent: 0 }
    }

    /// A new socket with each failure, so that a name that moved is found again.
    async fn open(&self) -> Result<UdpSocket, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.address);
        let to = resolve(&self.address).await?;
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(from).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        Ok(socket)
    }

    async fn put(&mut self, message: &[u8]) -> Result<(), String> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open().await?,
        };
        match timeout(SEND, socket.send(message)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("{}: {error}", self.address)),
            Err(_) => return Err(format!("{}: nothing can be sent", self.address)),
        }
        self.sent = self.sent.wrapping_add(1);
        self.socket = Some(socket);
        if self.sent.is_multiple_of(BURST) { self.listen(PAUSE).await } else { Ok(()) }
    }

    /// Waits for a "nobody listens". What else comes is thrown away.
    async fn listen(&mut self, length: Duration) -> Result<(), String> {
        let Some(socket) = self.socket.take() else { return Ok(()) };
        let refused = async {
            let mut nothing = [0u8; 1];
            loop {
                if let Err(error) = socket.recv(&mut nothing).await {
                    return error;
                }
            }
        };
        if let Ok(error) = timeout(length, refused).await {
            return Err(format!("{}: {error}", self.address));
        }
        self.socket = Some(socket);
        Ok(())
    }
}

impl Sink for Udp {
    fn habits(&self) -> Habits {
        Habits {
            start: self.start,
            window: 4096,
            hold: Duration::from_secs(10),
            linger: Duration::ZERO,
            again: 256,
        }
    }

    async fn send(&mut self, event: &Recorded) -> Result<(), String> {
        match message(event, &self.origin, DATAGRAM_MAX) {
            Some(message) => self.put(&message).await,
            None => Ok(()),
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        self.listen(SETTLE).await
    }
}
