//! People of the policy who have turned against the daemon: as many connections and conversations as it gives them, the largest
//! message that there is on each, and never its last byte.
//!
//! In: their keys on the laptop, a machine to come from, what each conversation says. Out: threads in its network, until they are stopped.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use elevate_protocol::message::SUBSYSTEM_PERSON;
use elevate_tests::Host;
use elevate_tests::fleet::Fleet;
use nix::sched::{CloneFlags, setns};
use russh::client::{self, Handle, Handler, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Preferred, cipher};
use ssh_key::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than the daemon gives: 32 connections, 16 conversations on each.
const CONNECTIONS: usize = 34;
const CONVERSATIONS: usize = 17;
/// The daemon gives up what has begun and does not end after 5 s.
const ROUND: Duration = Duration::from_secs(6);

/// They only want to talk to somebody.
struct AnyServer;

impl Handler for AnyServer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Counts of all of them.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    rounds: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

/// Their threads.
pub(crate) struct Insiders {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Insiders {
    /// One thread for each of them.
    pub(crate) fn start((fleet, from): (&Fleet, &Host), logins: &[&str], says: Vec<u8>) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let says = Arc::new(says);
        let address = format!("{}:7022", fleet.vault.address());
        let mut threads = Vec::new();
        for login in logins {
            let key = fleet.laptop.read(format!("/home/{login}/.ssh/id_ed25519"))?;
            let key = Arc::new(PrivateKey::from_openssh(key)?);
            let network = File::open(format!("/proc/{}/ns/net", from.pid()?))?;
            let (counts, says, address) = (Arc::clone(&counts), Arc::clone(&says), address.clone());
            threads.push(std::thread::spawn(move || {
                setns(&network, CloneFlags::CLONE_NEWNET)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(rounds(&address, &key, (&says, &counts)));
                Ok(())
            }));
        }
        Ok(Self { counts, threads })
    }

    /// How many rounds both together have done.
    pub(crate) fn rounds(&self) -> usize {
        self.counts.rounds.load(Ordering::Relaxed)
    }

    /// The most conversations that were open at once with all that they had to say.
    pub(crate) fn most(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }

    /// They go.
    pub(crate) fn end(self) -> Result<()> {
        self.counts.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("an insider panicked")??;
        }
        Ok(())
    }
}

async fn rounds(address: &str, key: &Arc<PrivateKey>, (says, counts): (&Arc<Vec<u8>>, &Arc<Counts>)) {
    while !counts.stop.load(Ordering::Relaxed) {
        // First everything is opened, then all of it speaks at once: what has begun may not last for long.
        let (mut handles, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            // Refused, cut off: that is the daemon's right.
            let Ok(Ok(handle)) = timeout(ROUND, connected(address, Arc::clone(key))).await else { continue };
            for _ in 0..CONVERSATIONS {
                let Ok(Some(channel)) = timeout(ROUND, opened(&handle)).await else { break };
                channels.push(channel);
            }
            handles.push(handle);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for channel in channels {
            tasks.spawn(speak(channel, Arc::clone(says), Arc::clone(counts)));
        }
        tasks.join_all().await;
        counts.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connected(address: &str, key: Arc<PrivateKey>) -> Result<Handle<AnyServer>> {
    let preferred = Preferred { cipher: Cow::Borrowed(&[cipher::AES_128_GCM]), ..Preferred::default() };
    let config = Arc::new(client::Config { preferred, ..client::Config::default() });
    let stream = TcpStream::connect(address).await?;
    let mut handle = client::connect_stream(config, stream, AnyServer).await?;
    let key = PrivateKeyWithHashAlg::new(key, None);
    handle.authenticate_publickey("x", key).await?;
    Ok(handle)
}

async fn opened(handle: &Handle<AnyServer>) -> Option<Channel<Msg>> {
    let mut channel = handle.channel_open_session().await.ok()?;
    channel.request_subsystem(true, SUBSYSTEM_PERSON).await.ok()?;
    loop {
        let said = channel.wait().await?;
        if matches!(said, ChannelMsg::Success) {
            return Some(channel);
        }
        if !matches!(said, ChannelMsg::WindowAdjusted { .. }) {
            return None;
        }
    }
}

/// Says it, and waits until the daemon has had enough.
async fn speak(channel: Channel<Msg>, says: Arc<Vec<u8>>, counts: Arc<Counts>) {
    let mut stream = channel.into_stream();
    let begun = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
    let said = timeout(ROUND, stream.write_all(&says)).await;
    if matches!(said, Ok(Ok(()))) {
        counts.most.fetch_max(begun, Ordering::Relaxed);
        let mut piece = [0; 512];
        let reads = async { while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {} };
        drop(timeout(ROUND, reads).await);
    }
    counts.open.fetch_sub(1, Ordering::Relaxed);
}
