//! Door 2 against a real SSH server in this process: the pin, strict key exchange, keys, several conversations.
//!
//! In: a listener on the loopback. Out: conversations, or the right refusal before anything is shown. Threat H06.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails there"
)]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use elevate_cli::door::ssh::{Keys, Link, Server};
use elevate_cli::door::{Conversation, DoorError};
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::message::{SUBSYSTEM_PERSON, VERSION, Versions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Preferred, kex};

/// What the server saw.
#[derive(Default)]
struct Seen {
    keys: Vec<String>,
    conversations: u32,
}

struct Handler {
    known: String,
    seen: Arc<Mutex<Seen>>,
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let found = fingerprint(key.public_key);
        self.seen.lock().unwrap().keys.push(found.clone());
        Ok(if found == self.known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name != SUBSYSTEM_PERSON {
            return session.channel_failure(channel);
        }
        self.seen.lock().unwrap().conversations += 1;
        session.channel_success(channel)
    }

    /// Answers any hello; the tests send nothing else.
    async fn data(
        &mut self,
        channel: ChannelId,
        _data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let hello = elevate_protocol::frame::encode(&Reply::Hello { version: VERSION }).unwrap();
        session.data(channel, hello)
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A server with the host key 1 that knows the person key 2.
fn serve(preferred: Preferred) -> (SocketAddr, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let for_handler = Arc::clone(&seen);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let config = Arc::new(server::Config {
        keys: vec![key(1)],
        preferred,
        auth_rejection_time: Duration::ZERO,
        ..server::Config::default()
    });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let known = fingerprint(key(2).public_key());
                let handler = Handler { known, seen: Arc::clone(&for_handler) };
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, handler).await {
                        drop(session.await);
                    }
                });
            }
        });
    });
    (address, seen)
}

fn key_file(folder: &Path, name: &str, seed: u8) -> PathBuf {
    let path = folder.join(name);
    let text = key(seed).to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    path
}

fn link(address: SocketAddr, pin: &PrivateKey, keys: Keys) -> Link {
    let server = Server { address: address.to_string(), fingerprint: fingerprint(pin.public_key()) };
    Link::start(server, keys).unwrap()
}

/// Says hello and waits for what comes back.
fn greet(mut conversation: Conversation) -> Result<Reply, DoorError> {
    conversation.say(&Say::Hello { versions: Versions::OURS })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(reply) = conversation.arrived()? {
            return Ok(reply);
        }
        assert!(Instant::now() < deadline, "no answer");
        let mut watched = [PollFd::new(conversation.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, PollTimeout::try_from(1000).unwrap()).unwrap() > 0 {
            conversation.take_in()?;
        }
    }
}

fn usual(paths: &[PathBuf]) -> Keys {
    Keys { named: None, agent: None, usual: paths.to_vec() }
}

#[test]
fn one_connection_carries_several_conversations_with_the_key_that_is_known() {
    let (address, seen) = serve(Preferred::default());
    let folder = tempfile::tempdir().unwrap();
    let files = [key_file(folder.path(), "id_ecdsa", 3), key_file(folder.path(), "id_ed25519", 2)];
    let link = link(address, &key(1), usual(&files));
    for _ in 0..2 {
        let reply = greet(link.open().unwrap()).unwrap();
        assert!(matches!(reply, Reply::Hello { version: VERSION }), "{reply:?}");
    }
    link.close();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.keys, [fingerprint(key(3).public_key()), fingerprint(key(2).public_key())]);
    assert_eq!(seen.conversations, 2);
}

#[test]
fn h06_another_host_key_ends_it_before_a_key_is_shown() {
    let (address, seen) = serve(Preferred::default());
    let folder = tempfile::tempdir().unwrap();
    let link = link(address, &key(9), usual(&[key_file(folder.path(), "id_ed25519", 2)]));
    let error = link.open().and_then(greet).unwrap_err();
    assert!(
        matches!(&error, DoorError::HostKey { found, .. } if *found == fingerprint(key(1).public_key())),
        "{error}"
    );
    assert_eq!(error.code().exit(), 10);
    link.close();
    assert!(seen.lock().unwrap().keys.is_empty());
}

#[test]
fn h06_key_exchange_that_is_not_strict_is_refused() {
    let kex = vec![kex::CURVE25519, kex::EXTENSION_SUPPORT_AS_SERVER];
    let (address, seen) = serve(Preferred { kex: Cow::Owned(kex), ..Preferred::default() });
    let folder = tempfile::tempdir().unwrap();
    let link = link(address, &key(1), usual(&[key_file(folder.path(), "id_ed25519", 2)]));
    let error = link.open().and_then(greet).unwrap_err();
    assert!(matches!(&error, DoorError::NotStrict { .. }), "{error}");
    assert_eq!(error.code().exit(), 10);
    link.close();
    assert!(seen.lock().unwrap().keys.is_empty());
}

#[test]
fn h06_old_ciphers_are_not_agreed_to() {
    let old = Preferred { cipher: Cow::Borrowed(&[russh::cipher::AES_256_CTR]), ..Preferred::default() };
    let (address, seen) = serve(old);
    let folder = tempfile::tempdir().unwrap();
    let link = link(address, &key(1), usual(&[key_file(folder.path(), "id_ed25519", 2)]));
    let error = link.open().and_then(greet).unwrap_err();
    assert!(matches!(&error, DoorError::Ssh { .. }), "{error}");
    link.close();
    assert!(seen.lock().unwrap().keys.is_empty());
}

#[test]
fn keys_that_are_not_there_open_to_others_or_unknown_have_their_own_refusals() {
    let (address, _) = serve(Preferred::default());
    let folder = tempfile::tempdir().unwrap();
    let refusal = |keys| {
        let link = link(address, &key(1), keys);
        let error = link.open().and_then(greet).unwrap_err();
        link.close();
        error
    };
    let none = refusal(usual(&[]));
    assert!(matches!(none, DoorError::NoKey), "{none}");
    let stranger = refusal(usual(&[key_file(folder.path(), "stranger", 5)]));
    assert!(matches!(&stranger, DoorError::Unknown { tried, .. } if tried.len() == 1), "{stranger}");
    assert_eq!(stranger.code().exit(), 3);
    let open = key_file(folder.path(), "open", 2);
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = refusal(Keys { named: Some(open), ..Keys::default() });
    assert!(matches!(&open, DoorError::Key { why, .. } if why.contains("chmod 600")), "{open}");
}

#[test]
fn nobody_at_the_address_is_an_unreachable_daemon() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let link = link(free, &key(1), usual(&[]));
    let error = link.open().and_then(greet).unwrap_err();
    assert!(matches!(&error, DoorError::Connect { .. }), "{error}");
    assert_eq!(error.code().exit(), 8);
    link.close();
}
