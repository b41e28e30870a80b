//! A document about the keys that sign: another grant key takes over (threat K05).
//!
//! In: a verified document. Out: the signers file, then the set in memory. The file is durable before the document's place is,
//! so a crash between the two finds a file that the same document, sent again, leaves as it is.

use std::sync::Arc;

use elevate_protocol::document::Keys;
use elevate_protocol::signed::{SignedBody, TrustedKeys};

use super::state::Agent;
use crate::clock::Moment;
use crate::config::Identity;
use crate::journal::{self, Level};
use crate::safe::{self, Durability};

impl Agent {
    /// Trusts these keys from the next document on, each as far as it says.
    pub(super) fn apply_keys(
        &mut self,
        signed: &SignedBody,
        (keys, place): (&Keys, (u32, u64)),
        now: Moment,
    ) {
        let next = self.identity.signers.follow(keys, place).map(|next| next.at(now.wall));
        match next.and_then(|next| next.to_signers().map(|_| next)) {
            Ok(next) => self.settle_keys(signed, next, now),
            Err(error) => self.settle(signed, Some(error.to_string()), now),
        }
    }

    /// Takes these keys over, once they are durable.
    ///
    /// # Errors
    /// Why they are not; those of before count on.
    pub(super) fn trust(&mut self, keys: &mut Option<TrustedKeys>) -> Result<(), String> {
        let Some(next) = keys.as_ref() else { return Ok(()) };
        let text = next.to_signers().map_err(|error| error.to_string())?;
        let written = safe::write(&self.paths.grant_signers, &text, 0o644, Durability::Disk);
        written.map_err(|error| journal::chain(&error))?;
        if let Some(signers) = keys.take() {
            let own = &self.identity;
            let identity = Identity { config: own.config.clone(), signers, vouch: own.vouch.clone() };
            self.identity = Arc::new(identity);
            journal::log(Level::Info, "another grant key signs from the next document on");
        }
        Ok(())
    }
}
