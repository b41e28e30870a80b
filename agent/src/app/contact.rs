//! Contact with the daemon: asked for with a nonce, proven by the daemon's signature, counted from the question.
//!
//! In: answers that the link carries. Out: the moment up to which leases are held. Whoever withholds an answer or a document
//! shortens leases and lengthens none (docs/wire.md "Contact", THREATS §6.4).

use std::collections::BTreeSet;

use elevate_protocol::contact::{Contact as Answer, ContactError, ask_every};
use elevate_protocol::deadlines::lease_ends;
use elevate_protocol::document::{BACKDATE, Grant};
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::agent::{Claim, SILENCE_MAX};
use elevate_protocol::message::person::{Away, AwayGrant};
use elevate_protocol::signed::{SignedBody, VerifyError};
use elevate_protocol::time::{Span, Timestamp};

use super::grants::Account;
use super::state::Agent;
use crate::clock::{Boot, Moment};
use crate::journal::{self, Level};
use crate::warning;

/// What is known of the daemon's presence.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    /// The last moment at which the daemon had nothing unsaid for this host; none: not since the boot.
    pub(crate) proven: Option<Boot>,
    /// The question that is open, and when it was asked.
    asked: Option<(Nonce, Boot)>,
    /// An answer that counts once the document of this place was applied, and when its question was asked.
    owed: Option<(u64, Boot)>,
    /// When the daemon was last heard, by the wall clock: for people to read, nothing is decided by it.
    heard: Option<Timestamp>,
    /// When the next question is due.
    next: Boot,
    /// Grants whose people were told that their lease runs out.
    told: BTreeSet<ActivationId>,
}

impl Contact {
    /// As the last run of the agent left it.
    #[must_use]
    pub(crate) fn known(proven: Option<Boot>, now: Boot) -> Self {
        // A contact that lies ahead is none of this boot.
        Self { proven: proven.filter(|at| *at <= now), ..Self::default() }
    }
}

impl Agent {
    /// The connection is over: what was asked on it is not answered any more.
    pub(crate) fn contact_lost(&mut self, heard: Option<Timestamp>) {
        self.contact.heard = heard.or(self.contact.heard);
        (self.contact.asked, self.contact.owed, self.contact.next) = (None, None, Boot(0));
    }

    /// Asks when it is time: only a host that holds a lease has anything to ask.
    pub(crate) fn keep_contact(&mut self, now: Moment) {
        let leases = self.grants.values().filter_map(|standing| standing.lease());
        let Some(every) = ask_every(leases) else { return };
        if self.is_linked() && now.boot >= self.contact.next {
            self.contact.next = now.boot.after(every);
            self.ask_contact(now);
        }
    }

    /// Asks now. A question that is open stays so until it is answered or given up, so that a slow answer counts.
    pub(crate) fn ask_contact(&mut self, now: Moment) {
        if self.contact.asked.is_some_and(|(_, at)| now.boot < at.after(SILENCE_MAX)) {
            return;
        }
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            return journal::log(Level::Error, "no randomness for a question about contact");
        }
        let nonce = Nonce::from_random(bytes);
        self.contact.asked = Some((nonce, now.boot));
        self.claim(Claim::Contact { nonce });
    }

    /// The answer. It counts from its question: nobody gains by holding it back.
    pub(crate) fn contact_answered(&mut self, signed: &SignedBody, now: Moment) {
        // An answer to a question that was given up comes too late for anything.
        let Some((nonce, at)) = self.contact.asked else { return };
        let config = &self.identity.config;
        match Answer::open(signed, &self.identity.signers, (config.cluster, config.host, nonce)) {
            Ok(answer) => {
                self.contact.asked = None;
                self.check_skew(answer.time, now);
                if answer.epoch == self.position.epoch {
                    self.contact.owed = Some((answer.seq, at));
                    self.settle_contact(now);
                }
            }
            // Signed just before the key was replaced, or by who has the old one: it proves nothing, and is asked again.
            Err(ContactError::Replaced) => self.contact.asked = None,
            // Perhaps by the key of a document that waits for the disk: the same.
            Err(ContactError::Signature { source: VerifyError::NotTrusted }) if self.unplaced.is_some() => {
                self.contact.asked = None;
            }
            Err(error) => self.refuse_peer(now, &error.to_string()),
        }
    }

    /// The daemon's documents are applied up to here: an answer that named a later one counts now.
    pub(crate) fn settle_contact(&mut self, now: Moment) {
        if let Some((_, at)) = self.contact.owed.take_if(|(seq, _)| *seq <= self.position.seq) {
            self.prove_contact(at, now);
        }
    }

    /// A grant that arrives proves contact at its issue, by the clock of which host and daemon agree within [`BACKDATE`].
    pub(crate) fn contact_by_grant(&mut self, grant: &Grant, now: Moment) {
        let issued = grant.not_before.after(BACKDATE);
        let late = now.wall.since(issued.after(BACKDATE));
        self.prove_contact(now.boot.after_seconds(i64::from(late.0).saturating_neg()), now);
    }

    fn prove_contact(&mut self, at: Boot, now: Moment) {
        let before = self.contact.proven;
        if before.is_some_and(|before| before >= at) {
            return;
        }
        self.contact.proven = Some(at);
        self.contact.told.clear();
        self.save_deadlines();
        if before.is_none() {
            // After a boot: what was held back until now comes into force.
            let leased = self.grants.values().filter(|standing| standing.lease().is_some());
            let uids: BTreeSet<u32> = leased.map(|standing| standing.held.verified.grant().uid).collect();
            for uid in uids {
                drop(self.enforce(uid, now));
            }
        }
        // The end of a lease stands in what sshd is told.
        drop(self.enforce_ssh(now));
    }

    /// What a person is told while the daemon cannot be reached.
    pub(crate) fn away(&self, uid: u32, now: Moment) -> Away {
        let mut grants = Vec::new();
        for (id, standing) in &self.grants {
            let grant = standing.held.verified.grant();
            if grant.uid != uid || standing.in_force(now, self.contact.proven).is_none() {
                continue;
            }
            let ends = standing.left(now);
            let lease = standing.lease_ends(self.contact.proven).map(|ends| now.boot.seconds_to(ends));
            let lease = lease.filter(|left| *left < ends);
            let until = now.wall.after(lease.unwrap_or(ends));
            grants.push(AwayGrant { id: *id, role: grant.role.clone(), until, lease: lease.is_some() });
        }
        Away { since: self.contact.heard, grants }
    }

    /// Tells people once that a lease is half over without contact.
    pub(crate) fn warn_of_leases(&mut self, now: Moment) {
        let Some(contact) = self.contact.proven else { return };
        let mut due = Vec::new();
        for (id, standing) in &self.grants {
            let Some(lease) = standing.lease().filter(|_| standing.account == Account::Confirmed) else {
                continue;
            };
            let half = contact.after(Span(lease.0.div_ceil(2)));
            if now.boot >= half && !self.contact.told.contains(id) {
                let left = now.boot.seconds_to(Boot(lease_ends(contact.0, lease)));
                due.push((*id, standing.held.verified.grant().uid, left));
            }
        }
        for (id, uid, left) in due {
            warning::tell(&self.paths.terminals, uid, &warning::lease_text(id, left));
            self.contact.told.insert(id);
        }
    }
}
