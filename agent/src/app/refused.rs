//! Logins by certificates that were refused: told of once in a while each, whoever refused them.
//!
//! In: the program that sshd asks, and sshd's log, which a thread reads when there is something new in it. Out: reports. Nothing here
//! decides anything. Spec: docs/wire.md "A login", docs/decisions/0046. Threats E16, E07.

use std::collections::BTreeMap;
use std::thread;
use std::time::SystemTime;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::message::session::SshDenied;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use super::message::Message;
use super::state::{Agent, Looking};
use crate::clock::{self, Boot, Moment};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::safe::{self, Durability};
use crate::sshd_log::reading::{self, Reading};
use crate::sshd_log::{Connections, Refused};

/// Between two reports of one certificate that opens nothing.
const TOLD_EVERY: Span = Span(60);
/// Most certificates of which is told in that time.
const TOLD_MAX: usize = 64;
/// Between two readings of a log in which there was nothing for us: each is a program, and others write there too.
const READ_EVERY: Span = Span(30);
const CURSOR_MAX: u64 = 1024;

/// What was refused, as far as it decides whether it is told again.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    grant: Option<ActivationId>,
    login: String,
    from: Option<String>,
    why: String,
}

/// What is known of refused logins.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// Of what was told, and until when it is not told again.
    told: BTreeMap<Kind, Boot>,
    /// Connections in sshd's log.
    connections: Connections,
    /// How far that was read.
    cursor: Option<String>,
    /// When somebody had last written there at the last reading.
    written: Option<SystemTime>,
    /// Whether a thread reads.
    reading: Looking,
    /// Not read again before.
    next: Boot,
    /// Why it was not read.
    problem: Option<String>,
}

impl Refusals {
    /// Goes on where an agent before this one has read, in this boot.
    #[must_use]
    pub(crate) fn begin(paths: &Paths, now: Boot) -> Self {
        let cursor = safe::read(&paths.sshd_log, CURSOR_MAX).ok().filter(|text| !text.is_empty());
        Self {
            told: BTreeMap::new(),
            connections: Connections::default(),
            cursor,
            written: None,
            reading: Looking::Idle,
            next: now,
            problem: None,
        }
    }

    /// Whether it is told: once in a while, since whoever has a certificate may show it for ever.
    fn is_news(&mut self, kind: Kind, now: Boot) -> bool {
        self.told.retain(|_, until| now < *until);
        let is_news = self.told.len() < TOLD_MAX && !self.told.contains_key(&kind);
        if is_news {
            self.told.insert(kind, now.after(TOLD_EVERY));
        }
        is_news
    }
}

impl Agent {
    /// The program that sshd asks has opened nothing.
    pub(crate) fn ssh_denied(&mut self, SshDenied { login, grant }: SshDenied) {
        let now = clock::read();
        let why = "no grant in force here opens this account for it".to_owned();
        let kind = Kind { grant: Some(grant), login: login.to_string(), from: None, why };
        if self.tell_refused(kind, now.wall, now) {
            self.revoke_shown(grant, now);
        }
    }

    fn tell_refused(&mut self, kind: Kind, at: Timestamp, now: Moment) -> bool {
        let Kind { grant, login, from, why } = &kind;
        let text = |text: &str| UntrustedText::lossy(text);
        let (login, from, why) = (text(login), from.as_deref().map(text), text(why));
        let report = Report::SshRefused { grant: *grant, login, from, why };
        let is_news = self.refusals.is_news(kind, now.boot);
        if is_news {
            self.report(Moment { wall: at, ..now }, report);
        }
        is_news
    }

    /// Has sshd's log read, where somebody has written to it.
    pub(crate) fn look_at_sshd_log(&mut self, now: Moment) {
        if self.ssh.hindrance().is_some() || self.refusals.reading == Looking::Busy {
            return;
        }
        let overdue = self.refusals.connections.overdue(now.wall);
        self.tell_all_refused(overdue, now);
        let written = reading::written(&self.paths);
        if now.boot < self.refusals.next || written == self.refusals.written {
            return;
        }
        let (sender, paths, cursor) = (self.sender.clone(), self.paths.clone(), self.refusals.cursor.clone());
        let started = thread::Builder::new().name("sshd log".into()).spawn(move || {
            let read = reading::read(&paths, cursor.as_deref()).map_err(|error| journal::chain(&error));
            drop(sender.send(Message::SshdLog(read)));
        });
        match started {
            Ok(_) => (self.refusals.reading, self.refusals.written) = (Looking::Busy, written),
            Err(error) => journal::log(Level::Error, &format!("sshd's log cannot be read: {error}")),
        }
    }

    /// The log was read.
    pub(crate) fn sshd_log_read(&mut self, read: Result<Reading, String>) {
        let now = clock::read();
        self.refusals.reading = Looking::Idle;
        self.refusals.next = now.boot.after(READ_EVERY);
        let Reading { entries, cursor, more } = match read {
            Ok(reading) => reading,
            Err(why) => return self.sshd_log_is(Some(why)),
        };
        self.sshd_log_is(None);
        let connections = &mut self.refusals.connections;
        let refused: Vec<Refused> = entries.iter().flat_map(|entry| connections.take(entry)).collect();
        if more {
            self.refusals.written = None;
        }
        if more || !refused.is_empty() {
            self.refusals.next = now.boot;
        }
        self.tell_all_refused(refused, now);
        // After the reports: what an agent after this one reads again is told twice rather than never.
        let Some(cursor) = cursor else { return };
        if let Err(error) = safe::write(&self.paths.sshd_log, &cursor, 0o600, Durability::Memory) {
            journal::log(Level::Error, &journal::chain(&error));
        }
        self.refusals.cursor = Some(cursor);
    }

    fn tell_all_refused(&mut self, refused: Vec<Refused>, now: Moment) {
        for Refused { at, grant, login, from, said } in refused {
            let (login, from) = (login.unwrap_or_default(), from.map(|from| from.to_string()));
            self.tell_refused(Kind { grant, login, from, why: format!("sshd says: {said}") }, at, now);
        }
    }

    fn sshd_log_is(&mut self, problem: Option<String>) {
        if let Some(why) = problem.as_ref().filter(|_| self.refusals.problem != problem) {
            journal::log(Level::Warning, &format!("what sshd refuses by itself is not known: {why}"));
        }
        self.refusals.problem = problem;
    }
}
