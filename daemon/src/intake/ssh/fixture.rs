//! A real listener with a real core in a folder of its own, and a real client, for the tests of this folder.

use std::net::SocketAddr;
use std::time::Duration;

use elevate_protocol::frame::{Decoder, encode};
use russh::client::{self, Handle};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{ChannelMsg, ChannelStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ssh_key::private::Ed25519Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::clock::Clock;
use crate::core::CoreSetup;

/// Longest wait of a test for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    pub(crate) core: Core,
    pub(crate) stop: watch::Sender<bool>,
    _place: tempfile::TempDir,
}

/// Nothing is short but what a test shortens.
pub(crate) fn patience() -> Patience {
    Patience { login: SOON, first: SOON, frame: SOON, write: SOON, idle: SOON }
}

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// Seed of alice's key.
pub(crate) const ALICE: u8 = 11;
/// Seed of a key that nobody holds.
pub(crate) const NOBODY: u8 = 99;

impl Fixture {
    pub(crate) async fn with(patience: Patience, limits: Limits, keys: &[String]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let alice = key(ALICE).public_key().to_openssh().unwrap();
        let keys: Vec<String> = std::iter::once(&alice).chain(keys).map(|key| format!("{key:?}")).collect();
        let policy = format!("[people]\nalice = {{ keys = [{}] }}\n", keys.join(", "));
        let policy_dir = place.path().join("policy.d");
        std::fs::create_dir(&policy_dir).unwrap();
        std::fs::write(policy_dir.join("main.toml"), policy).unwrap();
        let host_key = key(1);
        crate::keys::write_signing(&place.path().join(crate::keys::GRANT_FILE), &key(2)).unwrap();
        let setup = CoreSetup {
            data_dir: place.path().to_owned(),
            keys: crate::core::KeySetup {
                folder: place.path().to_owned(),
                owner: crate::keys::own_uid(),
                agent: None,
                user_ca: None,
                host_ca: None,
            },
            seal_key: zeroize::Zeroizing::new([3; 32]),
            policy: crate::core::read_policy(&policy_dir).unwrap(),
            policy_dir,
            advertised: "daemon.example:7022".into(),
            fingerprint: host_key.public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string(),
            clock: Clock::system(),
        };
        let core = Core::open(setup).await.unwrap();
        let port = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = port.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(Listener { port, host_key, limits, patience }, core.clone(), stopped));
        Self { address, core, stop, _place: place }
    }

    pub(crate) async fn start() -> Self {
        Self::with(patience(), Limits::default(), &[]).await
    }

    /// Connects without authenticating.
    pub(crate) async fn connect(&self) -> Handle<Client> {
        let config = client::Config { nodelay: true, ..client::Config::default() };
        client::connect(Arc::new(config), self.address, Client).await.unwrap()
    }

    /// Connects and authenticates as alice.
    pub(crate) async fn alice(&self) -> Handle<Client> {
        let mut handle = self.connect().await;
        assert!(login(&mut handle, "alice", key(ALICE)).await);
        handle
    }
}

/// A client that trusts everybody: what the server does is tested.
pub(crate) struct Client;

impl client::Handler for Client {
    type Error = russh::Error;
    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

pub(crate) async fn login(handle: &mut Handle<Client>, user: &str, key: PrivateKey) -> bool {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    handle.authenticate_publickey(user, key).await.is_ok_and(|result| result.success())
}

/// A channel with a subsystem; none when the server refuses either.
pub(crate) async fn open(handle: &Handle<Client>, subsystem: &str) -> Option<Talk> {
    let mut channel = timeout(SOON, handle.channel_open_session()).await.unwrap().ok()?;
    channel.request_subsystem(true, subsystem).await.ok()?;
    loop {
        match timeout(SOON, channel.wait()).await.unwrap() {
            Some(ChannelMsg::Success) => {
                return Some(Talk { stream: channel.into_stream(), decoder: Decoder::default() });
            }
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(_) | None => return None,
        }
    }
}

/// A channel that speaks frames.
pub(crate) struct Talk {
    pub(crate) stream: ChannelStream<client::Msg>,
    decoder: Decoder,
}

impl Talk {
    pub(crate) async fn say(&mut self, message: &impl Serialize) {
        self.stream.write_all(&encode(message).unwrap()).await.unwrap();
    }

    /// The next message; none at the end of the stream.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut piece = vec![0; 8192];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            match timeout(SOON, self.stream.read(&mut piece)).await.unwrap() {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.decoder.feed(&piece[..read]),
            }
        }
    }
}

/// Waits until the connection is over.
pub(crate) async fn closed(handle: &Handle<Client>) {
    let over = async {
        while !handle.is_closed() {
            // russh has no event for it.
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, over).await.expect("the connection is still there");
}
