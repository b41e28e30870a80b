//! The SSH listener. Nothing outside this folder knows russh.
//!
//! In: TCP connections. Out: authenticated streams for person, agent, enrol. russh has neither a login time nor a cap of
//! connections, so both are here (threats H05, H09; CRATES §1.3).

mod algorithms;
mod crowd;
mod handler;

#[cfg(test)]
mod abuse_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod identity_tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Config, run_stream};
use ssh_key::PrivateKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};

use self::crowd::{Crowd, Seat};
use super::Patience;
use super::counter::{Counter, source_of};
use crate::config::Limits;
use crate::core::Core;
use crate::log;
use elevate_protocol::id::HostId;
use elevate_protocol::name::Name;

/// Channels of one person at once, over all connections: each holds a message that has begun and what waits to be read of the
/// next, half a megabyte at most (threat R08).
const PERSON_CHANNELS: u32 = 64;
/// Connections of one host: its agent has one, and old ones that are not yet known to be dead.
const HOST_CONNECTIONS: u32 = 8;

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) core: Core,
    pub(crate) patience: Patience,
    pub(crate) people: Counter<Name>,
    /// Channels of a person, over all of their connections.
    pub(crate) talks: Counter<Name>,
    pub(crate) hosts: Counter<HostId>,
    sources: Crowd,
    config: Arc<Config>,
}

/// Cuts a connection whatever russh is doing with it at that moment.
pub(crate) struct Switch(std::net::TcpStream);

impl Switch {
    /// Reading and writing end at once.
    pub(crate) fn cut(&self) {
        // Not connected any more: then it is cut.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// Opens the port. `[::]` falls back to `0.0.0.0` where the machine has no IPv6.
///
/// # Errors
/// [`ListenError::Bind`].
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) =>
        {
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
        }
        Err(source) => Err(ListenError::Bind { address, source }),
    }
}

/// The door that [`serve`] keeps.
pub(crate) struct Listener {
    /// The port.
    pub(crate) port: TcpListener,
    /// What it shows.
    pub(crate) host_key: PrivateKey,
    /// How many at once.
    pub(crate) limits: Limits,
    /// How long to wait.
    pub(crate) patience: Patience,
}

/// Accepts until `stop` becomes true; then says goodbye to everybody.
pub(crate) async fn serve(listener: Listener, core: Core, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let Listener { port, host_key, limits, patience } = listener;
    let shared = Arc::new(Shared {
        core,
        patience,
        people: Counter::new(limits.connections_per_person, u32::MAX),
        talks: Counter::new(PERSON_CHANNELS, u32::MAX),
        hosts: Counter::new(HOST_CONNECTIONS, u32::MAX),
        sources: Crowd::new(limits.unauthenticated_per_source, limits.unauthenticated),
        config: Arc::new(algorithms::config(host_key)),
    });
    loop {
        tokio::select! {
            accepted = port.accept() => match accepted {
                Ok((stream, peer)) => admit(&shared, stream, peer.ip().to_canonical(), stop.clone()),
                Err(error) => {
                    // Out of descriptors, most likely: others must end first.
                    log::error(&format!("the SSH port: {error}"));
                    sleep(Duration::from_millis(200)).await;
                }
            },
            () = stopped(&mut stopping) => return,
        }
    }
}

/// Returns when the daemon stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is a daemon that is gone: it has stopped as well.
    drop(stop.wait_for(|stop| *stop).await);
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, from: IpAddr, stop: watch::Receiver<bool>) {
    let Some((seat, leave)) = shared.sources.take(source_of(from)) else {
        // Closed without a word: words cost more than the connection did.
        log::debug(&format!("{from}: too many connections that have not authenticated"));
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = connection(shared, stream, (from, seat, leave), stop).await {
            log::debug(&format!("{from}: {}", log::chain(&error)));
        }
    });
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("did not authenticate in time")]
    Login,
    #[error("had to make room before it authenticated")]
    Crowded,
    #[error("nothing went on")]
    Idle,
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("the SSH connection failed")]
    Ssh(#[from] russh::Error),
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    (from, seat, leave): (IpAddr, Seat, Arc<Notify>),
    mut stop: watch::Receiver<bool>,
) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let switch = Arc::new(Switch(stream.try_clone()?));
    let stream = TcpStream::from_std(stream)?;
    let (login, mut logged_in) = oneshot::channel();
    let (working, mut work) = watch::channel(0usize);
    let door = handler::Door::new(Arc::clone(&shared), from, (login, seat), (working, Arc::clone(&switch)));
    let deadline = sleep(shared.patience.login);
    tokio::pin!(deadline);
    let mut running = tokio::select! {
        // Boxed: room for the handshake is given back after it.
        running = Box::pin(run_stream(Arc::clone(&shared.config), stream, door)) => running?,
        () = &mut deadline => return Err(Ended::Login),
        () = leave.notified() => return Err(Ended::Crowded),
    };
    let handle = running.handle();
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = &mut deadline => {
            switch.cut();
            return Err(Ended::Login);
        }
        () = leave.notified() => {
            switch.cut();
            return Err(Ended::Crowded);
        }
        _ = &mut logged_in => {}
    }
    tokio::select! {
        ended = &mut running => Ok(ended?),
        () = idle(&mut work, shared.patience.idle) => {
            switch.cut();
            Err(Ended::Idle)
        }
        // Who says to be new keeps the seat of the unauthenticated, and leaves it like them. Others have given it back.
        () = leave.notified() => {
            switch.cut();
            Err(Ended::Crowded)
        }
        () = stopped(&mut stop) => {
            let goodbye = handle.disconnect(russh::Disconnect::ByApplication, "the daemon stops".into(), String::new());
            drop(timeout(Duration::from_secs(1), goodbye).await);
            drop(timeout(Duration::from_secs(1), running).await);
            switch.cut();
            Ok(())
        }
    }
}

/// Returns when nothing has gone on for `limit`.
async fn idle(work: &mut watch::Receiver<usize>, limit: Duration) {
    loop {
        if !until(work, |running| running == 0).await {
            // The connection is over already; its own end says so.
            std::future::pending::<()>().await;
        }
        if timeout(limit, until(work, |running| running > 0)).await.is_err() {
            return;
        }
    }
}

async fn until(work: &mut watch::Receiver<usize>, wanted: impl Fn(usize) -> bool) -> bool {
    work.wait_for(|running| wanted(*running)).await.is_ok()
}
