//! Door 2: SSH to the daemon with the person's own key. The only place that knows russh, beside its two parts.
//!
//! In: a pinned server, the keys there are. Out: conversations, each a channel of the subsystem `elevate`, carried by a
//! thread of its own so that keepalives go on while a person thinks. Spec: docs/wire.md "Transports". Threat H06.

mod keys;
mod peer;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use elevate_protocol::message::SUBSYSTEM_PERSON;
use russh::keys::{Algorithm, EcdsaCurve};
use russh::{Disconnect, Preferred, cipher, client, compression, kex, mac};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Conversation, DoorError, Fate};
pub use keys::Keys;
use peer::Peer;

/// For the address to answer and prove its key.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// For the keys to be tried: somebody may have to touch one. The daemon allows 10 s.
const KEYS_PATIENCE: Duration = Duration::from_secs(60);
/// For what was said last to leave.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Silence after which the daemon is asked for a sign of life; three unanswered end the connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The daemon, as `elevate login` pinned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `NAME:PORT`.
    pub address: String,
    /// `SHA256:…` of its host key.
    pub fingerprint: String,
}

/// A connection to the daemon; made with the first conversation.
#[derive(Debug)]
pub struct Link {
    orders: mpsc::UnboundedSender<UnixStream>,
    fate: Fate,
    thread: JoinHandle<()>,
}

impl Link {
    /// Starts connecting. What goes wrong is told by the first conversation.
    ///
    /// # Errors
    /// [`DoorError::System`] when no thread can be started.
    pub fn start(server: Server, keys: Keys) -> Result<Self, DoorError> {
        let system = |source| DoorError::System { what: "start the SSH side", source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let (orders, mut taken) = mpsc::unbounded_channel();
        let fate = Fate::default();
        let told = Arc::clone(&fate);
        let thread = std::thread::Builder::new()
            .name("ssh".into())
            .spawn(move || {
                let mut waiting = VecDeque::new();
                if let Err(error) = runtime.block_on(carry(&server, &keys, &mut taken, &mut waiting, &told)) {
                    // Before the streams go: whoever sees one end finds out why.
                    tell(&told, at(error, &server.address));
                }
                // A name may still be looked up; nobody waits for that.
                runtime.shutdown_background();
            })
            .map_err(system)?;
        Ok(Self { orders, fate, thread })
    }

    /// A conversation more.
    ///
    /// # Errors
    /// Why the connection is gone.
    pub fn open(&self) -> Result<Conversation, DoorError> {
        let system = |source| DoorError::System { what: "set up a socket", source };
        let (near, far) = UnixStream::pair().map_err(system)?;
        far.set_nonblocking(true).map_err(system)?;
        // A thread that is over drops `far`: the conversation then ends with the fate.
        if self.orders.send(far).is_err() && self.thread.is_finished() {
            let told = self.fate.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(told.unwrap_or(DoorError::Closed));
        }
        Conversation::over(near, Some(Arc::clone(&self.fate)))
    }

    /// Lets what was said last leave, then ends; takes at most a few seconds.
    pub fn close(self) {
        drop(self.orders);
        // A panic of the thread was shown by itself; nothing depends on it here.
        drop(self.thread.join());
    }
}

fn tell(fate: &Fate, error: DoorError) {
    let mut told = fate.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none() {
        *told = Some(error);
    }
}

/// Fills in the address where an error came without one.
fn at(error: DoorError, address: &str) -> DoorError {
    let mut error = error;
    if let DoorError::Ssh { address: none, .. } = &mut error
        && none.is_empty()
    {
        *none = address.to_owned();
    }
    error
}

fn late(address: &str) -> DoorError {
    DoorError::Connect { address: address.to_owned(), source: std::io::ErrorKind::TimedOut.into() }
}

/// What docs/wire.md says of SSH, and nothing else.
fn config() -> client::Config {
    let preferred = Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        key: Cow::Borrowed(&[Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }]),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
    };
    client::Config {
        preferred,
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        ..client::Config::default()
    }
}

