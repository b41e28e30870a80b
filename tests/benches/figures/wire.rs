//! The client side of every door, as docs/wire.md describes it: SSH with a pinned host key, frames on a stream.
//!
//! In: an address, a key, a subsystem. Out: typed messages. Runs as: the benches, in the network of the daemon's host.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::frame::{Decoder, encode};
use elevate_protocol::message::Versions;
use elevate_protocol::message::parts::Joiner;
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use russh::client::{self, Handle, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred, cipher, kex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ssh_key::{HashAlg, PrivateKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the daemon listens and which key it has to show.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `ADDRESS:PORT`.
    pub(crate) address: String,
    /// `SHA256:…`.
    pub(crate) fingerprint: String,
}

/// Takes the one host key and no other.
struct Pinned(String);

impl Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                key.fingerprint(HashAlg::Sha256).to_string() == self.0
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

/// What `elevate-link` and `elevate` speak first: no other key exchange, no other cipher is ever agreed on.
fn config() -> Arc<client::Config> {
    let preferred = Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305]),
        ..Preferred::default()
    };
    Arc::new(client::Config {
        preferred,
        window_size: 128 * 1024,
        keepalive_interval: Some(Duration::from_secs(15)),
        nodelay: true,
        ..client::Config::default()
    })
}

/// An authenticated connection.
pub(crate) struct Connection(Handle<Pinned>);

impl Connection {
    /// Connects as `user` with `key`.
    pub(crate) async fn open(server: &Server, user: &str, key: &Arc<PrivateKey>) -> Result<Self> {
        let stream = TcpStream::connect(server.address.as_str()).await?;
        stream.set_nodelay(true)?;
        let mut handle = client::connect_stream(config(), stream, Pinned(server.fingerprint.clone())).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
        ensure!(handle.authenticate_publickey(user, key).await?.success(), "the daemon knows no such key");
        Ok(Self(handle))
    }

    /// A channel with a subsystem on it; one that is not given ends it, as for `elevate`.
    pub(crate) async fn subsystem(
        &self,
        name: &str,
    ) -> Result<Frames<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        let channel = self.0.channel_open_session().await?;
        channel.request_subsystem(false, name).await?;
        Ok(Frames::over(channel.into_stream()))
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        drop(self.0.disconnect(Disconnect::ByApplication, "", "").await);
    }
}

/// Typed messages over a stream.
pub(crate) struct Frames<S> {
    stream: S,
    decoder: Decoder,
    piece: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Over any stream.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, decoder: Decoder::default(), piece: vec![0; 4096] }
    }

    /// Sends one message.
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.stream.write_all(&encode(message)?).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message; an end of the stream is an error. Nothing is lost when this future is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let read = self.stream.read(&mut self.piece).await?;
            ensure!(read > 0, "the daemon closed the stream");
            self.decoder.feed(self.piece.get(..read).context("more was read than fits")?);
        }
    }

    /// Begins a conversation with its one ask.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<()> {
        self.send(&Say::Hello { versions: Versions::OURS }).await?;
        self.send(&Say::Ask(ask)).await
    }

    /// Begins another where one was answered, as `elevate` does.
    pub(crate) async fn ask_again(&mut self, ask: Ask) -> Result<()> {
        self.send(&Say::Ask(ask)).await
    }

    /// Hears a conversation to its end, `between` being told of everything that comes before it.
    pub(crate) async fn outcome(&mut self, mut between: impl FnMut(&Reply)) -> Result<Outcome> {
        let mut joiner = Joiner::default();
        loop {
            let reply = self.next::<Reply>().await?;
            if let Reply::Done(outcome) = reply {
                return Ok(outcome);
            }
            if let Reply::Part { text, left } = &reply {
                match joiner.take(text, *left)? {
                    Some(outcome) => return Ok(outcome),
                    None => continue,
                }
            }
            if let Reply::Refused(refusal) = &reply {
                bail!("refused: {} ({:?})", refusal.message, refusal.hint);
            }
            between(&reply);
        }
    }
}
