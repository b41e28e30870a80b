//! A new epoch of the host's log: said by the daemon, begun by the word of this host's root and by nothing else.
//!
//! In: the daemon's signed word, root's word in /etc/elevate/epoch. Out: an empty log, in which nothing of the one before is in
//! force. Until then what is in force here goes on to its end, and nothing new comes. Spec: docs/wire.md "Epochs". Threat R25.

use elevate_protocol::document::EndCause;
use elevate_protocol::epoch::NewEpoch;
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::agent::Report;
use elevate_protocol::signed::SignedBody;

use super::state::Agent;
use crate::clock::Moment;
use crate::epoch;
use crate::journal::{self, Level};
use crate::status;
use crate::store::documents;
use crate::store::position::Position;

impl Agent {
    /// The daemon says, instead of a welcome, that its log is another one.
    pub(crate) fn epoch_said(&mut self, signed: &SignedBody, own: Nonce, now: Moment) {
        let config = &self.identity.config;
        match NewEpoch::open(signed, &self.identity.signers, (config.cluster, config.host, own)) {
            Ok(said) if said.epoch > self.position.epoch => {
                if self.new_epoch.replace(said.epoch) != Some(said.epoch) {
                    journal::log(Level::Error, &status::another_log(said.epoch));
                }
                self.consider_epoch(now);
            }
            Ok(said) => {
                let what = format!("the daemon speaks of epoch {}, which is no new one here", said.epoch);
                self.refuse_peer(now, &what);
            }
            Err(error) => self.refuse_peer(now, &error.to_string()),
        }
    }

    /// Begins the epoch that the daemon said, if root said the same.
    pub(crate) fn consider_epoch(&mut self, now: Moment) {
        let Some(epoch) = self.new_epoch else { return };
        // A document of the old log that is being checked is settled in it first.
        if self.checking.is_some() {
            return;
        }
        match epoch::word(&self.paths) {
            Ok(Some(word)) if word == epoch => self.begin_epoch(epoch, now),
            Ok(_) => {}
            Err(error) => journal::log(Level::Error, &journal::chain(&error)),
        }
    }

    /// First everything of the old log ends, then the new one begins: an agent that is killed in between ends the rest next time.
    fn begin_epoch(&mut self, epoch: u32, now: Moment) {
        let held: Vec<ActivationId> = self.grants.keys().copied().collect();
        for id in held {
            self.end(id, EndCause::Restored, now);
        }
        self.lingering.retain(|id| documents::forget(&self.paths, *id).is_err());
        if !self.lingering.is_empty() {
            return journal::log(Level::Error, "what is over cannot be removed from the disk");
        }
        // Said twice after a crash between this and the next, rather than never.
        self.report(now, Report::Epoch { epoch });
        let next = Position::begin(epoch, self.position.seen.max(now.wall));
        // Tried again when the daemon says it again.
        self.new_epoch = None;
        if let Err(error) = next.save(&self.paths) {
            return journal::log(Level::Error, &journal::chain(&error));
        }
        self.position = next;
        self.inbox.clear();
        self.unplaced = None;
        self.early.forget(&self.paths);
        journal::log(Level::Warning, &format!("epoch {epoch} begins, by the word of root"));
        self.cut_link("the next connection is of the new epoch");
    }
}
