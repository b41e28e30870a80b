//! Documents of the host's log, applied strictly one after the other (docs/grant-format.md "Order").
//!
//! In: signed documents. Out: grants in force, acknowledgements. Each is durable here before it is acknowledged.
//! Threats C10, C11, C13, C15; THREATS H10.

use std::thread;

use elevate_protocol::document::{Act, Document, End, EndCause};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Claim;
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, VerifyError, verify_document};
use serde::Deserialize;

use super::grants::{Account, Standing};
use super::message::Message;
use super::state::Agent;
use crate::clock::{self, Moment};
use crate::enforce::check;
use crate::journal::{self, Level};
use crate::store::documents::{self, HELD_MAX, Held};

/// Most documents that wait for their turn.
const INBOX_MAX: usize = 1024;
/// Most bytes of them: they are verified only when it is their turn.
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most grants of one uid: as many as the PAM gate reads for one call of sudo.
const UID_GRANTS_MAX: usize = 64;

/// A document that is being checked by a thread.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its place.
    seq: u64,
    /// As it was signed.
    signed: SignedBody,
    /// The grant as it will be.
    held: Held,
    /// What it is to be put in the place of.
    before: Before,
}

/// What was held of a grant when its document came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// The grant. When it ends while the document is being checked, it has ended.
    Grant,
}

/// As much of a document as is needed to refuse it by its place.
#[derive(Debug, Deserialize)]
struct Place {
    host: elevate_protocol::id::HostId,
    cluster: elevate_protocol::id::ClusterId,
    epoch: u32,
    seq: u64,
}

impl Agent {
    /// A document arrived.
    pub(crate) fn document(&mut self, signed: SignedBody) {
        let bytes = self.inbox.iter().map(|waiting| waiting.body.len()).fold(0, usize::saturating_add);
        if self.inbox.len() >= INBOX_MAX || bytes >= INBOX_BYTES_MAX {
            self.cut_link("the daemon sends documents faster than they can be applied");
            return;
        }
        if self.unplaced.is_some() {
            self.end_early(&signed, clock::read());
        }
        self.inbox.push_back(signed);
        self.next_document();
    }

    /// Takes documents from the inbox until one has to wait, for its checks or for the disk.
    pub(crate) fn next_document(&mut self) {
        while self.checking.is_none() && self.unplaced.is_none() {
            let Some(signed) = self.inbox.pop_front() else { return };
            self.consider(&signed, clock::read());
        }
    }

    fn consider(&mut self, signed: &SignedBody, now: Moment) {
        let config = &self.identity.config;
        let document = match verify_document(signed, &self.identity.signers, &config.host) {
            Ok(verified) => verified.document().clone(),
            Err(error) => return self.unread(signed, &error, now),
        };
        if document.cluster != config.cluster {
            return self.refuse_peer(now, "a document of another cluster was refused");
        }
        if self.is_in_turn(document.epoch, document.seq, now) {
            self.apply(signed, &document, now);
        }
    }

    /// Whether a document of this place is the next one. Answers for those that are not.
    fn is_in_turn(&mut self, epoch: u32, seq: u64, now: Moment) -> bool {
        if epoch != self.position.epoch {
            let ours = self.position.epoch;
            let what = format!(
                "documents of epoch {epoch} are not applied: this host is in epoch {ours}, and a new one begins with root's word"
            );
            self.refuse_peer(now, &what);
            return false;
        }
        if seq <= self.position.seq {
            self.acknowledge(seq);
            return false;
        }
        let next = self.position.seq.saturating_add(1);
        if seq != next {
            if let Some(link) = &mut self.link
                && link.asked_from != Some(next)
            {
                link.asked_from = Some(next);
                self.claim(Claim::Missing { from: next });
            }
            return false;
        }
        true
    }

    /// A document that could not be read. Signed for this host and merely not understood: refused by its place, or
    /// it would block the log for ever. Anything else is a reason to close.
    fn unread(&mut self, signed: &SignedBody, error: &VerifyError, now: Moment) {
        if let VerifyError::Replaced { .. } = error {
            // Threat K05: who has the old key must not move the place in the log either.
            return self.refuse_peer(now, &format!("a document was refused: {error}"));
        }
        let body = signed.verify(&self.identity.signers, GRANT_NAMESPACE).ok();
        let place = body.and_then(|body| serde_json::from_str::<Place>(body).ok());
        let config = &self.identity.config;
        let place = place.filter(|place| place.host == config.host && place.cluster == config.cluster);
        match place {
            Some(place) => {
                if self.is_in_turn(place.epoch, place.seq, now) {
                    self.settle(signed, Some(error.to_string()), now);
                }
            }
            None => self.refuse_peer(now, &format!("a document was refused: {error}")),
        }
    }

