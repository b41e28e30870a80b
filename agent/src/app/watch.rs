//! What comes round with time: ends, warnings, a look at PAM, at our folders, at accounts, at the link.
//!
//! In: the timer. Out: everything that is due, and when the timer has to ring next. Threats C11, G01, G03, A17.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Claim, Report};
use elevate_protocol::name::Login;
use elevate_protocol::signed::VerifiedGrant;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::grants::Account as Confirmation;
use super::message::{AccountState, Message, Roles};
use super::state::{Agent, Looking, Rounds};
use crate::ceiling::{Ceiling, CeilingError};
use crate::clock::{self, Boot, Moment};
use crate::enforce::check::{self, CheckError, FIRST_UID};
use crate::journal::{self, Level};
use crate::nss::{self, Account, NssError};
use crate::probe::{self, ProbeError};
use crate::safe::{self, Durability};
use crate::status::{GrantStatus, Status};

/// Between two looks at PAM files, module and include line.
const PROBE: Span = Span(5);
/// The same at rest: with no grant there is no rule that stands on them, and inotify tells of nearly all of it.
const PROBE_AT_REST: Span = Span(60);
/// Between two looks at our folders. The longest sleep there is: a heartbeat goes with it.
pub(super) const RECONCILE: Span = Span(30);
/// What is due so soon is done at once: each waking costs more than what is done in it.
const TOGETHER: Span = Span(1);
/// Between two looks at the accounts of grants.
const ACCOUNTS: Span = Span(60);
/// The same while an account could not be confirmed.
const ACCOUNTS_SOON: Span = Span(5);
/// Most offers that wait.
const OFFERS_MAX: usize = 16;
/// Between two looks at the wall clock while grants are in force: it may have been set.
const WALL: Span = Span(1);
/// Seconds by which the clocks may differ between two readings: each is read in whole seconds, and clocks are slewed.
const STEP: u64 = 3;

impl Rounds {
    /// Everything is due again in its own time.
    #[must_use]
    pub(crate) fn begin(now: Boot) -> Self {
        Self {
            looked: now,
            reconcile: now.after(RECONCILE),
            accounts: now,
            looking: Looking::Idle,
            resolving: Looking::Idle,
        }
    }
}

