//! The one place of this program that knows russh: a client that trusts one host key and opens one subsystem.
//!
//! In: address, fingerprint, key. Out: a stream. Spec: docs/wire.md "Transports"; threat H06; CRATES §1.3.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{ChannelMsg, ChannelStream, Disconnect, Preferred, cipher, compression, kex, mac};
use ssh_key::{Algorithm, HashAlg, PrivateKey};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Daemon;

const ONE_ADDRESS: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(15);
const GOODBYE: Duration = Duration::from_secs(1);
const WINDOW: u32 = 512 * 1024;
const QUEUE: usize = 32;

/// Why there is no connection to the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// The name means nothing or no address answers.
    #[error("the daemon at {address} cannot be reached")]
    Unreachable { address: String, source: std::io::Error },
    /// It took too long.
    #[error("the daemon did not answer within {0} s")]
    Slow(u64),
    /// Somebody else answers, or the daemon has a new key.
    #[error("the daemon shows the host key {found}, which is not the pinned one; refused")]
    HostKey { found: String },
    /// A man in the middle could cut packets off the beginning (Terrapin, CVE-2023-48795).
    #[error("the daemon does not speak strict key exchange; refused")]
    NotStrict,
    /// Cut off: by the daemon, or by somebody between.
    #[error("the connection ended before the daemon answered for the link key")]
    Ended,
    /// The link key is not known there.
    #[error("the daemon does not know this host's link key; enrol the host again")]
    NotKnown,
    /// The subsystem was refused.
    #[error("the daemon refused the subsystem {0}")]
    Subsystem(&'static str),
    /// Anything else of the protocol.
    #[error("the SSH connection failed")]
    Protocol(#[from] russh::Error),
}

/// Accepts exactly one host key.
struct Pinned {
    fingerprint: String,
}

impl client::Handler for Pinned {
    type Error = SshError;

    async fn check_server_key(
        &mut self,
        key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, SshError> {
        let found = match key {
            russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } => {
                key.fingerprint(HashAlg::Sha256).to_string()
            }
            russh::keys::PublicKeyOrCertificate::Certificate(_) => "of a certificate".to_owned(),
        };
        if found == self.fingerprint { Ok(true) } else { Err(SshError::HostKey { found }) }
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut client::Session,
    ) -> Result<(), SshError> {
        if names.strict_kex() { Ok(()) } else { Err(SshError::NotStrict) }
    }
}

/// The algorithms that are spoken; everything else is not offered.
fn preferred() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        key: Cow::Borrowed(&[Algorithm::Ed25519]),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

fn config() -> client::Config {
    client::Config {
        client_id: russh::SshId::Standard(Cow::Borrowed("SSH-2.0-elevate")),
        window_size: WINDOW,
        channel_buffer_size: QUEUE,
        preferred: preferred(),
        // Longer than the agent and the daemon are ever silent: while they talk, SSH itself has nothing to say.
        keepalive_interval: Some(Duration::from_secs(25)),
        keepalive_max: 2,
        inactivity_timeout: Some(Duration::from_secs(60)),
        nodelay: true,
        ..client::Config::default()
    }
}

/// An authenticated connection.
pub(crate) struct Connection {
    handle: Handle<Pinned>,
}

async fn reach(address: &str) -> Result<TcpStream, SshError> {
    let failed = |source| SshError::Unreachable { address: address.to_owned(), source };
    let found = timeout(ONE_ADDRESS, tokio::net::lookup_host(address))
        .await
        .map_err(|_| SshError::Slow(ONE_ADDRESS.as_secs()))?;
    let addresses: Vec<SocketAddr> = found.map_err(failed)?.collect();
    let mut last = failed(std::io::ErrorKind::AddrNotAvailable.into());
    for one in addresses {
        match timeout(ONE_ADDRESS, TcpStream::connect(one)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = failed(source),
            Err(_) => last = failed(std::io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

/// Connects, checks the host key, authenticates as `user` with `key`.
///
/// # Errors
/// An [`SshError`].
pub(crate) async fn connect(daemon: &Daemon, user: &str, key: PrivateKey) -> Result<Connection, SshError> {
    let stream = reach(&daemon.address).await?;
    stream
        .set_nodelay(true)
        .map_err(|source| SshError::Unreachable { address: daemon.address.clone(), source })?;
    let pinned = Pinned { fingerprint: daemon.fingerprint.clone() };
    let connecting = async {
        let mut handle = client::connect_stream(Arc::new(config()), stream, pinned).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        match handle.authenticate_publickey(user, key).await? {
            AuthResult::Success => Ok(Connection { handle }),
            // russh says this of a connection that ended meanwhile; a daemon that refuses a key always names a method (RFC 4252 §5.1).
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                Err(SshError::Ended)
            }
            AuthResult::Failure { .. } => Err(SshError::NotKnown),
        }
    };
    timeout(HANDSHAKE, connecting).await.map_err(|_| SshError::Slow(HANDSHAKE.as_secs()))?
}

impl Connection {
    /// Opens a channel with a subsystem.
    ///
    /// # Errors
    /// [`SshError::Subsystem`] when the daemon refuses it.
    pub(crate) async fn open(&self, subsystem: &'static str) -> Result<ChannelStream<Msg>, SshError> {
        let opening = async {
            let mut channel = self.handle.channel_open_session().await?;
            channel.request_subsystem(true, subsystem).await?;
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                    Some(ChannelMsg::WindowAdjusted { .. }) => {}
                    Some(_) | None => return Err(SshError::Subsystem(subsystem)),
                }
            }
        };
        timeout(HANDSHAKE, opening).await.map_err(|_| SshError::Slow(HANDSHAKE.as_secs()))?
    }

    /// Whether the connection is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye, shortly.
    pub(crate) async fn close(self) {
        let said = self.handle.disconnect(Disconnect::ByApplication, "", "");
        // Who does not hear it sees the connection end.
        drop(timeout(GOODBYE, said).await);
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
