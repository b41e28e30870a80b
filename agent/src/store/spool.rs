//! Reports that the daemon has not yet made durable: lines of one file, numbered over the host's life.
//!
//! In: reports. Out: the same, in order, until the daemon says `Recorded`. Bounded: what does not fit is dropped at once and
//! counted, and the gap is reported as soon as there is room. Nothing waits for room. Spec: docs/wire.md "Reports".

use std::collections::BTreeMap;
use std::path::PathBuf;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Most bytes of reports that wait.
const SPOOL_MAX: u64 = 16 * 1024 * 1024;
/// Most reports that wait.
const REPORTS_MAX: u64 = 16_384;
/// Longest single report in bytes.
const REPORT_MAX: u64 = 256 * 1024;
/// Room in bytes below which nothing is told of what was lost: telling must not fill what it waits for.
const ROOM_TO_TELL: u64 = 256;

/// Of both limits, how many quarters are there for uses and warnings too; the last one is for what is of more weight.
const QUARTERS_FOR_ALL: u64 = 3;
/// The reports, and how far the daemon has them.
const REPORTS: &str = "reports";
/// Bytes of reports that the daemon has already, from which on they are worth a new file.
const REST_MAX: u64 = 256 * 1024;
/// Longest file: what waits, as much again of what does no more, and what a disk that is full left undone.
const FILE_MAX: u64 = 4 * SPOOL_MAX;
/// What was dropped and is not told yet.
const LOST: &str = "lost";

/// One report that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, by the host's clock.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) report: Report,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line<E> {
    /// A report.
    Report { number: u64, entry: E },
    /// The daemon has everything up to this number.
    Acknowledged { number: u64 },
}

impl<E: Serialize> Line<E> {
    fn text(&self) -> String {
        // Everything in a report can be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Reports that had no room: how many, and their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lost {
    count: u64,
    first: u64,
    last: u64,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    reports: u64,
}

impl Limits {
    /// What is left of them for a report.
    fn of(self, report: &Report) -> Self {
        if is_weighty(report) {
            return self;
        }
        let part = |whole: u64| (whole / 4).saturating_mul(QUARTERS_FOR_ALL);
        Self { bytes: part(self.bytes), reports: part(self.reports) }
    }
}

/// Whether a report may use the last quarter. A person can make as many uses and warnings as they like; these they cannot.
fn is_weighty(report: &Report) -> bool {
    match report {
        Report::Used { .. }
        | Report::UseRefused { .. }
        | Report::Warned { .. }
        | Report::SshLogin { .. }
        | Report::SshLogout { .. }
        | Report::SshRefused { .. } => false,
        Report::Ended { .. }
        | Report::GateClosed { .. }
        | Report::Lost { .. }
        | Report::ClockStep { .. }
        | Report::Epoch { .. }
        | Report::Tampered { .. }
        | Report::Started { .. } => true,
    }
}

/// The reports that wait. Their file is the truth; this is what is in it.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    lines: Lines,
    waiting: BTreeMap<u64, (Entry, u64)>,
    next: u64,
    bytes: u64,
    most: Limits,
    lost: Option<Lost>,
}

impl Spool {
    /// Reads what waits. What is no report is removed and named in the answer.
    ///
    /// # Errors
    /// [`SafeError`] when the folder cannot be used.
    pub(crate) fn load(paths: &Paths) -> Result<(Self, Vec<String>), SafeError> {
        let most = Limits { bytes: SPOOL_MAX, reports: REPORTS_MAX };
        let folder = paths.spool.clone();
        let mut removed = Vec::new();
        let mut lost = None;
        for name in safe::names(&folder)? {
            let path = folder.join(&name);
            let name = name.to_string_lossy().into_owned();
            match name.as_str() {
                REPORTS => {}
                LOST => {
                    let text = safe::read(&path, REPORT_MAX);
                    lost = text.ok().and_then(|text| serde_json::from_str(&text).ok());
                }
                _ => {
                    safe::remove(&path)?;
                    if !name.starts_with('.') {
                        removed.push(format!("removed {name:?} from the spool: it is no report"));
                    }
                }
            }
        }
        let path = folder.join(REPORTS);
        let (lines, found) = match Lines::load(path.clone(), FILE_MAX) {
            Ok(loaded) => loaded,
            Err(error) => {
                safe::remove(&path)?;
                removed.push(format!("removed the reports that waited: {}", crate::journal::chain(&error)));
                Lines::load(path, FILE_MAX)?
            }
        };
        let mut spool = Self { folder, lines, waiting: BTreeMap::new(), next: 1, bytes: 0, most, lost };
        let wrong = found.iter().filter(|line| !spool.take_up(line)).count();
        if wrong > 0 {
            removed.push(format!("{wrong} lines of the spool are no reports"));
        }
        spool.take_up_lost();
        Ok((spool, removed))
    }