impl Agent {
    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Moment) {
        // First what ends: after a pause of the whole machine nothing else comes before it (THREATS G06).
        self.sweep(now);
        self.look_at_connections(now);
        self.place_again(now);
        if now.boot >= self.next_look() {
            self.rounds.looked = now.boot;
            self.look_at_sudo();
            self.probe(now);
            self.look_at_sshd(now);
            self.look_at_revoked(now);
            self.look_at_sshd_log(now);
            self.check_ceiling(now);
            self.resolve_offers();
            self.consider_epoch(now);
        }
        if self.revoked.due().is_some_and(|due| now.boot >= due) {
            self.renew_revoked(now);
        }
        if now.boot.after(TOGETHER) >= self.rounds.reconcile {
            self.rounds.reconcile = now.boot.after(RECONCILE);
            self.forget_what_left_nothing();
            self.reconcile(&BTreeSet::new(), now);
        }
        if now.boot >= self.rounds.accounts && self.rounds.looking == Looking::Idle {
            self.look_at_accounts(now);
        }
        self.look_at_host_keys(now);
        self.keep_alive(now);
    }

    /// Reports a wall clock that was set: rights end by CLOCK_BOOTTIME or earlier, so it lengthens none (threat G01).
    pub(crate) fn watch_clock(&mut self, now: Moment) {
        let by = now.stepped_since(self.clocks);
        let before = std::mem::replace(&mut self.clocks, now);
        if by.unsigned_abs() < STEP {
            return;
        }
        journal::log(Level::Warning, &format!("the wall clock was set by {by} s"));
        self.keep_seen(before);
        self.host_certificates.hurry(now.boot);
        self.report(now, Report::ClockStep { by });
        // What is not yet valid by the new time is taken away now, and what is again is put back.
        self.reconcile(&BTreeSet::new(), now);
    }

    /// Makes the latest time that was seen durable: a clock that is set back before a reboot gives nothing back.
    fn keep_seen(&mut self, now: Moment) {
        if now.wall <= self.position.seen {
            return;
        }
        let mut position = self.position.clone();
        position.seen = now.wall;
        match position.save(&self.paths) {
            Ok(()) => self.position = position,
            Err(error) => journal::log(Level::Error, &journal::chain(&error)),
        }
    }

    /// When to look again at what rules stand on: at once where a grant has come since the last look of a host at rest.
    fn next_look(&self) -> Boot {
        let rests = self.grants.is_empty()
            && self.offers.is_empty()
            && self.new_epoch.is_none()
            && self.enforcement.is_ok();
        self.rounds.looked.after(if rests { PROBE_AT_REST } else { PROBE })
    }

    /// When the timer has to ring.
    pub(crate) fn due(&self, now: Moment) -> Boot {
        let look = self.next_look().min(self.rounds.reconcile);
        let mut due = self.manager.due().map_or(look, |due| due.min(look));
        for standing in self.grants.values() {
            due = due.min(now.boot.after(WALL)).min(standing.ends);
            due = standing.lease_ends(self.contact.proven).map_or(due, |ends| due.min(ends));
            if let Some(next) = standing.warn.last() {
                due = due.min(standing.ends.after_seconds(i64::from(next.0).saturating_neg()));
            }
        }
        if !self.connected.is_empty() {
            due = due.min(now.boot.after(WALL));
        }
        due = self.revoked.due().map_or(due, |revoked| due.min(revoked));
        due = due.min(self.host_certificates.due());
        due = self.unplaced.as_ref().map_or(due, |waiting| due.min(waiting.again));
        // Not in the past for what could not be done: that is tried again in a while, not at once.
        due.max(Boot(now.boot.0.saturating_add(20)))
    }

    /// Something changed that rules stand on: looked at now, and not with the next round.
    pub(crate) fn changed(&mut self, now: Moment) {
        self.change.taken();
        self.probe(now);
        self.look_at_sshd(now);
        self.look_at_revoked(now);
        self.host_certificates.hurry(now.boot);
        self.check_ceiling(now);
        self.consider_epoch(now);
    }

    /// Looks whether rules may still be installed, and takes all away when not.
    pub(crate) fn probe(&mut self, now: Moment) {
        let found = probe::enforcement(&self.paths, &self.flavour.sudo);
        self.enforce_if(found, now);
    }

    fn enforce_if(&mut self, found: Result<(), ProbeError>, now: Moment) {
        if found == self.enforcement {
            return;
        }
        self.enforcement = found;
        match &self.enforcement {
            Ok(()) => journal::log(Level::Info, "rules can be enforced here again"),
            Err(error) => {
                let what = format!("every rule was taken away: {error}");
                self.tampered(now, &what);
            }
        }
        let uids: BTreeSet<u32> = self.grants.values().map(|grant| grant.held.verified.grant().uid).collect();
        for uid in uids {
            drop(self.enforce(uid, now));
        }
        self.tell_sudo();
    }

    /// Whether a grant stays below what this host allows.
    ///
    /// # Errors
    /// What it goes beyond, or why the ceiling is not known.
    pub(crate) fn below_ceiling(&self, grant: &VerifiedGrant) -> Result<(), String> {
        let ceiling = Ceiling::load(&self.paths).map_err(|error| journal::chain(&error))?;
        ceiling.check(grant).map_err(|error| error.to_string())
    }

    /// Ends what root put below a new ceiling. A ceiling that cannot be read ends everything: it may say so. Where there is no
    /// descriptor to look with, rules only wait for one.
    pub(crate) fn check_ceiling(&mut self, now: Moment) {
        if self.grants.is_empty() {
            return;
        }
        let ceiling = match Ceiling::load(&self.paths) {
            Err(CeilingError::File { source }) if source.is_want_of_descriptors() => {
                if self.enforcement.is_ok() {
                    self.enforce_if(Err(ProbeError::Descriptors), now);
                }
                return;
            }
            ceiling => ceiling.map_err(|error| journal::chain(&error)),
        };
        let beyond = self.grants.iter().filter_map(|(id, standing)| {
            let verified = &standing.held.verified;
            let why = match &ceiling {
                Ok(ceiling) => ceiling.check(verified).err()?.to_string(),
                Err(why) => why.clone(),
            };
            Some((*id, why))
        });
        let beyond: Vec<_> = beyond.collect();
        for (id, why) in beyond {
            self.tampered(now, &format!("grant G-{id} is not enforced any more: {why}"));
            self.end(id, EndCause::NotEnforced, now);
        }
    }

    fn look_at_accounts(&mut self, now: Moment) {
        self.rounds.accounts = now.boot.after(ACCOUNTS);
        if self.grants.is_empty() {
            return;
        }
        self.keep_seen(now);
        let grants: Vec<_> =
            self.grants.values().map(|standing| standing.held.verified.grant().clone()).collect();
        let sender = self.sender.clone();
        let started = thread::Builder::new().name("accounts".into()).spawn(move || {
            let states = grants.iter().map(|grant| (grant.id, state_of(check::account(grant))));
            drop(sender.send(Message::Accounts(states.collect())));
        });
        match started {
            Ok(_) => self.rounds.looking = Looking::Busy,
            Err(error) => journal::log(Level::Error, &format!("accounts cannot be looked up: {error}")),
        }
    }

    /// The accounts were looked up.
    pub(crate) fn accounts_seen(&mut self, states: &BTreeMap<ActivationId, AccountState>) {
        let now = clock::read();
        self.rounds.looking = Looking::Idle;
        let mut changed = Vec::new();
        let mut uids = BTreeSet::new();
        for (id, state) in states {
            match (state, self.grants.get_mut(id)) {
                (AccountState::Same, Some(standing)) => {
                    if standing.account == Confirmation::Unconfirmed {
                        standing.account = Confirmation::Confirmed;
                        uids.insert(standing.held.verified.grant().uid);
                    }
                }
                (AccountState::Changed(why), Some(_)) => changed.push((*id, why.clone())),
                (AccountState::Unknown, Some(standing)) => {
                    if standing.account == Confirmation::Unconfirmed {
                        self.rounds.accounts = now.boot.after(ACCOUNTS_SOON);
                    }
                }
                (_, None) => {}
            }
        }
        self.accounts_changed(changed, now);
        for uid in uids {
            drop(self.enforce(uid, now));
        }
    }

    /// Offers arrived.
    pub(crate) fn offered(&mut self, roles: Roles) {
        if self.offers.len() >= OFFERS_MAX {
            self.cut_link("the daemon sends offers faster than their accounts can be looked up");
            return;
        }
        self.offers.push_back(roles);
        self.resolve_offers();
    }

    /// Looks up the accounts of the oldest offers that wait, one after the other whatever the daemon sends; tried again with
    /// each round until somebody answers.
    pub(crate) fn resolve_offers(&mut self) {
        let Some(roles) = self.offers.front() else { return };
        if self.rounds.resolving == Looking::Busy {
            return;
        }
        let (sender, work, link) = (self.sender.clone(), roles.clone(), self.link_serial);
        let started = thread::Builder::new().name("offers".into()).spawn(move || {
            let logins: Vec<&Login> = work.keys().collect();
            let accounts = nss::by_logins(&logins);
            drop(sender.send(Message::Resolved { link, roles: work, accounts }));
        });
        match started {
            Ok(_) => self.rounds.resolving = Looking::Busy,
            Err(error) => journal::log(Level::Error, &format!("offers cannot be looked up: {error}")),
        }
    }

    /// The accounts of offers were looked up. An answer on another connection than that of its offers is nobody's.
    pub(crate) fn offers_resolved(
        &mut self,
        link: u64,
        roles: Roles,
        accounts: Result<Vec<Account>, NssError>,
    ) {
        self.rounds.resolving = Looking::Idle;
        if link != self.link_serial || !self.is_linked() {
            return self.resolve_offers();
        }
        let accounts = match accounts {
            Ok(accounts) => accounts,
            // They stay where they are: the next round tries again.
            Err(error) => return journal::log(Level::Warning, &journal::chain(&error)),
        };
        self.offers.pop_front();
        let people = accounts.into_iter().filter(|account| account.uid >= FIRST_UID);
        let uids: BTreeMap<Login, u32> = people.map(|account| (account.login, account.uid)).collect();
        let here: Roles = roles.into_iter().filter(|(login, _)| uids.contains_key(login)).collect();
        let text = serde_json::to_string(&here).unwrap_or_default();
        if let Err(error) = safe::write(&self.paths.offers, &text, 0o600, Durability::Memory) {
            journal::log(Level::Error, &journal::chain(&error));
        }
        self.claim(Claim::Accounts { uids });
        self.resolve_offers();
    }

    /// Writes down what `status` shows, when it has changed.
    pub(crate) fn tell_status(&mut self) {
        let grants = self.grants.values().map(GrantStatus::of).collect();
        let (host_certificates, host_certificate_problem, host_certificates_since) =
            self.host_certificates.told();
        let status = Status {
            schema: 1,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            host: self.identity.config.name.clone(),
            daemon: self.identity.config.daemon.clone(),
            connected: self.is_linked(),
            sudo: self.flavour.sudo.line().map(UntrustedText::escaped),
            hindrance: self.enforcement.as_ref().err().map(ToString::to_string),
            revocation: self.revoked.hindrance().map(ToOwned::to_owned),
            sshd_log: self.refusals.problem().map(ToOwned::to_owned),
            epoch: self.position.epoch,
            new_epoch: self.new_epoch,
            seq: self.position.seq,
            reports_waiting: self.spool.waiting(),
            people: self.visitors(),
            host_certificates,
            host_certificate_problem,
            host_certificates_since,
            grants,
        };
        let text = serde_json::to_string(&status).unwrap_or_default();
        if text == self.told {
            return;
        }
        match safe::write(&self.paths.status, &text, 0o600, Durability::Memory) {
            Ok(()) => self.told = text,
            Err(error) => journal::log(Level::Error, &journal::chain(&error)),
        }
    }
}

fn state_of(checked: Result<(), CheckError>) -> AccountState {
    match checked {
        Ok(()) => AccountState::Same,
        Err(CheckError::Nss { .. }) => AccountState::Unknown,
        Err(error) => AccountState::Changed(error.to_string()),
    }
}
