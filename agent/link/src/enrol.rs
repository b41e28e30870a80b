//! `elevate-link enroll`: the unprivileged, networked half of `elevate-agent enroll`.
//!
//! In: one JSON line on standard input. Out: the daemon's EnrolReply as one JSON line on standard output;
//! exit code 0 only when enrolled. The link key is made here and never leaves. Spec: docs/wire.md "Enrolment".

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use elevate_protocol::frame::{Decoder, FrameError, encode};
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply, EnrolTask};
use elevate_protocol::message::{SUBSYSTEM_ENROL, Versions};
use elevate_protocol::paste::{is_address, is_fingerprint};
use elevate_protocol::secret::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::Daemon;
use crate::key::{self, KeyError};
use crate::ssh::{self, SshError};

const INPUT_MAX: u64 = 64 * 1024;
const ANSWER: Duration = Duration::from_secs(30);

/// Why the host is not enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// Standard input.
    #[error("standard input has no enrolment request")]
    Input(#[source] serde_json::Error),
    /// Reading or writing the standard streams.
    #[error("the standard streams failed")]
    Standard(#[source] io::Error),
    /// An address or a fingerprint that is none.
    #[error("the {0} in the enrolment request is not valid")]
    Part(&'static str),
    /// The key.
    #[error("there is no link key")]
    Key(#[from] KeyError),
    /// The link key has no text form.
    #[error("the link key cannot be written")]
    KeyForm(#[source] ssh_key::Error),
    /// The daemon.
    #[error("no connection to the daemon")]
    Ssh(#[from] SshError),
    /// The daemon's answer.
    #[error("the daemon gave no valid answer")]
    Answer(#[source] FrameError),
    /// The connection ended or nothing came.
    #[error("the daemon gave no answer")]
    NoAnswer,
    /// The daemon said no.
    #[error("the daemon refused: {0}")]
    Refused(String),
}

async fn exchange<S>(mut stream: S, ask: &EnrolAsk) -> Result<EnrolReply, EnrolError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = encode(ask).map_err(EnrolError::Answer)?;
    stream.write_all(&frame).await.map_err(|_| EnrolError::NoAnswer)?;
    let mut decoder = Decoder::default();
    let mut piece = vec![0u8; 4096];
    loop {
        if let Some(reply) = decoder.next_message().map_err(EnrolError::Answer)? {
            return Ok(reply);
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return Err(EnrolError::NoAnswer),
            Ok(read) => decoder.feed(piece.get(..read).unwrap_or_default()),
        }
    }
}

async fn ask_daemon(task: EnrolTask, key_path: &Path) -> Result<EnrolReply, EnrolError> {
    if !is_address(&task.address) {
        return Err(EnrolError::Part("address"));
    }
    if !is_fingerprint(&task.fingerprint) {
        return Err(EnrolError::Part("key fingerprint"));
    }
    let key = key::read_or_make(key_path)?;
    let ask = EnrolAsk {
        versions: Versions::OURS,
        token: task.token,
        link_key: key.public_key().to_openssh().map_err(EnrolError::KeyForm)?,
        vouch_key: task.vouch_key,
        vouch_proof: task.vouch_proof,
    };
    let daemon = Daemon { address: task.address, fingerprint: task.fingerprint };
    // The user name is that of the subsystem: a key that nobody holds is let in under it and under no other.
    let connection = ssh::connect(&daemon, SUBSYSTEM_ENROL, key).await?;
    let stream = connection.open(SUBSYSTEM_ENROL).await?;
    let reply = timeout(ANSWER, exchange(stream, &ask)).await.map_err(|_| EnrolError::NoAnswer)?;
    connection.close().await;
    reply
}

/// Reads the request, asks the daemon, prints its answer.
///
/// # Errors
/// An [`EnrolError`]; a refusal of the daemon was printed as well.
pub(crate) async fn enrol(key_path: &Path) -> Result<(), EnrolError> {
    let mut text = String::new();
    io::stdin().lock().take(INPUT_MAX).read_to_string(&mut text).map_err(EnrolError::Standard)?;
    let input = Secret::new(text);
    let task: EnrolTask = serde_json::from_str(input.expose()).map_err(EnrolError::Input)?;
    let reply = ask_daemon(task, key_path).await?;
    let line = serde_json::to_string(&reply).map_err(EnrolError::Input)?;
    writeln!(io::stdout().lock(), "{line}").map_err(EnrolError::Standard)?;
    match reply {
        EnrolReply::Enrolled(_) => Ok(()),
        EnrolReply::Refused(refusal) => Err(EnrolError::Refused(refusal.message)),
    }
}
