//! Grants in force: their ends by both clocks, their warnings, and what sudo is told of them.
//!
//! In: held grants and time. Out: files of [`crate::enforce`], reports. Threats A15, A17, G01, G03; THREATS §6.3 layer 1.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::deadlines::{self, Deadlines};
use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::signed::NotLive;
use elevate_protocol::time::Span;

use super::state::Agent;
use crate::clock::{Boot, Moment};
use crate::enforce::install;
use crate::enforce::plan::{self, Action, InForce};
use crate::enforce::reconcile::{self, Finding, Wanted};
use crate::journal::{self, Level};
use crate::safe::{self, Durability};
use crate::store::documents::{self, Held};
use crate::warning;

/// A grant that is held.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What was verified.
    pub(crate) held: Held,
    /// Its text, as the PAM gate reads it.
    pub(crate) text: String,
    /// Its end on CLOCK_BOOTTIME, which nobody can set back.
    pub(crate) ends: Boot,
    /// Whether its account was confirmed since the agent started; until then nothing is installed.
    pub(crate) account: Account,
    /// Warnings that are still to come.
    pub(crate) warn: BTreeSet<Span>,
}

/// Whether an account was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Not since the agent started.
    Unconfirmed,
    /// Yes.
    Confirmed,
}

impl Standing {
    /// A grant whose life is counted from `now`, or on to `ends` where that was known before.
    #[must_use]
    pub(crate) fn new(held: Held, now: Moment, ends: Option<Boot>, account: Account) -> Self {
        let left = held.verified.not_after().0.saturating_sub(now.wall.0).max(0);
        let counted = now.boot.after_seconds(left);
        let ends = ends.map_or(counted, |ends| ends.min(counted));
        let text = held.signed.to_text();
        let mut standing = Self { held, text, ends, account, warn: BTreeSet::new() };
        let left = standing.left(now);
        // A warning of 10 minutes makes no sense for a grant of 5.
        let warnings = standing.held.verified.grant().warn.iter();
        standing.warn = warnings.filter(|span| **span < left).copied().collect();
        standing
    }

    /// The same grant after an extension: its end on the boot clock moves by as much as the signed one.
    #[must_use]
    pub(crate) fn extended(&self, held: Held, now: Moment) -> Self {
        let more = held.verified.not_after().0.saturating_sub(self.held.verified.not_after().0);
        Self::new(held, now, Some(self.ends.after_seconds(more)), self.account)
    }

    /// Time left: by whichever clock it is less.
    #[must_use]
    pub(crate) fn left(&self, now: Moment) -> Span {
        let wall = self.held.verified.not_after().since(now.wall);
        wall.min(now.boot.seconds_to(self.ends))
    }

    /// Whether it is over, for good.
    #[must_use]
    pub(crate) fn is_over(&self, now: Moment) -> bool {
        let live = self.held.verified.live(now.wall);
        now.boot >= self.ends || matches!(live, Err(NotLive::Expired | NotLive::Ended(_)))
    }

    /// How long it outlives the last contact with the daemon.
    #[must_use]
    pub(crate) fn lease(&self) -> Option<Span> {
        self.held.verified.grant().lease
    }

    /// When its lease ends without another contact; none: it has no lease, or nobody knows of a contact since the boot.
    #[must_use]
    pub(crate) fn lease_ends(&self, contact: Option<Boot>) -> Option<Boot> {
        Some(Boot(deadlines::lease_ends(contact?.0, self.lease()?)))
    }

    /// Why it is over, for good.
    #[must_use]
    pub(crate) fn over(&self, now: Moment, contact: Option<Boot>) -> Option<EndCause> {
        if self.is_over(now) {
            return Some(EndCause::Expired);
        }
        self.lease_ends(contact).filter(|ends| now.boot >= *ends).map(|_| EndCause::NoContact)
    }

    /// Its proof, when it is in force.
    #[must_use]
    pub(crate) fn in_force(&self, now: Moment, contact: Option<Boot>) -> Option<InForce<'_>> {
        if self.account == Account::Unconfirmed || now.boot >= self.ends {
            return None;
        }
        if self.lease().is_some() && self.lease_ends(contact).is_none_or(|ends| now.boot >= ends) {
            return None;
        }
        let live = self.held.verified.live(now.wall).ok()?;
        Some(InForce { live, text: &self.text })
    }
}

