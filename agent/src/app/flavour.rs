//! The installed sudo over time: another one is noticed, rules are written anew for it, the daemon is told.
//!
//! In: what a thread found out. Out: drop-ins in the other dialect, ended grants, [`Claim::Sudo`]. Threats X-d, THREATS §6.1.

use std::collections::BTreeSet;
use std::thread;

use elevate_protocol::document::EndCause;
use elevate_protocol::flavour::Enforcement;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Claim;
use elevate_protocol::signed::VerifiedGrant;
use elevate_protocol::text::UntrustedText;

use super::message::Message;
use super::state::{Agent, Looking};
use crate::clock::{self, Moment};
use crate::flavour::{Binary, Dialect, Sudo};
use crate::journal::{self, Level};

/// The installed sudo as it was found.
#[derive(Debug)]
pub(crate) struct Flavour {
    /// Which.
    pub(crate) sudo: Sudo,
    /// Its file then.
    binary: Binary,
    /// Whether a thread asks again.
    asking: Looking,
    /// What the daemon was told on this connection.
    told: Option<Enforcement>,
}

impl Flavour {
    /// Asks the installed sudo. Blocks: before the doors open only.
    #[must_use]
    pub(crate) fn ask() -> Self {
        let binary = Binary::seen();
        Self { sudo: Sudo::ask(), binary, asking: Looking::Idle, told: None }
    }

    /// How rules are written. Where nothing can be enforced nothing is written, so that either will do.
    #[must_use]
    pub(crate) fn dialect(&self) -> Dialect {
        self.sudo.dialect().unwrap_or(Dialect::Classic)
    }
}

impl Agent {
    /// Asks again which sudo this is when its file is another one; a thread waits for the answer.
    pub(crate) fn look_at_sudo(&mut self) {
        let binary = Binary::seen();
        if binary == self.flavour.binary || self.flavour.asking == Looking::Busy {
            return;
        }
        let sender = self.sender.clone();
        let started = thread::Builder::new().name("sudo".into()).spawn(move || {
            drop(sender.send(Message::Sudo { binary, sudo: Sudo::ask() }));
        });
        match started {
            Ok(_) => self.flavour.asking = Looking::Busy,
            Err(error) => journal::log(Level::Error, &format!("sudo cannot be asked: {error}")),
        }
    }

    /// The installed sudo answered.
    pub(crate) fn sudo_seen(&mut self, binary: Binary, sudo: Sudo) {
        let now = clock::read();
        (self.flavour.binary, self.flavour.asking) = (binary, Looking::Idle);
        if sudo == self.flavour.sudo {
            return;
        }
        let name = sudo.line().map_or_else(|| "none".to_owned(), UntrustedText::escaped);
        journal::log(Level::Warning, &format!("sudo on this host is another one: {name}"));
        self.flavour.sudo = sudo;
        self.end_what_it_lacks(now);
        self.probe(now);
        let uids: BTreeSet<u32> = self.grants.values().map(|grant| grant.held.verified.grant().uid).collect();
        for uid in uids {
            drop(self.enforce(uid, now));
        }
        self.tell_sudo();
    }

    /// Ends what the installed sudo cannot be trusted with.
    pub(crate) fn end_what_it_lacks(&mut self, now: Moment) {
        let refused = self.grants.iter().filter_map(|(id, standing)| {
            self.within_abilities(&standing.held.verified).err().map(|why| (*id, why))
        });
        let refused: Vec<(ActivationId, String)> = refused.collect();
        for (id, why) in refused {
            self.tampered(now, &format!("grant G-{id} is not enforced any more: {why}"));
            self.end(id, EndCause::NotEnforced, now);
        }
    }

    /// Whether the installed sudo can be trusted with what a grant allows.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn within_abilities(&self, grant: &VerifiedGrant) -> Result<(), String> {
        // Without a sudo that we know nothing is installed anyway.
        let Some(installed) = self.flavour.sudo.installed() else { return Ok(()) };
        let Some(part) = &grant.grant().sudo else { return Ok(()) };
        match Enforcement::With(installed).hindrance(part) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// What the daemon is told of enforcement here.
    #[must_use]
    pub(crate) fn enforces_with(&self) -> Enforcement {
        let why = match (&self.enforcement, self.flavour.sudo.installed()) {
            (Ok(()), Some(installed)) => return Enforcement::With(installed),
            (Ok(()), None) => "there is no sudo that is known here".to_owned(),
            (Err(error), _) => error.to_string(),
        };
        Enforcement::None { why: UntrustedText::lossy(&why) }
    }

    /// The hello says it; what is told later is only what differs.
    pub(crate) fn told_sudo(&mut self, told: Enforcement) {
        self.flavour.told = Some(told);
    }

    /// Tells the daemon when it was told otherwise. The next hello says it where there is no connection.
    pub(crate) fn tell_sudo(&mut self) {
        let found = self.enforces_with();
        if self.is_linked() && self.flavour.told.as_ref() != Some(&found) {
            self.claim(Claim::Sudo(found.clone()));
            self.flavour.told = Some(found);
        }
    }
}
