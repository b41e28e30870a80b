//! The keys of one authority that sign SSH certificates, its serials, and how a certificate is put together.
//!
//! In: what was looked at and is to be signed. Out: the certificate. Runs as: `elevated`. Spec: PROTOCOL.certkeys.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use ssh_key::Signature;
use ssh_key::certificate::{Builder, Certificate};
use ssh_key::public::KeyData;

use crate::signer::{SignError, Signer};

/// Random bytes in front of everything.
pub(super) const NONCE: usize = 32;

/// Which of the keys that are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that signs.
    Newest,
    /// The one that a host knows which has not heard of a change.
    Oldest,
    /// This one.
    Number(u64),
}

/// The keys that sign certificates of one kind: the one that does now, and those before that are still trusted.
pub(crate) struct Ca {
    keys: RwLock<Vec<(u64, Signer)>>,
    next: AtomicU64,
}

impl Ca {
    /// `keys` by their numbers, oldest first; `next` is the first serial that nobody was given.
    #[must_use]
    pub(crate) fn new(keys: Vec<(u64, Signer)>, next: u64) -> Self {
        Self { keys: RwLock::new(keys), next: AtomicU64::new(next) }
    }

    /// Another key signs from here on.
    pub(crate) fn learn(&self, number: u64, signer: Signer) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.push((number, signer));
        keys.sort_by_key(|(number, _)| *number);
    }

    /// The one that signs.
    pub(crate) fn signer(&self) -> Option<Signer> {
        self.key(Which::Newest).map(|(_, signer)| signer)
    }

    /// This one is trusted no more.
    pub(crate) fn forget(&self, number: u64) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(other, _)| *other != number);
    }

    /// One of them with its number.
    pub(crate) fn key(&self, which: Which) -> Option<(u64, Signer)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match which {
            Which::Newest => keys.last().cloned(),
            Which::Oldest => keys.first().cloned(),
            Which::Number(wanted) => keys.iter().find(|(number, _)| *number == wanted).cloned(),
        }
    }

    /// Whether one key alone is trusted.
    pub(crate) fn is_one(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len() < 2
    }

    /// Goes on with this serial, if it is a later one.
    pub(crate) fn go_on_from(&self, serial: u64) {
        self.next.fetch_max(serial, Ordering::SeqCst);
    }

    /// A serial that nobody was given.
    pub(super) fn serial(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }
}

/// What the builder takes for a key: it shows what is to be signed, and then has the signature of the real one.
struct Relay<'a> {
    ca: &'a KeyData,
    shown: RefCell<Vec<u8>>,
    made: Option<Signature>,
}

impl signature::Signer<Signature> for Relay<'_> {
    fn try_sign(&self, bytes: &[u8]) -> Result<Signature, signature::Error> {
        *self.shown.borrow_mut() = bytes.to_vec();
        self.made.clone().ok_or_else(signature::Error::new)
    }
}

impl From<&Relay<'_>> for KeyData {
    fn from(relay: &Relay<'_>) -> Self {
        relay.ca.clone()
    }
}

/// Has the key sign what the builder says, which was looked at before.
///
/// # Errors
/// The builder's, or the key does not sign.
pub(super) async fn seal<E>(
    signer: &Signer,
    builder: impl Fn() -> Result<Builder, E>,
) -> Result<Certificate, E>
where
    E: From<SignError> + From<ssh_key::Error>,
{
    let mut relay = Relay { ca: signer.public_key().key_data(), shown: RefCell::default(), made: None };
    // The builder ends without a signature; what it would have signed is known then.
    if builder()?.sign(&relay).is_ok() {
        return Err(ssh_key::Error::CertificateValidation.into());
    }
    let bytes = relay.shown.take();
    relay.made = Some(signer.sign_bare(&bytes).await?);
    let certificate = builder()?.sign(&relay)?;
    if relay.shown.take() == bytes {
        Ok(certificate)
    } else {
        Err(ssh_key::Error::CertificateValidation.into())
    }
}