impl Agent {
    /// The grants of `uid` that are in force.
    pub(crate) fn in_force(&self, uid: u32, now: Moment) -> Vec<InForce<'_>> {
        if self.enforcement.is_err() {
            return Vec::new();
        }
        let has_rules = |standing: &&Standing| {
            let grant = standing.held.verified.grant();
            grant.uid == uid && grant.sudo.is_some()
        };
        let of_uid = self.grants.values().filter(has_rules);
        of_uid.filter_map(|standing| standing.in_force(now, self.contact.proven)).collect()
    }

    /// Makes the files of `uid` say exactly what is in force.
    ///
    /// # Errors
    /// Why not; the drop-in is gone then.
    pub(crate) fn enforce(&mut self, uid: u32, now: Moment) -> Result<(), String> {
        let installed = install::installed(&self.paths, uid);
        let done = plan::plan(self.flavour.dialect(), uid, &self.in_force(uid, now), &installed)
            .map_err(|error| journal::chain(&error))
            .and_then(|actions| {
                install::perform(&self.paths, &actions).map_err(|error| journal::chain(&error))
            });
        if let Err(why) = &done {
            journal::log(Level::Error, &format!("the rules of uid {uid} cannot be installed: {why}"));
            if let Err(error) = install::perform(&self.paths, &[Action::RemoveDropIn { uid }]) {
                journal::log(Level::Error, &journal::chain(&error));
            }
        }
        done.and(self.enforce_ssh(now))
    }

    /// Ends a grant here: rules first, then the report, then its documents. An agent that is killed in between ends it again
    /// at its next start, and says so twice rather than never.
    pub(crate) fn end(&mut self, id: ActivationId, cause: EndCause, now: Moment) {
        let Some(standing) = self.grants.remove(&id) else { return };
        let uid = standing.held.verified.grant().uid;
        // What cannot be removed now is tried again with each round of reconciling.
        let enforced = self.enforce(uid, now);
        if let Err(why) = &enforced {
            let what = format!("the rules of uid {uid} could not be changed at the end of G-{id}: {why}");
            self.tampered(now, &what);
        }
        // Nothing new is let in by now.
        self.close_connections(id, cause);
        self.revoke_certificates(&standing, enforced.is_ok(), now);
        journal::log(Level::Info, &format!("grant G-{id} of uid {uid} ended: {cause:?}"));
        self.report(now, Report::Ended { grant: id, cause });
        if let Err(error) = documents::forget(&self.paths, id) {
            journal::log(Level::Error, &journal::chain(&error));
            self.lingering.insert(id);
        }
        self.save_deadlines();
    }

    /// Ends what is over and warns of what soon will be.
    pub(crate) fn sweep(&mut self, now: Moment) {
        let contact = self.contact.proven;
        let over = self.grants.iter().filter_map(|(id, standing)| Some((*id, standing.over(now, contact)?)));
        let over: Vec<(ActivationId, EndCause)> = over.collect();
        for (id, cause) in over {
            self.end(id, cause, now);
        }
        self.warn_of_leases(now);
        let mut due = Vec::new();
        for (id, standing) in &mut self.grants {
            let left = standing.left(now);
            // Those at or above what is left are due, and only the nearest is worth saying.
            let past = standing.warn.split_off(&left);
            if !past.is_empty() && standing.account == Account::Confirmed {
                due.push((*id, standing.held.verified.grant().uid, left));
            }
        }
        for (id, uid, left) in due {
            warning::tell(&self.paths.terminals, uid, &warning::text(id, left));
            self.report(now, Report::Warned { grant: id, left });
        }
    }

    /// Makes all of /run/elevate say exactly what is in force. `known`: grants whose rests are no alarm.
    pub(crate) fn reconcile(&mut self, known: &BTreeSet<ActivationId>, now: Moment) {
        let uids: BTreeSet<u32> = self.grants.values().map(|held| held.held.verified.grant().uid).collect();
        let mut wanted: BTreeMap<u32, Wanted> = BTreeMap::new();
        for uid in &uids {
            // What cannot be planned is not wanted, and `enforce` below says why.
            let actions =
                plan::plan(self.flavour.dialect(), *uid, &self.in_force(*uid, now), &BTreeSet::new())
                    .unwrap_or_default();
            let mut wants = Wanted::default();
            for action in actions {
                match action {
                    Action::WriteGrant { id, text, .. } => drop(wants.grants.insert(id, text)),
                    Action::WriteDropIn { text, .. } => wants.drop_in = text,
                    Action::RemoveDropIn { .. } | Action::RemoveGrant { .. } => {}
                }
            }
            if !wants.drop_in.is_empty() {
                wanted.insert(*uid, wants);
            }
        }
        match reconcile::reconcile(&self.paths, &wanted, known) {
            Ok(findings) => {
                for finding in findings {
                    match finding {
                        Finding::Swept(what) => journal::log(Level::Info, &format!("swept {what}")),
                        Finding::Foreign(what) => {
                            self.tampered(
                                now,
                                &format!("removed {what}: no grant of this host accounts for it"),
                            );
                        }
                    }
                }
            }
            Err(error) => journal::log(Level::Error, &journal::chain(&error)),
        }
        for uid in uids {
            drop(self.enforce(uid, now));
        }
        drop(self.enforce_ssh(now));
    }

    /// Writes down when grants end on this boot's clock, for the PAM gate and for an agent that is started again. Always before
    /// the rules of a grant: the gate refuses what has no deadline.
    pub(crate) fn save_deadlines(&self) {
        let ends = self.grants.iter().map(|(id, grant)| (*id, grant.ends.0)).collect();
        let deadlines = Deadlines { contact: self.contact.proven.map(|at| at.0), ends };
        let text = serde_json::to_string(&deadlines).unwrap_or_default();
        if let Err(error) = safe::write(&self.paths.deadlines, &text, 0o600, Durability::Memory) {
            journal::log(Level::Error, &journal::chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use elevate_protocol::time::Timestamp;

    use super::*;
    use crate::enforce::samples::{NOW, ended, extended, grant, held, runs};

    fn at(wall: i64, boot: i64) -> Moment {
        Moment { wall: Timestamp(NOW.0.saturating_add(wall)), boot: Boot(1_000_000).after_seconds(boot) }
    }

    fn standing() -> Standing {
        let part = runs(r#"{"as":"root","run":[["/usr/bin/id"]]}"#);
        Standing::new(held(grant(5, 2000, part)), at(0, 0), None, Account::Confirmed)
    }

    #[test]
    fn g01_a_wall_clock_that_is_set_back_does_not_lengthen_a_right() {
        let standing = standing();
        assert!(standing.in_force(at(0, 0), None).is_some());
        assert!(standing.in_force(at(-30, 3599), None).is_some());
        assert!(standing.is_over(at(-30, 3600)) && standing.in_force(at(-30, 3600), None).is_none());
        assert_eq!(standing.left(at(-30, 3500)), Span(100));
        // A restart of the agent after the clock was set back: what was counted before holds.
        let again =
            Standing::new(standing.held.clone(), at(-50, 1000), Some(standing.ends), Account::Confirmed);
        assert_eq!(again.ends, standing.ends);
    }

    #[test]
    fn g03_a_wall_clock_that_jumps_ahead_ends_a_right() {
        let standing = standing();
        assert!(!standing.is_over(at(3599, 5)));
        assert!(standing.is_over(at(3600, 5)) && standing.is_over(at(86_400, 5)));
    }

    #[test]
    fn an_extension_lengthens_both_clocks_by_the_same() {
        let first = standing();
        let longer = extended(&first.held, Timestamp(first.held.verified.not_after().0.saturating_add(600)));
        let longer = first.extended(longer, at(-40, 3000));
        assert_eq!(longer.ends, first.ends.after_seconds(600));
        assert!(!longer.is_over(at(-40, 4199)) && longer.is_over(at(-40, 4200)));
        // Its warnings are due again, those that still lie ahead.
        assert_eq!(longer.warn, BTreeSet::from([Span(600), Span(300)]));
    }

    #[test]
    fn an_ended_grant_and_an_unconfirmed_account_are_not_in_force() {
        let mut standing = standing();
        standing.account = Account::Unconfirmed;
        assert!(standing.in_force(at(0, 0), None).is_none() && !standing.is_over(at(0, 0)));
        let over = Standing::new(ended(&standing.held), at(0, 0), None, Account::Confirmed);
        assert!(over.in_force(at(0, 0), None).is_none() && over.is_over(at(0, 0)));
    }

    #[test]
    fn a_warning_that_is_longer_than_the_grant_is_never_given() {
        let mut terms = grant(5, 2000, runs(r#"{"as":"root","shell":true}"#));
        terms.not_after = NOW.after(Span(400));
        let short = Standing::new(held(terms), at(0, 0), None, Account::Confirmed);
        assert_eq!(short.warn, BTreeSet::from([Span(300)]));
    }
}