    /// Reports a peer that sends what it must not, and closes the connection: one report per connection at most.
    pub(crate) fn refuse_peer(&mut self, now: Moment, what: &str) {
        self.tampered(now, what);
        self.cut_link(what);
    }

    fn apply(&mut self, signed: &SignedBody, document: &Document, now: Moment) {
        if let Act::End(end) = &document.act {
            return self.apply_end(signed, end, now);
        }
        if let Act::Keys(keys) = &document.act {
            return self.apply_keys(signed, (keys, (document.epoch, document.seq)), now);
        }
        if document.activation().is_some_and(|id| self.early.has(id)) {
            return self.settle(signed, Some("it has ended: its end came while this waited".into()), now);
        }
        let held = match self.assemble(signed, document) {
            Ok(held) => held,
            Err(why) => return self.settle(signed, Some(why), now),
        };
        if let Err(error) = check::terms(&held.verified, now.wall) {
            return self.settle(signed, Some(error.to_string()), now);
        }
        let able = self
            .can_enforce(&held.verified, now)
            .and_then(|()| self.within_abilities(&held.verified))
            .and_then(|()| self.below_ceiling(&held.verified));
        if let Err(error) = able {
            return self.settle(signed, Some(error), now);
        }
        if held.verified.grant().lease.is_some() {
            self.ask_contact(now);
        }
        let known = self.grants.contains_key(&held.verified.grant().id);
        let before = if known { Before::Grant } else { Before::Nothing };
        let (dialect, accepted, seq) = (self.flavour.dialect(), self.accepted.clone(), document.seq);
        if let Some(result) = check::at_once(dialect, &held.verified, (now.wall, &accepted)) {
            let put =
                result.map_err(|error| journal::chain(&error)).and_then(|()| self.put(held, before, now));
            return self.settle(signed, put.err(), now);
        }
        let (paths, verified, sender) = (self.paths.clone(), held.verified.clone(), self.sender.clone());
        let started = thread::Builder::new().name("check".into()).spawn(move || {
            let result = check::host(&paths, dialect, &verified, (now.wall, &accepted))
                .map_err(|error| journal::chain(&error));
            drop(sender.send(Message::Checked { seq, result }));
        });
        match started {
            Ok(_) => self.checking = Some(Pending { seq, signed: signed.clone(), held, before }),
            Err(error) => {
                self.settle(signed, Some(format!("this host cannot check it: {error}")), now);
            }
        }
    }

    /// The grant as it is with this document. One that was stored before a crash is taken as it is.
    fn assemble(&self, signed: &SignedBody, document: &Document) -> Result<Held, String> {
        let known = document.activation().and_then(|id| self.grants.get(&id));
        let chain = match (&document.act, known) {
            (Act::Grant(_), None) if self.grants.len() >= HELD_MAX => {
                return Err("this host holds too many grants".into());
            }
            (Act::Grant(grant), None) if self.grants_of(grant.uid) >= UID_GRANTS_MAX => {
                return Err(format!("uid {} has too many grants in force here", grant.uid));
            }
            (Act::Grant(_), None) => SignedGrant::new(signed.clone()),
            (_, Some(standing)) if standing.text.contains(&signed.body) => standing.held.signed.clone(),
            (Act::Grant(_), Some(_)) => return Err("a grant of this id is already in force".into()),
            (Act::Extend(_) | Act::End(_), Some(standing)) => {
                standing.held.signed.clone().with(signed.clone())
            }
            (Act::Extend(_) | Act::End(_) | Act::Keys(_), _) => {
                return Err("there is no such grant in force here".into());
            }
        };
        // Read back as the gate and the next start read it: what is longer than they take would end there.
        let chain = SignedGrant::from_text(&chain.to_text()).map_err(|error| error.to_string())?;
        let config = &self.identity.config;
        Held::verify(chain, &self.identity.signers, &config.host).map_err(|error| error.to_string())
    }

    fn grants_of(&self, uid: u32) -> usize {
        self.grants.values().filter(|standing| standing.held.verified.grant().uid == uid).count()
    }

