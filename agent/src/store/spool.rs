//! Reports that the daemon has not yet made durable: lines of files, numbered over the host's life.
//!
//! In: reports. Out: the same, in order, until the daemon says `Recorded`. Bounded: what does not fit is dropped at once and counted,
//! and the gap is reported as soon as there is room. Nothing waits for room. Of several files one is held in memory, so that
//! neither memory nor a start grows with what waits. Spec: docs/wire.md "Reports", docs/decisions/0037.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::time::{Span, Timestamp};

use super::count::Count;
use super::entry::{Entry, Line, Lost, is_weighty};
use super::lines::{self, Lines};
use super::room::{self, Limits};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Longest single report in bytes.
const REPORT_MAX: u64 = 256 * 1024;
/// Longest file that is read.
const FILE_MAX: u64 = room::MIB;
/// Room in bytes below which nothing is told of what was lost: telling must not fill what it waits for.
const ROOM_TO_TELL: u64 = 256;
/// Of what may wait, how many quarters are there for uses and warnings too; the last one is for what is of more weight.
const QUARTERS_FOR_ALL: u64 = 3;
/// Bytes of a file of which the daemon has everything, from which on another one takes its place.
const REST_MAX: u64 = 256 * 1024;
/// Before the number from which on a file holds reports.
const REPORTS: &str = "reports.";
/// What was dropped and is not told yet.
const LOST: &str = "lost";

/// The reports that wait. Their files are the truth; this is what is in the first of them.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Lengths of the files, by the number from which on each holds reports. There is always one.
    files: BTreeMap<u64, u64>,
    /// The last of them, which grows. Its length in `files` does not count.
    last: Lines,
    /// What waits of the first of them; none: it was not read.
    front: Option<BTreeMap<u64, Entry>>,
    next: u64,
    /// What these numbers are on the link.
    count: Count,
    /// The daemon has everything up to here.
    acknowledged: u64,
    most: Limits,
    lost: Option<Lost>,
    /// What was found that should not be, to be reported.
    odd: Vec<String>,
}

impl Spool {
    /// Reads the beginning and the end of what waits. What is no report is removed and named in the answer.
    ///
    /// # Errors
    /// [`SafeError`] when the folder cannot be used.
    pub(crate) fn load(paths: &Paths) -> Result<(Self, Vec<String>), SafeError> {
        let folder = paths.spool.clone();
        let mut spool = Self {
            last: Lines::begin(folder.join(name(1))),
            count: Count::begin(&folder),
            folder,
            files: BTreeMap::new(),
            front: None,
            next: 1,
            acknowledged: 0,
            most: Limits::OURS,
            lost: None,
            odd: Vec::new(),
        };
        for found in safe::names(&spool.folder)? {
            spool.take_up(&found)?;
        }
        spool.take_up_last()?;
        spool.next = spool.count.settle(spool.next);
        spool.fetch()?;
        let first = spool.front.as_ref().and_then(|front| front.keys().next().copied());
        spool.acknowledged = spool.acknowledged.max(first.unwrap_or(spool.next).saturating_sub(1));
        let odd = spool.oddities();
        Ok((spool, odd))
    }

    /// Takes up what has this name in the folder.
    fn take_up(&mut self, found: &OsStr) -> Result<(), SafeError> {
        let path = self.folder.join(found);
        let found = found.to_string_lossy();
        let number = found.strip_prefix(REPORTS).and_then(|number| number.parse().ok());
        if let Some(first) = number.filter(|first| *found == name(*first)) {
            let length = std::fs::symlink_metadata(&path).map_or(0, |meta| meta.len());
            self.files.insert(first, length);
        } else if found == LOST {
            let text = safe::read(&path, REPORT_MAX);
            self.lost = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        } else if let Some(taken) = self.count.take_up(&found) {
            self.odd.extend(taken.err());
        } else {
            safe::remove(&path)?;
            if !found.starts_with('.') {
                self.odd.push(format!("removed {found:?} from the spool: it is no report"));
            }
        }
        Ok(())
    }

