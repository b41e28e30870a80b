//! A document about the keys that sign: another grant key or user CA takes over (threat K05).
//!
//! In: a verified document. Out: the signers file, the CAs for sshd, then the set in memory. The file is durable before the document's place is,
//! so a crash between the two finds a file that the same document, sent again, leaves as it is.

use std::path::Path;
use std::sync::Arc;

use elevate_protocol::document::Keys;
use elevate_protocol::signed::{SignedBody, TrustedKeys};
use elevate_protocol::ssh::Cas;

use super::state::Agent;
use crate::clock::Moment;
use crate::config::Identity;
use crate::journal::{self, Level};
use crate::safe::{self, Durability};

/// Mode of the file that sshd reads.
const CA_MODE: u32 = 0o644;

/// The keys that count from a document on.
#[derive(Debug)]
pub(super) struct Next {
    /// Those that sign documents.
    pub(super) signers: TrustedKeys,
    /// Those that sign certificates of people.
    pub(super) user_ca: Cas,
    /// Those that sign certificates of hosts.
    pub(super) host_ca: Cas,
}

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
            Ok(signers) => {
                let next = Next { signers, user_ca: keys.user_ca.clone(), host_ca: keys.host_ca.clone() };
                self.settle_keys(signed, next, now);
            }
            Err(error) => self.settle(signed, Some(error.to_string()), now),
        }
    }

    /// Takes these keys over, once they are durable.
    ///
    /// # Errors
    /// Why they are not; those of before count on. The CAs are written last, so that none of them counts where the signers cannot be
    /// written.
    pub(super) fn trust(&mut self, keys: &mut Option<Next>) -> Result<(), String> {
        let Some(next) = keys.as_ref() else { return Ok(()) };
        let text = next.signers.to_signers().map_err(|error| error.to_string())?;
        let written = safe::write(&self.paths.grant_signers, &text, 0o644, Durability::Disk);
        written.map_err(|error| journal::chain(&error))?;
        write_cas(&self.paths.host_ca, &next.host_ca)?;
        write_cas(&self.paths.user_ca, &next.user_ca)?;
        self.host_certificates.hurry(self.clocks.boot);
        if let Some(Next { signers, .. }) = keys.take() {
            let own = &self.identity;
            let identity = Identity { config: own.config.clone(), signers, vouch: own.vouch.clone() };
            self.identity = Arc::new(identity);
            journal::log(Level::Info, "the keys that sign are others from the next document on");
        }
        Ok(())
    }
}

/// sshd reads the one of people anew for every connection.
fn write_cas(path: &Path, cas: &Cas) -> Result<(), String> {
    let text = cas.to_file();
    if safe::is_exactly(path, &text, CA_MODE) {
        return Ok(());
    }
    safe::write(path, &text, CA_MODE, Durability::Disk).map_err(|error| journal::chain(&error))
}
