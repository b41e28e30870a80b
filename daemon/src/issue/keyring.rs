//! The keys that sign for the issuer: known by their public half, one of them signing as the store says, perhaps away.
//!
//! In: signers. Out: the one that a document needs.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{IssueError, Issuer};
use crate::signer::Signer;
use crate::store::Tx;

impl Issuer {
    /// Whether the key that signs did not when it was asked last. A grant or an extension then is not to be issued.
    #[must_use]
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    /// Notes whether the key that signs did; says whether that is news.
    pub(crate) fn note(&self, away: bool) -> bool {
        let before = self.away.swap(away, Ordering::SeqCst);
        if before && !away {
            self.bell.notify_one();
        }
        before != away
    }

    /// A key that may sign once the store says so.
    pub(crate) fn learn(&self, signer: Signer) {
        if let Ok(public) = signer.line() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(public, signer);
        }
    }

    /// Whether any of its keys is behind an agent.
    #[must_use]
    pub(crate) fn asks_agents(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|signer| signer.socket().is_some())
    }

    /// A key by its public half.
    ///
    /// # Errors
    /// [`IssueError::NoKey`].
    pub(crate) fn by(&self, public: &str) -> Result<Signer, IssueError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(public).cloned().ok_or(IssueError::NoKey)
    }

    /// The key that signs in this transaction, with its number.
    ///
    /// # Errors
    /// An [`IssueError`].
    pub(crate) async fn signer(&self, tx: &mut Tx) -> Result<(u64, Signer), IssueError> {
        let (number, public) = tx.signing_key().await?.ok_or(IssueError::NoKey)?;
        Ok((number, self.by(&public)?))
    }
}