    /// The last file says which number is the next.
    fn take_up_last(&mut self) -> Result<(), SafeError> {
        let first = self.files.last_key_value().map_or(1, |(first, _)| *first);
        self.files.insert(first, 0);
        self.next = first;
        let found = match Lines::load(self.folder.join(name(first)), FILE_MAX) {
            Ok((last, found)) => {
                self.last = last;
                found
            }
            Err(error) if error.is_want_of_descriptors() => return Err(error),
            Err(error) => {
                safe::remove(&self.folder.join(name(first)))?;
                self.gave_up(first, &error);
                // Some of its numbers are used, and each is a line.
                self.next = first.saturating_add(FILE_MAX);
                self.begin_file(Lines::begin(self.folder.join(name(self.next))));
                self.files.remove(&first);
                Vec::new()
            }
        };
        let mut lost = self.lost;
        for line in found {
            let number = match Line::<Entry>::of(&line) {
                Some(Line::Report { number, entry }) => {
                    // A crash between the report of it and the end of its file would tell it twice.
                    lost = lost.filter(
                        |lost| !matches!(entry.report, Report::Lost { last, .. } if last == lost.last),
                    );
                    number
                }
                Some(Line::Acknowledged { number }) => {
                    self.acknowledged = self.acknowledged.max(number);
                    number
                }
                None => continue,
            };
            self.next = self.next.max(number.saturating_add(1));
        }
        // What was dropped keeps its numbers.
        self.next = lost.map_or(self.next, |lost| self.next.max(lost.last.saturating_add(1)));
        match std::mem::replace(&mut self.lost, lost) {
            Some(_) if lost.is_none() => safe::remove(&self.folder.join(LOST)),
            _ => Ok(()),
        }
    }

    /// Reads the first file that has something for the daemon, and removes those before it.
    ///
    /// # Errors
    /// [`SafeError`]; what could not be removed is sent again after the next start, which is harmless. What could not be read for want
    /// of descriptors is tried again with the next call.
    pub(crate) fn fetch(&mut self) -> Result<(), SafeError> {
        let mut done = Ok(());
        while self.front.as_ref().is_none_or(BTreeMap::is_empty) {
            let Some(first) = self.files.first_key_value().map(|(first, _)| *first) else { break };
            let path = self.folder.join(name(first));
            if self.front.is_some() {
                if self.files.len() == 1 {
                    break;
                }
                self.files.remove(&first);
                self.front = None;
                done = done.and(safe::remove(&path));
                continue;
            }
            match lines::read(&path, FILE_MAX) {
                Ok(found) => self.front = Some(self.waiting_of(&found)),
                Err(error) if error.is_want_of_descriptors() => return Err(error),
                Err(error) => {
                    self.gave_up(first, &error);
                    if self.files.len() == 1 {
                        self.begin_file(Lines::begin(self.folder.join(name(self.next))));
                    }
                    self.front = Some(BTreeMap::new());
                }
            }
        }
        done
    }

    /// What waits of these lines.
    fn waiting_of(&mut self, found: &[String]) -> BTreeMap<u64, Entry> {
        let mut waiting = BTreeMap::new();
        let mut wrong = 0_usize;
        for line in found {
            match Line::of(line) {
                Some(Line::Report { number, entry }) if number > self.acknowledged => {
                    waiting.insert(number, entry);
                }
                Some(Line::Report { .. } | Line::Acknowledged { .. }) => {}
                None => wrong = wrong.saturating_add(1),
            }
        }
        if wrong > 0 {
            self.odd.push(format!("{wrong} lines of the spool are no reports"));
        }
        waiting
    }

    fn gave_up(&mut self, first: u64, error: &SafeError) {
        let (why, first) = (journal::chain(error), self.count.outside(first));
        self.odd.push(format!("removed reports that waited, from number {first} on: {why}"));
    }

