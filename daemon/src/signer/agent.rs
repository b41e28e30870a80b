//! Asks an ssh-agent for one signature.
//!
//! In: a socket, a public key, bytes. Out: a signature. One connection each, 3 s in all, an answer of at most 16 KiB. Who listens
//! need not be trusted: the signature is checked by the caller. Spec: draft-ietf-sshm-ssh-agent §3.6.

use std::io;
use std::path::Path;
use std::time::Duration;

use ssh_key::{PublicKey, Signature};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// All of one signature. A person waits for it, never the store.
const PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_MAX: u32 = 16 * 1024;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const FAILURE: u8 = 5;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// No connection, or it broke.
    #[error("no conversation with the agent")]
    Stream(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// It refused: no such key, locked, or a person said no.
    #[error("the agent refused: it is locked, or does not hold the key")]
    Refused,
    /// Not the answer of an agent.
    #[error("the agent's answer makes no sense")]
    Nonsense,
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), AgentError> {
    let length = u32::try_from(bytes.len()).map_err(|_| AgentError::Nonsense)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn request(key: &PublicKey, data: &[u8]) -> Result<Vec<u8>, AgentError> {
    let key = key.to_bytes().map_err(|_| AgentError::Nonsense)?;
    let mut content = vec![SIGN_REQUEST];
    field(&mut content, &key)?;
    field(&mut content, data)?;
    content.extend_from_slice(&0u32.to_be_bytes());
    let mut message = Vec::new();
    field(&mut message, &content)?;
    Ok(message)
}

/// `byte 14, string signature`, and nothing after it.
fn read_answer(answer: &[u8]) -> Result<Signature, AgentError> {
    let rest = match answer.split_first() {
        Some((&SIGN_RESPONSE, rest)) => rest,
        Some((&FAILURE, _)) => return Err(AgentError::Refused),
        Some(_) | None => return Err(AgentError::Nonsense),
    };
    let (length, blob) = rest.split_first_chunk::<4>().ok_or(AgentError::Nonsense)?;
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(blob.len()) {
        return Err(AgentError::Nonsense);
    }
    Signature::try_from(blob).map_err(|_| AgentError::Nonsense)
}

async fn ask(socket: &Path, message: &[u8]) -> Result<Vec<u8>, AgentError> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(message).await?;
    let length = stream.read_u32().await?;
    if length > ANSWER_MAX {
        return Err(AgentError::Nonsense);
    }
    let mut answer = vec![0; usize::try_from(length).map_err(|_| AgentError::Nonsense)?];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// One signature over `data`.
///
/// # Errors
/// An [`AgentError`].
pub(super) async fn sign(socket: &Path, key: &PublicKey, data: &[u8]) -> Result<Signature, AgentError> {
    let message = request(key, data)?;
    let answer = timeout(PATIENCE, ask(socket, &message)).await.map_err(|_| AgentError::Slow)??;
    read_answer(&answer)
}
