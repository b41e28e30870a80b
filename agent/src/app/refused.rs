//! Logins by certificates that were refused: told of once in a while each, whoever refused them.
//!
//! In: the program that sshd asks, and sshd's log, which a thread reads when there is something new in it. Out: reports. Nothing here
//! decides anything. Spec: docs/wire.md "A login", docs/decisions/0046. Threats E16, E07.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::SystemTime;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::message::session::SshDenied;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::message::Message;
use super::state::{Agent, Looking};
use crate::clock::{self, Boot, Moment};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::safe::{self, Durability};
use crate::sshd_log::reading::{self, Entry, Reading, ReadingError};
use crate::sshd_log::{Connections, Place, Refusal, Refused};

/// Between two reports of one certificate that opens nothing.
const TOLD_EVERY: Span = Span(60);
/// Most of which is told in that time: of those that the program refuses, of those that sshd does, and of other CAs' each. Strangers are
/// not to use up what is for certificates of ours.
const TOLD_MAX: usize = 64;
/// How long it is known what the program has said: sshd's word of the same may be read that much later.
const HEARD: Span = Span(300);
const HEARD_MAX: usize = 1024;
/// Between two readings of a log in which there was nothing for us: each is a program, and others write there too.
const READ_EVERY: Span = Span(30);
/// The same after one that failed.
const AGAIN: Span = Span(300);
const CURSOR_MAX: u64 = 1024;

/// What was refused, as far as it decides whether it is told again.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    grant: Option<ActivationId>,
    login: Option<String>,
    from: Option<IpAddr>,
    refusal: Refusal,
    /// In sshd's words, where they are of a certificate of ours: each of a stranger's may differ from the one before.
    said: Option<String>,
}

/// Whether something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Told,
    /// It was told within the last minute.
    Again,
    /// Too much was told within the last minute.
    LeftOut,
}

/// What was told, and until when it is not told again.
#[derive(Debug)]
struct Told<K>(BTreeMap<K, Boot>);

impl<K: Ord> Told<K> {
    fn is_news(&mut self, kind: K, now: Boot) -> News {
        self.0.retain(|_, until| now < *until);
        if self.0.contains_key(&kind) {
            return News::Again;
        }
        if self.0.len() >= TOLD_MAX {
            return News::LeftOut;
        }
        self.0.insert(kind, now.after(TOLD_EVERY));
        News::Told
    }
}

/// What is known of refused logins.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// By the program that sshd asks.
    by_program: Told<SshDenied>,
    /// By sshd itself.
    by_sshd: Told<Kind>,
    /// The same, of another CA.
    of_strangers: Told<Kind>,
    /// Those that were not told, and since when.
    left_out: Option<(u64, Boot)>,
    /// What the program has said, and until when that is known.
    heard: BTreeMap<SshDenied, Boot>,
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
            by_program: Told(BTreeMap::new()),
            by_sshd: Told(BTreeMap::new()),
            of_strangers: Told(BTreeMap::new()),
            left_out: None,
            heard: BTreeMap::new(),
            connections: Connections::default(),
            cursor,
            written: None,
            reading: Looking::Idle,
            next: now,
            problem: None,
        }
    }

    /// Why what sshd refuses by itself is not known.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn hear(&mut self, denied: &SshDenied, now: Boot) {
        self.heard.retain(|_, until| now < *until);
        if self.heard.len() < HEARD_MAX {
            self.heard.insert(denied.clone(), now.after(HEARD));
        }
    }

    /// Whether the program itself has told of it: what it said to an agent that was killed, or that had no room, nobody has heard.
    fn has_heard(&self, refused: &Refused, now: Boot) -> bool {
        let of_grant = refused.grant.zip(refused.login.as_ref());
        let denied =
            of_grant.and_then(|(grant, login)| Some(SshDenied { grant, login: login.parse().ok()? }));
        refused.is_told && denied.and_then(|denied| self.heard.get(&denied)).is_some_and(|until| now < *until)
    }

    fn leave_out(&mut self, now: Boot) {
        let (count, since) = self.left_out.unwrap_or((0, now));
        self.left_out = Some((count.saturating_add(1), since));
    }
}

