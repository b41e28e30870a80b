//! The one connection to the daemon: hello, vouches, reports, heartbeats.
//!
//! In: [`ToAgent`]. Out: [`Claim`]s, each signed with the vouch key for this connection. Spec: docs/wire.md "Agent".

use std::os::unix::net::UnixStream;

use elevate_protocol::id::Nonce;
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Claim, HEARTBEAT, SILENCE_MAX, ToAgent};
use elevate_protocol::signed::{SignedBody, VOUCH_NAMESPACE};
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::Vouch;

use super::state::Agent;
use crate::clock::{self, Boot, Moment};
use crate::journal::{self, Level};
use crate::peer::{Peer, PeerError};
use crate::uplink;

/// Frames that may wait for the link.
const ROOM: usize = 1024;
/// Reports that may be unacknowledged on the way.
const WINDOW: u64 = 256;
/// Silence of ours after which a heartbeat of the daemon's is answered: the one after it, or the next round, may come too late.
const OVERDUE: Span = Span(25);
/// A difference of clocks above which grants may be refused.
const SKEW_MAX: Span = Span::MINUTE;

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {
    serial: u64,
    peer: Peer,
    stage: Stage,
    count: u64,
    heard: Boot,
    spoke: Boot,
    reported: u64,
    recorded: u64,
    /// From where documents were asked for again.
    pub(crate) asked_from: Option<u64>,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The daemon has not said its hello.
    Silent,
    /// Ours is on its way.
    Greeted {
        /// The daemon's nonce.
        nonce: Nonce,
        /// Ours.
        own: Nonce,
    },
    /// Both agreed.
    Welcome(Nonce),
}

impl Agent {
    /// `elevate-link` connected. A new connection replaces an old one: a link that was restarted is not kept out.
    pub(crate) fn link_up(&mut self, stream: UnixStream) {
        self.cut_link("another connection of the link");
        self.link_serial = self.link_serial.saturating_add(1);
        let serial = self.link_serial;
        let Ok(peer) = Peer::start(&stream, ROOM) else { return };
        let now = clock::read().boot;
        if let Err(error) = uplink::read(stream, serial, self.sender.clone()) {
            journal::log(Level::Error, &format!("the link cannot be served: {error}"));
            return;
        }
        self.link = Some(Link {
            serial,
            peer,
            stage: Stage::Silent,
            count: 0,
            heard: now,
            spoke: now,
            reported: 0,
            recorded: 0,
            asked_from: None,
        });
    }

    /// The connection is over.
    pub(crate) fn link_down(&mut self, serial: u64) {
        if self.link.as_ref().is_some_and(|link| link.serial == serial) {
            self.cut_link("the link closed it");
        }
    }

    /// Ends the connection, and the conversations that went over it.
    pub(crate) fn cut_link(&mut self, why: &str) {
        let Some(link) = self.link.take() else { return };
        link.peer.cut();
        self.inbox.clear();
        // The daemon says it again.
        self.unplaced = None;
        self.offers.clear();
        let silent = clock::read();
        let heard = silent.wall.before(link.heard.seconds_to(silent.boot));
        self.contact_lost(matches!(link.stage, Stage::Welcome(_)).then_some(heard));
        journal::log(Level::Warning, &format!("the connection to the daemon is over: {why}"));
        self.daemon_lost();
    }

