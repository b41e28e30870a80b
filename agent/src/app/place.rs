//! The place in the host's log: durable before a document is acknowledged, and what goes on while it cannot be.
//!
//! In: documents that are done with. Out: acknowledgements. While the disk takes nothing, later documents wait in their order; what
//! ends takes effect all the same (threat R05). Spec: docs/faults.md "The agent".

use std::collections::BTreeMap;

use elevate_protocol::document::{Act, EndCause};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Applied, Claim};
use elevate_protocol::signed::{SignedBody, TrustedKeys, verify_document};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use serde::{Deserialize, Serialize};

use super::keys::Next;
use super::state::Agent;
use crate::clock::{Boot, Moment};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::safe::{self, Durability};
use crate::store::documents;

/// Between two tries.
const AGAIN: Span = Span(1);
/// Most ends that are remembered: more than can wait at a time.
const EARLY_MAX: usize = 4096;
/// Longest file of them.
const EARLY_BYTES_MAX: u64 = 1024 * 1024;

/// Grants that ended before their end had its turn, by the place of that end. The same documents come again with the next
/// connection, the grant first: it must not begin again.
///
/// Kept on tmpfs: it is the disk that takes nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Early(BTreeMap<u64, (ActivationId, EndCause)>);

impl Early {
    /// What an agent before this one has seen end.
    #[must_use]
    pub(crate) fn load(paths: &Paths) -> Self {
        let text = safe::read(&paths.early, EARLY_BYTES_MAX).ok();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(ActivationId, EndCause)> {
        self.0.values().copied().collect()
    }

    /// It ended. Of more than are remembered those go that are furthest ahead in the log.
    fn note(&mut self, seq: u64, ended: (ActivationId, EndCause), paths: &Paths) {
        self.0.insert(seq, ended);
        while self.0.len() > EARLY_MAX {
            self.0.pop_last();
        }
        self.save(paths);
    }

    /// Whether it ended.
    pub(super) fn has(&self, id: ActivationId) -> bool {
        self.0.values().any(|(ended, _)| *ended == id)
    }

    /// The log has come to `seq`: ends up to there have had their turn.
    fn come_to(&mut self, seq: u64, paths: &Paths) {
        let before = self.0.len();
        self.0.retain(|end, _| *end > seq);
        if self.0.len() != before {
            self.save(paths);
        }
    }

    /// The log is another one.
    pub(super) fn forget(&mut self, paths: &Paths) {
        self.0.clear();
        self.save(paths);
    }

    fn save(&self, paths: &Paths) {
        let saved = if self.0.is_empty() {
            safe::remove(&paths.early)
        } else {
            let text = serde_json::to_string(self).unwrap_or_default();
            safe::write(&paths.early, &text, 0o600, Durability::Memory)
        };
        if let Err(error) = saved {
            journal::log(Level::Error, &journal::chain(&error));
        }
    }
}

/// A document that is done with and has no durable place yet.
#[derive(Debug)]
pub(crate) struct Unplaced {
    /// As it was signed.
    signed: SignedBody,
    /// Why it was refused, if it was.
    refused: Option<String>,
    /// The keys that count from it on; they are written before its place is. None: written, or the same as before.
    keys: Option<Next>,
    /// The keys that will count behind all that waits; none: those that count now.
    behind: Option<TrustedKeys>,
    /// Why it has no place; empty before the first try.
    why: String,
    /// When it is tried again.
    pub(super) again: Boot,
}

impl Agent {
    /// The next document is done with. Its place is durable before it is acknowledged.
    pub(super) fn settle(&mut self, signed: &SignedBody, refused: Option<String>, now: Moment) {
        if let Some(why) = &refused {
            journal::log(Level::Warning, &format!("a document was refused: {why}"));
        }
        self.done(signed, refused, None, now);
    }

    /// The next document is done with, and from it on these keys count.
    pub(super) fn settle_keys(&mut self, signed: &SignedBody, keys: Next, now: Moment) {
        self.done(signed, None, Some(keys), now);
    }