impl Agent {
    /// The program that sshd asks has opened nothing.
    pub(crate) fn ssh_denied(&mut self, denied: SshDenied) {
        let now = clock::read();
        self.refusals.hear(&denied, now.boot);
        let SshDenied { login, grant } = denied.clone();
        match self.refusals.by_program.is_news(denied, now.boot) {
            News::Told => {
                let why = UntrustedText::lossy("no grant in force here opens this account for it");
                let login = UntrustedText::lossy(login.as_str());
                self.report(now, Report::SshRefused { grant: Some(grant), login, from: None, why });
            }
            News::LeftOut => self.refusals.leave_out(now.boot),
            News::Again => return,
        }
        self.revoke_shown(grant, now);
    }

    /// Has sshd's log read, where somebody has written to it.
    pub(crate) fn look_at_sshd_log(&mut self, now: Moment) {
        self.tell_left_out(now);
        if self.ssh.hindrance().is_some() || self.refusals.reading == Looking::Busy {
            return;
        }
        let written = reading::written(&self.paths);
        if now.boot < self.refusals.next {
            return;
        }
        if written == self.refusals.written {
            // All was read that there is.
            let overdue = self.refusals.connections.overdue(now.boot);
            return self.tell_all_refused(overdue, now);
        }
        self.refusals.written = written;
        self.read_sshd_log();
    }

    fn read_sshd_log(&mut self) {
        let (sender, paths, cursor) = (self.sender.clone(), self.paths.clone(), self.refusals.cursor.clone());
        let started = thread::Builder::new().name("sshd log".into()).spawn(move || {
            drop(sender.send(Message::SshdLog(reading::read(&paths, cursor.as_deref()))));
        });
        match started {
            Ok(_) => self.refusals.reading = Looking::Busy,
            Err(source) => self.sshd_log_failed(&ReadingError::Thread { source }, clock::read()),
        }
    }

    /// The log was read.
    pub(crate) fn sshd_log_read(&mut self, read: Result<Reading, ReadingError>) {
        let now = clock::read();
        self.refusals.reading = Looking::Idle;
        let Reading { entries, cursor, more } = match read {
            Ok(reading) => reading,
            Err(error) => return self.sshd_log_failed(&error, now),
        };
        self.sshd_log_is(None);
        let mut refused = self.take_entries(&entries, now);
        // A log that is not read to its end may say more of a connection that is waited for.
        if !more {
            refused.extend(self.refusals.connections.overdue(now.boot));
        }
        self.refusals.next = if refused.is_empty() { now.boot.after(READ_EVERY) } else { now.boot };
        self.tell_all_refused(refused, now);
        let is_further = cursor.is_some();
        self.sshd_log_is_read_to(cursor);
        if more && is_further {
            self.read_sshd_log();
        }
    }

    fn take_entries(&mut self, entries: &[Entry], now: Moment) -> Vec<Refused> {
        let Refusals { connections, cursor, .. } = &mut self.refusals;
        let mut before = cursor.as_deref();
        let mut refused = Vec::new();
        for entry in entries {
            refused.extend(connections.take(Place { before, now: now.boot }, entry));
            before = Some(&entry.cursor);
        }
        refused
    }

    /// After the reports, and not past a connection that is still open: what an agent after this one reads again is told twice rather
    /// than never.
    fn sshd_log_is_read_to(&mut self, cursor: Option<String>) {
        self.refusals.cursor = cursor.or_else(|| self.refusals.cursor.take());
        let place = self.refusals.connections.resume().or(self.refusals.cursor.as_deref());
        let Some(place) = place else { return };
        if let Err(error) = safe::write(&self.paths.sshd_log, place, 0o600, Durability::Memory) {
            journal::log(Level::Error, &journal::chain(&error));
        }
    }