    /// What was found since the last call that should not be there, or could not be read.
    pub(crate) fn oddities(&mut self) -> Vec<String> {
        std::mem::take(&mut self.odd)
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

    fn bytes(&self) -> u64 {
        let full = self.files.values().rev().skip(1);
        full.fold(self.last.length(), |sum, length| sum.saturating_add(*length))
    }

    fn has_room(&self, report: &Report, length: u64) -> bool {
        let bytes = self.bytes();
        let whole = self.most.whole(bytes, || room::free(&self.folder));
        let most = if is_weighty(report) { whole } else { (whole / 4).saturating_mul(QUARTERS_FOR_ALL) };
        length <= REPORT_MAX && bytes.saturating_add(length) <= most
    }

    fn put(&mut self, entry: Entry) -> Result<bool, SafeError> {
        let number = self.next;
        let text = Line::Report { number, entry: &entry }.text();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if !self.has_room(&entry.report, length) {
            return Ok(false);
        }
        if self.last.length() >= self.most.file && !self.files.contains_key(&number) {
            self.follow(&text)?;
        } else {
            self.last.append(&text, Durability::Disk)?;
        }
        self.next = number.saturating_add(1);
        if self.files.len() == 1
            && let Some(front) = &mut self.front
        {
            front.insert(number, entry);
        }
        // Where the daemon has everything of the file before, this one is the first. It is stored, whatever comes of that.
        if let Err(error) = self.fetch() {
            journal::log(Level::Error, &journal::chain(&error));
        }
        Ok(true)
    }

    /// Another file follows, whose first line this is.
    fn follow(&mut self, text: &str) -> Result<(), SafeError> {
        let path = self.folder.join(name(self.next));
        let mut file = Lines::begin(path.clone());
        if let Err(error) = file.append(text, Durability::Disk) {
            // Its number is counted as lost: it must not be found later.
            drop(safe::remove(&path));
            return Err(error);
        }
        self.begin_file(file);
        Ok(())
    }

    fn begin_file(&mut self, file: Lines) {
        if let Some(mut full) = self.files.last_entry() {
            full.insert(self.last.length());
        }
        self.files.insert(self.next, 0);
        self.last = file;
    }

    /// The daemon bids welcome, and has recorded everything up to `recorded`; up to `way` more may still reach it of what was sent. If
    /// that is more than was ever sent from here, what was never sent gets numbers above it; that it was so is in the answer.
    pub(crate) fn welcome(&mut self, recorded: u64, way: u64) -> Option<String> {
        self.count.hear((recorded, way), self.acknowledged).map(|from| {
            format!(
                "the daemon has reports of this host up to number {recorded}, more than its spool knows of, which was emptied or is an \
                 old copy: what waited there is lost. {} reports since then count from {} on",
                self.next.saturating_sub(from),
                self.count.outside(from),
            )
        })
    }

    /// The daemon has everything up to `number`. That is no news after a restart, so nothing waits for the disk: without it the daemon
    /// is told again, and knows it by its number.
    ///
    /// # Errors
    /// [`SafeError`]; what could not be noted is sent again, which is harmless.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<(), SafeError> {
        let number = self.count.inside(number).min(self.next.saturating_sub(1));
        if number <= self.acknowledged {
            return Ok(());
        }
        self.acknowledged = number;
        if let Some(front) = &mut self.front {
            *front = front.split_off(&number.saturating_add(1));
        }
        self.fetch()?;
        // While there are several the end of one says it.
        if self.files.len() > 1 {
            return Ok(());
        }
        let note = Line::<Entry>::Acknowledged { number }.text();
        let empty = self.front.as_ref().is_some_and(BTreeMap::is_empty);
        if empty && self.last.length() > REST_MAX.min(self.most.file) {
            // The next file is there first: only its name keeps a number from being used twice.
            self.follow(&note)?;
            return self.fetch();
        }
        if self.last.length() < self.most.file {
            self.last.append(&note, Durability::Memory)?;
        }
        Ok(())
    }

    /// The next reports after `number`, oldest first, as far as they are in memory.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let first = self.count.inside(number).saturating_add(1);
        let front = self.front.iter().flat_map(move |front| front.range(first..));
        front.map(|(number, entry)| (self.count.outside(*number), entry))
    }

    /// This one is sent: what it says, with the numbers that the daemon knows.
    pub(crate) fn send(&mut self, number: u64, entry: Entry) -> Entry {
        self.count.sent(number);
        let Report::Lost { count, first, last } = entry.report else { return entry };
        let report = Report::Lost { count, first: self.count.outside(first), last: self.count.outside(last) };
        Entry { report, ..entry }
    }

    /// How many numbers the daemon has not said that it has: those of reports that wait, and of reports that were dropped since.
    #[must_use]
    pub(crate) fn waiting(&self) -> u64 {
        self.next.saturating_sub(1).saturating_sub(self.acknowledged)
    }
}

/// What a file is called.
fn name(first: u64) -> String {
    format!("{REPORTS}{first}")
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
