//! Which of the person's keys are shown to the daemon, and in which order: a named one, the ssh-agent's, the usual files.
//!
//! In: paths, the agent's socket. Out: an authenticated connection, or why no key was taken. Passphrases are the
//! ssh-agent's business: an encrypted file is used through it only.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::DoorError;
use super::peer::Peer;

/// Most keys shown: the daemon counts tries.
const OFFERS_MAX: usize = 6;
/// Longest key file read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// The daemon ignores the user name: the key says who it is.
const USER: &str = "elevate";

/// Where keys may be.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The one key that was named; then nothing else is tried.
    pub named: Option<PathBuf>,
    /// The ssh-agent's socket.
    pub agent: Option<PathBuf>,
    /// The usual files, in order.
    pub usual: Vec<PathBuf>,
}

/// A key to show.
enum Offer {
    File(Arc<PrivateKey>),
    Agent(PublicKey),
}

/// What a key file holds.
enum Found {
    Open(Arc<PrivateKey>),
    /// Only its public part is of use here: encrypted, on a token, or a public key.
    Closed(PublicKey),
}

type Agent = AgentClient<UnixStream>;

impl Offer {
    fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public_key(),
            Self::Agent(key) => key,
        }
    }
}

/// Shows one key after the other until one is taken.
pub(super) async fn authenticate(
    handle: &mut Handle<Peer>,
    keys: &Keys,
    address: &str,
) -> Result<(), DoorError> {
    let mut agent = match &keys.agent {
        Some(path) => connected(path, handle).await,
        None => None,
    };
    let held = match &mut agent {
        Some(agent) => identities(agent).await,
        None => Vec::new(),
    };
    let offers = offers(keys, held)?;
    let mut tried = Vec::new();
    for offer in offers.into_iter().take(OFFERS_MAX) {
        tried.push(offer.public().fingerprint(HashAlg::Sha256).to_string());
        let taken = match (offer, &mut agent) {
            (Offer::File(key), _) => {
                let hash = hash_of(key.public_key());
                handle.authenticate_publickey(USER, PrivateKeyWithHashAlg::new(key, hash)).await?
            }
            (Offer::Agent(key), Some(agent)) => {
                let hash = hash_of(&key);
                match handle.authenticate_publickey_with(USER, key, hash, agent).await {
                    Ok(result) => result,
                    // It declined, or the token was not touched: another key may do.
                    Err(_) => continue,
                }
            }
            (Offer::Agent(_), None) => continue,
        };
        match taken {
            AuthResult::Success => return Ok(()),
            // russh says this of a connection that ended meanwhile; a daemon that refuses a key always names a method (RFC 4252 §5.1).
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                return Err(DoorError::Closed);
            }
            AuthResult::Failure { .. } => {}
        }
    }
    if tried.is_empty() {
        return Err(DoorError::NoKey);
    }
    Err(DoorError::Unknown { address: address.to_owned(), tried })
}

/// An agent that does not answer is as good as none.
async fn connected(path: &Path, handle: &Handle<Peer>) -> Option<Agent> {
    let mut agent = AgentClient::connect_uds(path).await.ok()?;
    // Keys that are restricted to destinations need this; agents that do not know it say so, and that is fine.
    if let Some(binding) = handle.agent_session_binding().cloned()
        && agent.bind_session(&binding, false).await.is_err()
    {
        agent = AgentClient::connect_uds(path).await.ok()?;
    }
    Some(agent)
}

async fn identities(agent: &mut Agent) -> Vec<PublicKey> {
    let listed = agent.request_identities().await.unwrap_or_default();
    let plain = listed.into_iter().filter_map(|identity| match identity {
        AgentIdentity::PublicKey { key, .. } => Some(key),
        // People are known by keys; nobody here signs certificates for them.
        AgentIdentity::Certificate { .. } => None,
    });
    plain.collect()
}

/// RSA signs with SHA-512; the daemon takes no SHA-1 (RFC 8332). Other kinds say by themselves how they hash.
fn hash_of(key: &PublicKey) -> Option<HashAlg> {
    key.algorithm().is_rsa().then_some(HashAlg::Sha512)
}

fn offers(keys: &Keys, held: Vec<PublicKey>) -> Result<Vec<Offer>, DoorError> {
    if let Some(path) = &keys.named {
        return match read(path)? {
            Found::Open(key) => Ok(vec![Offer::File(key)]),
            Found::Closed(key) if held.iter().any(|one| one.key_data() == key.key_data()) => {
                Ok(vec![Offer::Agent(key)])
            }
            Found::Closed(_) => Err(closed(path)),
        };
    }
    let mut first_closed = None;
    let mut offers: Vec<Offer> = held.into_iter().map(Offer::Agent).collect();
    for path in keys.usual.iter().filter(|path| path.exists()) {
        match read(path)? {
            Found::Open(key) if known(&offers, key.public_key()) => {}
            Found::Open(key) => offers.push(Offer::File(key)),
            Found::Closed(key) if known(&offers, &key) => {}
            Found::Closed(_) => first_closed = first_closed.or_else(|| Some(closed(path))),
        }
    }
    match first_closed {
        Some(error) if offers.is_empty() => Err(error),
        _ => Ok(offers),
    }
}

fn known(offers: &[Offer], key: &PublicKey) -> bool {
    offers.iter().any(|offer| offer.public().key_data() == key.key_data())
}

fn closed(path: &Path) -> DoorError {
    DoorError::Key {
        path: path.to_owned(),
        why: "it is encrypted or on a token, and your ssh-agent does not hold it".into(),
    }
}

fn read(path: &Path) -> Result<Found, DoorError> {
    let unusable = |why: String| DoorError::Key { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|error| unusable(error.to_string()))?;
    let about = file.metadata().map_err(|error| unusable(error.to_string()))?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|error| unusable(error.to_string()))?;
    if let Ok(public) = PublicKey::from_openssh(text.trim()) {
        return Ok(Found::Closed(public));
    }
    // As ssh(1) does: a private key that others can read is none.
    if about.mode() & 0o077 != 0 {
        return Err(unusable(format!("others can read it; chmod 600 {}", path.display())));
    }
    let key = PrivateKey::from_openssh(text.as_str()).map_err(|error| unusable(error.to_string()))?;
    if key.is_encrypted() || key.algorithm().as_str().starts_with("sk-") {
        return Ok(Found::Closed(key.public_key().clone()));
    }
    Ok(Found::Open(Arc::new(key)))
}