    fn done(&mut self, signed: &SignedBody, refused: Option<String>, keys: Option<Next>, now: Moment) {
        let (signed, behind) = (signed.clone(), keys.as_ref().map(|next| next.signers.clone()));
        self.place(Unplaced { signed, refused, keys, behind, why: String::new(), again: now.boot }, now);
    }

    /// Tries again what the disk did not take.
    pub(super) fn place_again(&mut self, now: Moment) {
        if self.unplaced.as_ref().is_some_and(|waiting| waiting.again <= now.boot)
            && let Some(waiting) = self.unplaced.take()
        {
            self.place(waiting, now);
            self.next_document();
        }
    }

    fn place(&mut self, mut done: Unplaced, now: Moment) {
        let next = self.position.next(&done.signed, done.refused.clone(), now.wall);
        // An end or a refusal is acknowledged when it will outlive this process, and not before.
        self.lingering.retain(|id| documents::forget(&self.paths, *id).is_err());
        let had_keys = done.keys.is_some();
        let placed = if self.lingering.is_empty() {
            self.trust(&mut done.keys)
                .and_then(|()| next.save(&self.paths).map_err(|error| journal::chain(&error)))
        } else {
            Err("what is over cannot be removed from the disk".to_owned())
        };
        if let Err(why) = placed {
            return self.wait_for_the_disk(done, why, now);
        }
        self.position = next;
        self.early.come_to(self.position.seq, &self.paths);
        self.acknowledge(self.position.seq);
        if had_keys {
            // The first CA makes an sshd that asks of one that could not.
            self.look_at_sshd(now);
        }
        self.settle_contact(now);
    }

    /// Not acknowledged, and those behind it wait. An agent that is started again hears it again from the daemon.
    fn wait_for_the_disk(&mut self, done: Unplaced, why: String, now: Moment) {
        if why != done.why {
            journal::log(Level::Error, &format!("a document waits for its place in the log: {why}"));
        }
        let first = done.why.is_empty();
        self.unplaced = Some(Unplaced { why, again: now.boot.after(AGAIN), ..done });
        if first {
            let behind: Vec<SignedBody> = self.inbox.iter().cloned().collect();
            behind.iter().for_each(|signed| self.end_early(signed, now));
        }
    }

    /// An end that has to wait for its turn takes effect at once. It only takes away, and finds nothing to do in its turn. That it
    /// did is remembered over connections and starts of the agent; over a boot the grant is in force again until its end, sent right
    /// behind it, comes.
    /// Who may sign it is decided by the documents about keys that wait before it (threat K05).
    pub(super) fn end_early(&mut self, signed: &SignedBody, now: Moment) {
        let Some(waiting) = &mut self.unplaced else { return };
        let config = &self.identity.config;
        let signers = waiting.behind.as_ref().unwrap_or(&self.identity.signers);
        let Ok(verified) = verify_document(signed, signers, &config.host) else { return };
        let document = verified.document();
        let (epoch, seq) = (document.epoch, document.seq);
        let ours = document.cluster == config.cluster && epoch == self.position.epoch;
        if !ours || seq <= self.position.seq {
            return;
        }
        match &document.act {
            Act::End(end) => {
                self.early.note(seq, (end.id, end.cause), &self.paths);
                self.end(end.id, end.cause, now);
            }
            // Its turn says why, if it is refused.
            Act::Keys(keys) => {
                if let Ok(next) = signers.follow(keys, (epoch, seq)) {
                    waiting.behind = Some(next.at(now.wall));
                }
            }
            Act::Grant(_) | Act::Extend(_) => {}
        }
    }

    pub(super) fn acknowledge(&mut self, seq: u64) {
        let result = match self.position.refused.get(&seq) {
            Some(why) => Applied::Refused { why: UntrustedText::lossy(why) },
            None => Applied::Enforced,
        };
        self.claim(Claim::Applied { seq, result });
    }
}