    /// Whether the daemon can be talked to.
    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| matches!(link.stage, Stage::Welcome(_)))
    }

    /// The daemon says something.
    pub(crate) fn link_says(&mut self, serial: u64, said: ToAgent) {
        let now = clock::read();
        let Some(link) = self.link.as_mut().filter(|link| link.serial == serial) else { return };
        link.heard = now.boot;
        match (link.stage, said) {
            (Stage::Silent, ToAgent::Hello { versions, cluster, nonce, time }) => {
                if versions.common(Versions::OURS).is_none() {
                    return self.cut_link("the daemon speaks another version; one of both is too old");
                }
                if cluster != self.identity.config.cluster {
                    return self.cut_link("the daemon is of another cluster");
                }
                let mut bytes = [0; 16];
                if getrandom::fill(&mut bytes).is_err() {
                    return self.cut_link("no randomness for a hello");
                }
                let own = Nonce::from_random(bytes);
                link.stage = Stage::Greeted { nonce, own };
                self.check_skew(time, now);
                self.greet(own, now);
            }
            (Stage::Greeted { own, .. }, ToAgent::Epoch(signed)) => self.epoch_said(&signed, own, now),
            (Stage::Greeted { nonce, .. }, ToAgent::Welcome { version, name: _, reported }) => {
                if version != elevate_protocol::message::VERSION {
                    return self.cut_link("the daemon chose a version that was not offered");
                }
                // Before anything is sent under a number that the daemon has for something else.
                let behind = self.spool.welcome(reported, WINDOW);
                link.stage = Stage::Welcome(nonce);
                journal::log(Level::Info, "connected to the daemon");
                if let Some(behind) = behind {
                    self.tampered(now, &behind);
                }
                self.tell_sudo();
                self.tell_ssh();
                self.send_reports();
            }
            (_, ToAgent::Refused(refusal)) => {
                let why = format!("the daemon refuses this host: {}", refusal.message);
                self.cut_link(&why);
            }
            (Stage::Welcome(_), said) => self.welcome_says(said, now),
            (Stage::Silent | Stage::Greeted { .. }, _) => self.cut_link("the daemon speaks out of turn"),
        }
    }

    fn welcome_says(&mut self, said: ToAgent, now: Moment) {
        match said {
            ToAgent::Document(signed) => self.document(signed),
            ToAgent::Offers { roles } => self.offered(roles),
            ToAgent::Recorded { number } => self.recorded(number),
            ToAgent::Conversation { conversation, reply } => self.daemon_replies(conversation, reply),
            ToAgent::Contact(signed) => self.contact_answered(&signed, now),
            ToAgent::HostTerms { names, ca } => self.host_terms(names, ca, now),
            ToAgent::HostCertificates { certificates } => self.host_certificates_came(certificates, now),
            ToAgent::Heartbeat { time } => {
                self.check_skew(time, now);
                // The next round may come too late for the daemon's patience.
                if self.link.as_ref().is_some_and(|link| is_overdue(link.spoke, now.boot)) {
                    self.keep_alive(now);
                }
            }
            ToAgent::Hello { .. } | ToAgent::Welcome { .. } | ToAgent::Refused(_) | ToAgent::Epoch(_) => {
                self.cut_link("the daemon speaks out of turn");
            }
        }
    }

    /// The daemon has everything up to `number`. What was not sent on this connection cannot have been recorded, whoever
    /// says so: those reports stay.
    fn recorded(&mut self, number: u64) {
        let Some(link) = &mut self.link else { return };
        let number = number.min(link.reported);
        link.recorded = link.recorded.max(number);
        let told = self.spool.acknowledge(number).and_then(|()| self.spool.tell_lost(clock::read().wall));
        if let Err(error) = told {
            journal::log(Level::Error, &journal::chain(&error));
        }
        self.tell_oddities();
        self.send_reports();
    }

    /// Reports what was found in the spool that should not be there.
    fn tell_oddities(&mut self) {
        let now = clock::read();
        for what in self.spool.oddities() {
            self.tampered(now, &what);
        }
    }

    /// Reports that could not be read before are sent now.
    fn fetch_reports(&mut self) {
        if let Err(error) = self.spool.fetch() {
            journal::log(Level::Error, &journal::chain(&error));
        }
        self.tell_oddities();
        self.send_reports();
    }

    pub(crate) fn check_skew(&mut self, theirs: Timestamp, now: Moment) {
        let (ahead, behind) = (now.wall.since(theirs), theirs.since(now.wall));
        if ahead.max(behind) > SKEW_MAX {
            let side = if ahead > behind { "ahead of" } else { "behind" };
            let text = format!("the clock of this host is {} {side} the daemon's", ahead.max(behind));
            journal::log(Level::Warning, &text);
        }
    }

    fn greet(&mut self, nonce: Nonce, now: Moment) {
        let sudo = self.enforces_with();
        self.told_sudo(sudo.clone());
        let ssh = self.ssh.greeting();
        self.claim(Claim::Hello(AgentHello {
            versions: Versions::OURS,
            host: self.identity.config.host,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            sudo,
            ssh,
            epoch: self.position.epoch,
            seq: self.position.seq,
            head: self.position.head,
            last: self.position.last.clone(),
            nonce,
            time: now.wall,
        }));
    }

    /// Signs a claim for this connection and queues it. Without a connection it is dropped: everything that matters
    /// is said again on the next one.
    pub(crate) fn claim(&mut self, claim: Claim) {
        let Some(link) = &mut self.link else { return };
        let nonce = match (link.stage, &claim) {
            (Stage::Welcome(nonce), _) | (Stage::Greeted { nonce, .. }, Claim::Hello(_)) => nonce,
            // Before the daemon's welcome only the hello is in turn.
            (Stage::Silent | Stage::Greeted { .. }, _) => return,
        };
        let count = link.count.saturating_add(1);
        let vouch = Vouch { host: self.identity.config.host, nonce, count, claim };
        let signed = serde_json::to_string(&vouch)
            .ok()
            .and_then(|body| SignedBody::sign(body, &self.identity.vouch, VOUCH_NAMESPACE).ok());
        let Some(signed) = signed else {
            journal::log(Level::Error, "a claim cannot be signed");
            return;
        };
        match link.peer.send(&signed) {
            Ok(()) => (link.count, link.spoke) = (count, clock::read().boot),
            // Too long for a frame: said to nobody, and the order of vouches is kept.
            Err(error @ PeerError::Frame { .. }) => journal::log(Level::Error, &journal::chain(&error)),
            Err(PeerError::Slow) => self.cut_link("the link does not keep up"),
        }
    }

    /// Sends waiting reports as far as the window allows.
    pub(crate) fn send_reports(&mut self) {
        if !self.is_linked() {
            return;
        }
        let Some(link) = &self.link else { return };
        let waiting = self.spool.after(link.reported);
        let on_the_way = self.spool.after(link.recorded).take_while(|(number, _)| *number <= link.reported);
        let room = usize::try_from(WINDOW).unwrap_or(0).saturating_sub(on_the_way.count());
        let batch: Vec<_> = waiting.take(room).map(|(number, entry)| (number, entry.clone())).collect();
        for (number, entry) in batch {
            let entry = self.spool.send(number, entry);
            self.claim(Claim::Report { number, at: entry.at, report: entry.report });
            let Some(link) = &mut self.link else { return };
            link.reported = number;
        }
    }

    /// Speaks when there was silence, gives up when the other side is silent.
    pub(crate) fn keep_alive(&mut self, now: Moment) {
        let Some(link) = &self.link else { return };
        if now.boot > link.heard.after(SILENCE_MAX) {
            self.cut_link("the daemon is silent");
        } else if self.is_linked() && is_quiet(link.spoke, now.boot) {
            self.claim(Claim::Heartbeat { time: now.wall });
            self.fetch_reports();
        }
        self.keep_contact(now);
    }
}

