//! A daemon that answers questions about contact.

use elevate_protocol::contact::Contact;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::agent::{Claim, ToAgent};

use super::{Daemon, cluster, host, key, now};

/// The answer of a daemon whose last document for this host has this place.
pub(crate) fn contact(nonce: Nonce, seq: u64) -> Contact {
    Contact { cluster: cluster(), host: host(), nonce, epoch: 1, seq, time: now() }
}

impl Daemon {
    /// The next question.
    pub(crate) fn question(&mut self) -> Nonce {
        loop {
            match self.claim() {
                Some(Claim::Contact { nonce }) => return nonce,
                Some(Claim::Applied { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Answers it.
    pub(crate) fn answer(&mut self, nonce: Nonce, seq: u64) {
        self.send(&ToAgent::Contact(contact(nonce, seq).sign(&key(7)).unwrap()));
    }
}
