//! Which hosts hear the daemon, and what a host that does not may still let in: what it had, to its end or lease.
//!
//! In: what breaks and what is mended, in milliseconds since 1970. Out: whether a host has heard of an end.

use std::collections::BTreeSet;

use elevate_protocol::id::ActivationId;

use crate::step::{Victim, WEBS};

/// The lease of the role `ops`, in seconds.
pub(crate) const LEASE: i64 = 10;

/// One host's way to the daemon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) agent: bool,
    pub(crate) link: bool,
    pub(crate) network: bool,
    pub(crate) stopped: bool,
    /// Since when nothing can have come through.
    silent: Option<i64>,
}

/// All ways, and the ends that hosts may not have heard of.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) daemon: bool,
    pub(crate) ways: [Way; WEBS],
    pub(crate) unheard: BTreeSet<ActivationId>,
    /// Rights that may have been over for a while, for want of contact or of an extension: they need not be in force.
    pub(crate) shaken: BTreeSet<ActivationId>,
}

impl Way {
    fn is_whole(self) -> bool {
        self.agent && self.link && self.network && !self.stopped
    }
}

impl Default for Reach {
    fn default() -> Self {
        let way = Way { agent: true, link: true, network: true, stopped: false, silent: None };
        Self { daemon: true, ways: [way; WEBS], unheard: BTreeSet::new(), shaken: BTreeSet::new() }
    }
}

impl Reach {
    /// Whether the daemon's word comes to this host.
    pub(crate) fn reaches(&self, host: usize) -> bool {
        self.daemon && self.ways[host].is_whole()
    }

    /// This was broken a moment ago.
    pub(crate) fn broke(&mut self, victim: Victim, now: i64) {
        match victim {
            Victim::Daemon => self.daemon = false,
            Victim::Agent(host) => self.ways[host].agent = false,
            Victim::Link(host) => self.ways[host].link = false,
            Victim::Network(host) => self.ways[host].network = false,
            Victim::Stopped(host) => self.ways[host].stopped = true,
        }
        for host in 0..WEBS {
            if !self.reaches(host) {
                self.ways[host].silent.get_or_insert(now);
            }
        }
    }

    /// Whatever was broken works again, and is in step: for how many milliseconds the host had heard nothing.
    pub(crate) fn mended(&mut self, host: usize, now: i64) -> i64 {
        self.ways[host].silent.take().map_or(0, |since| now - since)
    }

    /// Whether a lease on this host is over for want of contact, up to a second's rounding.
    pub(crate) fn is_lease_over(&self, host: usize, now: i64) -> bool {
        self.ways[host].silent.is_some_and(|since| now > since + (LEASE + 1) * 1000)
    }
}