/// Whether a round has something to say, though there is nothing.
fn is_quiet(spoke: Boot, now: Boot) -> bool {
    now >= spoke.after(HEARTBEAT)
}

/// Whether a heartbeat of the daemon's has something to be answered.
fn is_overdue(spoke: Boot, now: Boot) -> bool {
    now >= spoke.after(OVERDUE)
}

#[cfg(test)]
mod tests {
    use super::super::watch::RECONCILE;
    use super::*;

    /// At rest nothing happens but rounds and the daemon's heartbeats, each at its own time.
    #[test]
    fn a_host_at_rest_is_never_silent_for_so_long_that_it_is_taken_for_lost() {
        let at = |second: u32| Boot(1_000_000).after(Span(second));
        let comes = |first: u32, every: Span, second: u32| {
            second >= first && (second - first).is_multiple_of(every.0)
        };
        // It spoke at 0. The next round comes with `round`, the daemon's next heartbeat with `beat`.
        for (round, beat) in
            (0..RECONCILE.0).flat_map(|round| (0..HEARTBEAT.0).map(move |beat| (round, beat)))
        {
            let speaks = |second: &u32| {
                comes(round, RECONCILE, *second) && is_quiet(at(0), at(*second))
                    || comes(beat, HEARTBEAT, *second) && is_overdue(at(0), at(*second))
            };
            let silent = (1..1000).find(speaks).unwrap();
            // A machine that is busy, and the way to the daemon.
            assert!(silent + 5 <= SILENCE_MAX.0, "{silent} s: {round}, {beat}");
        }
    }
}