    /// Takes a line of the file up; false when it is none.
    fn take_up(&mut self, line: &str) -> bool {
        let Ok(found) = serde_json::from_str::<Line<Entry>>(line) else { return false };
        match found {
            Line::Report { number, entry } => {
                let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
                self.hold(number, entry, length);
            }
            Line::Acknowledged { number } => {
                self.next = self.next.max(number.saturating_add(1));
                self.release(number);
            }
        }
        true
    }

    fn hold(&mut self, number: u64, entry: Entry, length: u64) {
        self.next = self.next.max(number.saturating_add(1));
        if let Some((_, before)) = self.waiting.insert(number, (entry, length)) {
            self.bytes = self.bytes.saturating_sub(before);
        }
        self.bytes = self.bytes.saturating_add(length);
    }

    fn release(&mut self, number: u64) {
        let keep = self.waiting.split_off(&number.saturating_add(1));
        let gone = std::mem::replace(&mut self.waiting, keep);
        let bytes = gone.values().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// What was dropped keeps its numbers. A crash between the report of it and the end of its file would tell it twice.
    fn take_up_lost(&mut self) {
        let Some(lost) = self.lost else { return };
        self.next = self.next.max(lost.last.saturating_add(1));
        let told = |(entry, _): &(Entry, u64)| matches!(entry.report, Report::Lost { last, .. } if last == lost.last);
        if self.waiting.values().any(told) {
            self.lost = None;
        }
    }

    /// Makes a report durable. Without room it is counted instead, and told of as soon as there is.
    ///
    /// # Errors
    /// [`SafeError`] when it cannot be written; it is counted as lost then too.
    pub(crate) fn add(&mut self, at: Timestamp, report: Report) -> Result<(), SafeError> {
        let told = self.tell_lost(at);
        let stored = self.put(Entry { at, report });
        if !matches!(stored, Ok(true)) {
            self.count_lost();
        }
        told.and(stored.map(drop))
    }

    /// Reports what was dropped, once there is room for anything again.
    ///
    /// # Errors
    /// [`SafeError`] when it cannot be written; it is tried again with the next report.
    pub(crate) fn tell_lost(&mut self, at: Timestamp) -> Result<(), SafeError> {
        let Some(Lost { count, first, last }) = self.lost else { return Ok(()) };
        let room = Report::Warned { grant: ActivationId::from_random([0; 16]), left: Span::ZERO };
        if !self.has_room(&room, ROOM_TO_TELL)
            || !self.put(Entry { at, report: Report::Lost { count, first, last } })?
        {
            return Ok(());
        }
        self.lost = None;
        safe::remove(&self.folder.join(LOST))
    }

    fn count_lost(&mut self) {
        let number = self.next;
        self.next = number.saturating_add(1);
        let Lost { count, first, .. } = self.lost.unwrap_or(Lost { count: 0, first: number, last: number });
        let lost = Lost { count: count.saturating_add(1), first, last: number };
        self.lost = Some(lost);
        // For an agent that is started again. On a full disk the count is kept in memory only.
        let text = serde_json::to_string(&lost).unwrap_or_default();
        drop(safe::write(&self.folder.join(LOST), &text, 0o600, Durability::Memory));
    }

    fn has_room(&self, report: &Report, length: u64) -> bool {
        let most = self.most.of(report);
        u64::try_from(self.waiting.len()).is_ok_and(|count| count < most.reports)
            && length <= REPORT_MAX
            && self.bytes.saturating_add(length) <= most.bytes
    }

    fn put(&mut self, entry: Entry) -> Result<bool, SafeError> {
        let number = self.next;
        let text = Line::Report { number, entry: &entry }.text();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if !self.has_room(&entry.report, length) {
            return Ok(false);
        }
        self.lines.append(&text, Durability::Disk)?;
        self.hold(number, entry, length);
        Ok(true)
    }

    /// The daemon has everything up to `number`. That is no news after a restart, so nothing waits for the disk: without it the daemon
    /// is told again, and knows it by its number.
    ///
    /// # Errors
    /// [`SafeError`]; what could not be noted is sent again, which is harmless.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<(), SafeError> {
        let number = number.min(self.next.saturating_sub(1));
        if self.waiting.keys().next().is_none_or(|first| *first > number) {
            return Ok(());
        }
        self.release(number);
        let rest = self.lines.length().saturating_sub(self.bytes);
        if rest <= REST_MAX.max(self.bytes) {
            return self.lines.append(&Line::<Entry>::Acknowledged { number }.text(), Durability::Memory);
        }
        // First the number: only it keeps one from being used twice.
        let reports =
            self.waiting.iter().map(|(number, (entry, _))| Line::Report { number: *number, entry }.text());
        let first = self.waiting.keys().next().copied().unwrap_or(self.next);
        let head = Line::<Entry>::Acknowledged { number: first.saturating_sub(1) };
        let lines: Vec<String> = std::iter::once(head.text()).chain(reports).collect();
        self.lines.replace(&lines)
    }

    /// The next reports after `number`, oldest first.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Entry)> {
        self.waiting.range(number.saturating_add(1)..).map(|(number, (entry, _))| (*number, entry))
    }

    /// How many wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