    fn tell_all_refused(&mut self, all: Vec<Refused>, now: Moment) {
        for refused in all {
            if self.refusals.has_heard(&refused, now.boot) {
                continue;
            }
            let Refused { at, refusal, grant, login, from, said, .. } = refused;
            let is_strange = refusal == Refusal::Strange;
            let of_ours = (!is_strange).then(|| said.clone());
            let kind = Kind { grant, login: login.clone(), from, refusal, said: of_ours };
            let Refusals { by_sshd, of_strangers, .. } = &mut self.refusals;
            let told = if is_strange { of_strangers } else { by_sshd };
            match told.is_news(kind, now.boot) {
                News::Told => {
                    let why = UntrustedText::lossy(&format!("sshd says: {said}"));
                    let login = UntrustedText::lossy(&login.unwrap_or_default());
                    let from = from.map(|from| UntrustedText::lossy(&from.to_string()));
                    self.report(Moment { wall: at, ..now }, Report::SshRefused { grant, login, from, why });
                }
                News::LeftOut => self.refusals.leave_out(now.boot),
                News::Again => {}
            }
        }
    }

    /// How many were left out, once in a minute.
    fn tell_left_out(&mut self, now: Moment) {
        let is_due = |(_, since): &(u64, Boot)| now.boot >= since.after(TOLD_EVERY);
        let Some((count, _)) = self.refusals.left_out.take_if(|left_out| is_due(left_out)) else { return };
        let why = UntrustedText::lossy(&format!("{count} more were refused than are told of one by one"));
        let login = UntrustedText::lossy("");
        self.report(now, Report::SshRefused { grant: None, login, from: None, why });
    }

    fn sshd_log_failed(&mut self, error: &ReadingError, now: Moment) {
        self.refusals.next = now.boot.after(AGAIN);
        self.refusals.written = None;
        if matches!(error, ReadingError::Cursor) {
            self.refusals.cursor = None;
        }
        self.sshd_log_is(Some(journal::chain(error)));
    }

    fn sshd_log_is(&mut self, problem: Option<String>) {
        if let Some(why) = problem.as_ref().filter(|_| self.refusals.problem != problem) {
            journal::log(Level::Warning, &format!("what sshd refuses by itself is not known: {why}"));
        }
        self.refusals.problem = problem;
    }
}

#[cfg(test)]
mod tests {
    use elevate_protocol::time::Timestamp;

    use super::*;

    const BEGIN: Boot = Boot(1_000_000);

    fn kind(from: u8) -> Kind {
        let from = Some(IpAddr::from([10, 0, 0, from]));
        Kind { grant: None, login: Some("deploy".to_owned()), from, refusal: Refusal::Strange, said: None }
    }

    #[test]
    fn each_kind_is_told_once_in_a_minute_and_so_many_of_them() {
        let mut told = Told(BTreeMap::new());
        assert_eq!(told.is_news(kind(1), BEGIN), News::Told);
        assert_eq!(told.is_news(kind(1), BEGIN.after(Span(59))), News::Again);
        for from in 2..=64 {
            assert_eq!(told.is_news(kind(from), BEGIN.after(Span(30))), News::Told);
        }
        assert_eq!(told.is_news(kind(65), BEGIN.after(Span(59))), News::LeftOut);
        assert_eq!(told.is_news(kind(65), BEGIN.after(Span(60))), News::Told, "the first is a minute ago");
        assert_eq!(told.is_news(kind(1), BEGIN.after(Span(60))), News::LeftOut);
    }

    #[test]
    fn what_the_program_has_told_this_agent_is_not_told_again_by_the_log() {
        let place = tempfile::tempdir().unwrap();
        let mut refusals = Refusals::begin(&Paths::below(place.path()), BEGIN);
        let grant = ActivationId::from_random([1; 16]);
        let refused = Refused {
            at: Timestamp(0),
            refusal: Refusal::NotOpened,
            grant: Some(grant),
            is_told: true,
            login: Some("deploy".to_owned()),
            from: None,
            said: String::new(),
        };
        assert!(!refusals.has_heard(&refused, BEGIN), "an agent that was killed has heard it");
        refusals.hear(&SshDenied { login: "deploy".parse().unwrap(), grant }, BEGIN);
        assert!(refusals.has_heard(&refused, BEGIN.after(Span(299))));
        assert!(!refusals.has_heard(&refused, BEGIN.after(HEARD)));
        let others = [
            Refused { is_told: false, ..refused.clone() },
            Refused { login: Some("root".to_owned()), ..refused.clone() },
            Refused { grant: Some(ActivationId::from_random([2; 16])), ..refused },
        ];
        assert!(others.iter().all(|other| !refusals.has_heard(other, BEGIN)));
    }
}
