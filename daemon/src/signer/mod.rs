//! A key that signs documents or certificates: in a file, or behind an ssh-agent socket (which brings PKCS#11, TPM and YubiKey).
//!
//! In: bytes. Out: a signature over them, checked with the public key before anybody sees it, or a clear error in bounded time.
//! Spec: docs/config.md "Keys", draft-ietf-sshm-ssh-agent.

mod agent;
mod own;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use elevate_protocol::signed::SignedBody;
use signature::{Signer as _, Verifier as _};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SshSig};

pub(crate) use agent::AgentError;
use own::Own;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The key itself, or what it made.
    #[error("the key does not sign")]
    Key(#[from] ssh_key::Error),
    /// The agent that holds the key.
    #[error(
        "the ssh-agent at {socket} did not sign; is it running, unlocked, and does it hold the key? (ssh-add -L)"
    )]
    Agent {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: AgentError,
    },
    /// The agent answered with something that is no signature of this key.
    #[error("the ssh-agent at {socket} gave a signature that is not by the key")]
    Wrong {
        /// Its socket.
        socket: PathBuf,
    },
}

/// Where a key lives.
#[derive(Clone)]
enum Place {
    Here(Arc<Own>),
    Agent(PathBuf),
}

/// A key that signs.
#[derive(Clone)]
pub(crate) struct Signer {
    public: PublicKey,
    place: Place,
}

impl Signer {
    /// A key in this process.
    #[must_use]
    pub(crate) fn here(key: PrivateKey) -> Self {
        Self { public: key.public_key().clone(), place: Place::Here(Arc::new(Own::of(key))) }
    }

    /// A key of an agent, which is not asked yet.
    #[must_use]
    pub(crate) fn agent(socket: PathBuf, public: PublicKey) -> Self {
        Self { public, place: Place::Agent(socket) }
    }

    /// The public key.
    #[must_use]
    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The public key in OpenSSH's form, without a comment.
    ///
    /// # Errors
    /// None of the types that sign here gives one.
    pub(crate) fn line(&self) -> Result<String, ssh_key::Error> {
        PublicKey::new(self.public.key_data().clone(), "").to_openssh()
    }

    /// The agent's socket, for a key of one.
    #[must_use]
    pub(crate) fn socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Here(_) => None,
            Place::Agent(socket) => Some(socket),
        }
    }

    /// The signature of `body` by a key in this process; none: an agent has to be asked, and that is for no transaction to do.
    ///
    /// # Errors
    /// A [`SignError`].
    pub(crate) fn at_once(&self, body: &str, namespace: &str) -> Result<Option<String>, SignError> {
        match &self.place {
            Place::Here(key) => Ok(Some(key.sshsig(body, namespace)?)),
            Place::Agent(_) => Ok(None),
        }
    }

    /// Signs `body`, in at most 3 s.
    ///
    /// # Errors
    /// A [`SignError`]; nothing was signed that anybody has seen.
    pub(crate) async fn sign(&self, body: String, namespace: &str) -> Result<SignedBody, SignError> {
        let socket = match &self.place {
            Place::Here(key) => {
                let signature = key.sshsig(&body, namespace)?;
                return Ok(SignedBody { body, signature });
            }
            Place::Agent(socket) => socket,
        };
        let data = SshSig::signed_data(namespace, HashAlg::Sha512, body.as_bytes())?;
        let refused = |source| SignError::Agent { socket: socket.clone(), source };
        let made = agent::sign(socket, &self.public, &data).await.map_err(refused)?;
        let signature = SshSig::new(self.public.key_data().clone(), namespace, HashAlg::Sha512, made)?;
        if self.public.verify(namespace, body.as_bytes(), &signature).is_err() {
            return Err(SignError::Wrong { socket: socket.clone() });
        }
        Ok(SignedBody { body, signature: signature.to_pem(LineEnding::LF)? })
    }

    /// The bare signature over bytes whose own form says what they are: a certificate. In at most 3 s.
    ///
    /// # Errors
    /// A [`SignError`].
    pub(crate) async fn sign_bare(&self, data: &[u8]) -> Result<Signature, SignError> {
        let socket = match &self.place {
            Place::Here(key) => return Ok(key.try_sign(data).map_err(ssh_key::Error::from)?),
            Place::Agent(socket) => socket,
        };
        let refused = |source| SignError::Agent { socket: socket.clone(), source };
        let made = agent::sign(socket, &self.public, data).await.map_err(refused)?;
        if self.public.key_data().verify(data, &made).is_err() {
            return Err(SignError::Wrong { socket: socket.clone() });
        }
        Ok(made)
    }

    /// Has an agent sign something that is no document: whether the key can be used now. A key in this process can.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    pub(crate) async fn probe(&self) -> Result<(), SignError> {
        if self.socket().is_none() {
            return Ok(());
        }
        self.sign("elevated asks whether this key can be used\n".to_owned(), "elevate-probe@v1")
            .await
            .map(drop)
    }
}