    /// An end needs no check: it only takes away, and one for a grant that is not here is done already.
    fn apply_end(&mut self, signed: &SignedBody, end: &End, now: Moment) {
        self.end(end.id, end.cause, now);
        self.settle(signed, None, now);
    }

    /// The checks of the pending document are done.
    pub(crate) fn checked(&mut self, seq: u64, result: Result<(), String>) {
        let Some(pending) = self.checking.take().filter(|pending| pending.seq == seq) else { return };
        let now = clock::read();
        let signed = pending.signed.clone();
        let refused = result.and_then(|()| self.install(pending, now)).err();
        self.settle(&signed, refused, now);
        self.consider_epoch(now);
        self.next_document();
    }

    fn install(&mut self, pending: Pending, now: Moment) -> Result<(), String> {
        let id = pending.held.verified.grant().id;
        // The checks took a while: what held at their beginning is looked at again.
        self.sweep(now);
        if pending.before == Before::Grant && !self.grants.contains_key(&id) {
            return Err("the grant ended while the document was checked".into());
        }
        check::terms(&pending.held.verified, now.wall).map_err(|error| error.to_string())?;
        self.can_enforce(&pending.held.verified, now)?;
        self.within_abilities(&pending.held.verified)?;
        self.below_ceiling(&pending.held.verified)?;
        self.put(pending.held, pending.before, now)
    }

    /// Makes a grant durable and then its rules what is in force. Everything about it was looked at in the same breath.
    fn put(&mut self, held: Held, was: Before, now: Moment) -> Result<(), String> {
        let (id, uid) = (held.verified.grant().id, held.verified.grant().uid);
        if let Err(error) = documents::save(&self.paths, &held) {
            // Its file may stand there all the same, when only the sync of the folder failed: the next start would obey it.
            let before = self.grants.remove(&id);
            self.put_back(id, uid, before, now);
            return Err(journal::chain(&error));
        }
        let mut standing = match self.grants.get(&id) {
            Some(before) => before.extended(held, now),
            None => Standing::new(held, now, None, Account::Confirmed),
        };
        standing.account = Account::Confirmed;
        if was == Before::Nothing && standing.lease().is_some() {
            self.contact_by_grant(standing.held.verified.grant(), now);
        }
        if standing.over(now, self.contact.proven).is_some() {
            // The document was under way for as long as its lease. Its file is there, and the next start would obey it.
            let before = self.grants.remove(&id);
            self.put_back(id, uid, before, now);
            return Err("the daemon was not heard for longer than the lease of the grant".into());
        }
        let before = self.grants.insert(id, standing);
        self.lingering.remove(&id);
        self.save_deadlines();
        if let Err(why) = self.enforce(uid, now) {
            self.put_back(id, uid, before, now);
            return Err(why);
        }
        journal::log(Level::Info, &format!("grant G-{id} of uid {uid} is in force"));
        Ok(())
    }

    /// After a document that could not be enforced: what was in force before an extension stays so, a new grant is forgotten.
    /// A grant whose former documents cannot be made durable is forgotten too, or the next start would find the refused one.
    fn put_back(&mut self, id: ActivationId, uid: u32, before: Option<Standing>, now: Moment) {
        let Some(before) = before else { return self.forget(id, uid, now) };
        match documents::save(&self.paths, &before.held) {
            Ok(()) => {
                self.grants.insert(id, before);
                self.save_deadlines();
                drop(self.enforce(uid, now));
            }
            Err(error) => {
                journal::log(Level::Error, &journal::chain(&error));
                self.grants.insert(id, before);
                self.end(id, EndCause::NotEnforced, now);
            }
        }
    }

    fn forget(&mut self, id: ActivationId, uid: u32, now: Moment) {
        self.grants.remove(&id);
        drop(self.enforce(uid, now));
        if let Err(error) = documents::forget(&self.paths, id) {
            journal::log(Level::Error, &journal::chain(&error));
            self.lingering.insert(id);
        }
    }

    /// Ends every grant whose account is another one now (threat C11), and installs what was waiting for its account.
    pub(crate) fn accounts_changed(&mut self, changed: Vec<(ActivationId, String)>, now: Moment) {
        for (id, why) in changed {
            journal::log(Level::Warning, &why);
            self.end(id, EndCause::AccountChanged, now);
        }
    }
}
