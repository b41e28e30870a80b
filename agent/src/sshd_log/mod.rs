//! What sshd refuses by itself, out of its log: certificates that are over or of another CA, revoked ones, wrong addresses. It asks
//! nobody about these, or asks before it looks at them.
//!
//! In: lines of the system's log in their order, of sshd and of the program that it asks. Out: each refused certificate with what is
//! known of it. It decides nothing: who is refused is refused. Spec: docs/wire.md "A login", docs/decisions/0046. Threat E16.

mod line;
pub(crate) mod reading;

use std::collections::BTreeMap;
use std::net::IpAddr;

use elevate_protocol::asked::{Asked, Said};
use elevate_protocol::id::ActivationId;
use elevate_protocol::time::{Span, Timestamp};

pub(crate) use line::Refusal;
pub(crate) use line::VERBOSE;
use line::{Line, Peer};
use reading::{Entry, Who};

use crate::clock::Boot;

/// How long is waited for the line that says from where a connection came, since a line of it was read: longer than sshd waits for a
/// login (LoginGraceTime, 120 s).
const OVERDUE: Span = Span(150);
/// Most connections that are waited for.
const OPEN_MAX: usize = 1024;
/// Most refusals that are kept of one connection: sshd lets nobody try more often (MaxAuthTries, 6).
const OF_ONE_MAX: usize = 16;

/// One certificate that sshd refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// When, by the host's clock.
    pub(crate) at: Timestamp,
    /// How.
    pub(crate) refusal: Refusal,
    /// The grant that it is of, where sshd had asked about it.
    pub(crate) grant: Option<ActivationId>,
    /// Whether the program that sshd asked has told the agent.
    pub(crate) is_told: bool,
    /// The account, where a line names it.
    pub(crate) login: Option<String>,
    /// From where, where a line names it.
    pub(crate) from: Option<IpAddr>,
    /// Why, in sshd's words.
    pub(crate) said: String,
}

/// Connections that are about to log in, by the process that serves them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: BTreeMap<u32, Connection>,
    /// How many there were.
    count: u64,
}

#[derive(Debug)]
struct Connection {
    /// Counts up: which of them is the oldest.
    number: u64,
    /// The place in the log before its first line.
    before: Option<String>,
    /// What sshd has asked last.
    asked: Option<Asked>,
    refused: Vec<Refused>,
    /// When a line about it was read first; the first of a refusal, once there is one.
    read: Boot,
}

/// Where and when a line is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The place in the log before it.
    pub(crate) before: Option<&'a str>,
    /// The moment.
    pub(crate) now: Boot,
}

impl Connections {
    /// Takes one line in; what is known with it to have been refused.
    pub(crate) fn take(&mut self, place: Place<'_>, entry: &Entry) -> Vec<Refused> {
        let Entry { who, at, message, .. } = entry;
        match who {
            Who::Program => {
                if let Ok(asked) = message.parse::<Asked>() {
                    let sshd = asked.sshd;
                    self.of(sshd, place).asked = Some(asked);
                }
            }
            Who::Sshd { pid } => match line::read(message) {
                Line::Refused(refusal, said) => self.of(*pid, place).refuse(refusal, *at, said),
                Line::Peer(peer) => {
                    let known = self.all.remove(&peer.pid.unwrap_or(*pid));
                    return known.map(|known| known.of_peer(&peer)).unwrap_or_default();
                }
                // It was not of the certificate that is refused next.
                Line::Taken => self.of(*pid, place).asked = None,
                Line::Other => {}
            },
        }
        self.too_many()
    }

    fn of(&mut self, pid: u32, Place { before, now }: Place<'_>) -> &mut Connection {
        self.count = self.count.saturating_add(1);
        let number = self.count;
        let begun = || Connection {
            number,
            before: before.map(ToOwned::to_owned),
            asked: None,
            refused: Vec::new(),
            read: now,
        };
        let known = self.all.entry(pid).or_insert_with(begun);
        if known.refused.is_empty() {
            known.read = now;
        }
        known
    }

    /// Those of which no line has said from where they came, and none will.
    pub(crate) fn overdue(&mut self, now: Boot) -> Vec<Refused> {
        let over = |_: &u32, known: &mut Connection| now > known.read.after(OVERDUE);
        self.all.extract_if(.., over).flat_map(|(_, known)| known.refused).collect()
    }

    /// From where an agent after this one has to read, to know what this one knows; none: from where this one has read to.
    pub(crate) fn resume(&self) -> Option<&str> {
        let to_tell = self.all.values().filter(|known| !known.refused.is_empty());
        to_tell.min_by_key(|known| known.number)?.before.as_deref()
    }

    fn too_many(&mut self) -> Vec<Refused> {
        if self.all.len() <= OPEN_MAX {
            return Vec::new();
        }
        let oldest = self.all.iter().min_by_key(|(_, known)| known.number).map(|(pid, _)| *pid);
        oldest.and_then(|pid| self.all.remove(&pid)).map(|known| known.refused).unwrap_or_default()
    }
}

impl Connection {
    fn refuse(&mut self, refusal: Refusal, at: Timestamp, said: String) {
        let asked = self.asked.take().filter(|_| matches!(refusal, Refusal::Asked | Refusal::NotOpened));
        if self.refused.len() >= OF_ONE_MAX {
            return;
        }
        let is_told = matches!(&asked, Some(Asked { said: Said::Told, .. }));
        let (grant, login) = asked.map(|asked| (asked.grant, asked.login.to_string())).unzip();
        self.refused.push(Refused { at, refusal, grant, is_told, login, from: None, said });
    }

    fn of_peer(self, Peer { login, from, is_in, .. }: &Peer) -> Vec<Refused> {
        // Who has logged in may have shown a certificate that is good for something else.
        let counts = |one: &Refused| !(*is_in && one.refusal == Refusal::Strange);
        let with = |one: Refused| Refused { login: login.clone().or(one.login), from: Some(*from), ..one };
        self.refused.into_iter().filter(counts).map(with).collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