async fn connect(server: &Server) -> Result<client::Handle<Peer>, DoorError> {
    let unreachable = |source| DoorError::Connect { address: server.address.clone(), source };
    let socket = tokio::net::TcpStream::connect(server.address.as_str()).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    client::connect_stream(Arc::new(config()), socket, Peer::new(server)).await
}

type Orders = mpsc::UnboundedReceiver<UnixStream>;

/// Connects, then carries every conversation that is ordered. Streams stay in `waiting` until they have a channel.
async fn carry(
    server: &Server,
    keys: &Keys,
    orders: &mut Orders,
    waiting: &mut VecDeque<UnixStream>,
    fate: &Fate,
) -> Result<(), DoorError> {
    let connecting = async {
        let connected = timeout(CONNECT_PATIENCE, connect(server)).await;
        let mut handle = connected.map_err(|_| late(&server.address))??;
        let authenticated = keys::authenticate(&mut handle, keys, &server.address);
        timeout(KEYS_PATIENCE, authenticated).await.map_err(|_| late(&server.address))??;
        Ok::<_, DoorError>(handle)
    };
    tokio::pin!(connecting);
    let handle = loop {
        tokio::select! {
            connected = &mut connecting => break connected?,
            order = orders.recv() => match order {
                Some(stream) => waiting.push_back(stream),
                // The person left before it was connected.
                None => return Ok(()),
            },
        }
    };
    let mut carried = JoinSet::new();
    loop {
        while !waiting.is_empty() {
            let channel = subsystem(&handle, &server.address).await?;
            if let Some(stream) = waiting.pop_front() {
                carried.spawn(relay(stream, channel, (server.address.clone(), Arc::clone(fate))));
            }
        }
        match orders.recv().await {
            Some(stream) => waiting.push_back(stream),
            None => break,
        }
    }
    // Everything was said: what is left gets a moment, then the connection ends properly.
    let rest = async { while carried.join_next().await.is_some() {} };
    if timeout(CLOSE_PATIENCE, rest).await.is_err() {
        carried.abort_all();
    }
    let bye = handle.disconnect(Disconnect::ByApplication, "", "");
    // The daemon may have hung up first; then there is nothing to say goodbye to.
    drop(timeout(CLOSE_PATIENCE, bye).await);
    Ok(())
}

/// A channel of the subsystem. Whether it was given is not waited for, what is said goes out at once (RFC 4254 §5.4, `want reply`): over a
/// long way that is one way there and back less.
async fn subsystem(
    handle: &client::Handle<Peer>,
    address: &str,
) -> Result<russh::Channel<client::Msg>, DoorError> {
    let opened = timeout(CONNECT_PATIENCE, handle.channel_open_session());
    let channel = opened.await.map_err(|_| late(address))??;
    channel.request_subsystem(false, SUBSYSTEM_PERSON).await?;
    Ok(channel)
}

async fn relay(near: UnixStream, channel: russh::Channel<client::Msg>, (address, fate): (String, Fate)) {
    let carried = async {
        let (mut said, mut to_person) = tokio::net::UnixStream::from_std(near)?.into_split();
        let (mut heard, mut to_daemon) = tokio::io::split(channel.into_stream());
        let up = async {
            tokio::io::copy(&mut said, &mut to_daemon).await?;
            to_daemon.shutdown().await
        };
        let down = async {
            // Before the person's side sees the end of it, and looks for the reason.
            if tokio::io::copy(&mut heard, &mut to_person).await? == 0 {
                tell(&fate, DoorError::Subsystem { address });
            }
            to_person.shutdown().await
        };
        // Whichever side goes first: there is nothing to be said to the other, or to be heard from it.
        tokio::select! {
            ended = up => ended,
            ended = down => ended,
        }
    };
    match carried.await {
        Ok(()) => {}
        // The person's side went first: that is how waiting is left.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(source) => tell(&fate, DoorError::System { what: "carry the conversation", source }),
    }
}
