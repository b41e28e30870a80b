//! Reports that the daemon has not yet made durable: one file each, numbered over the host's life.
//!
//! In: reports. Out: the same, in order, until the daemon says `Recorded`. Bounded: what does not fit is dropped at once and
//! counted, and the gap is reported as soon as there is room. Nothing waits for room. Spec: docs/wire.md "Reports".

use std::collections::BTreeMap;
use std::path::PathBuf;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Most bytes of reports that wait.
const SPOOL_MAX: u64 = 16 * 1024 * 1024;
/// Most reports that wait: each is a file, and takes a block of the disk however short it is.
const REPORTS_MAX: u64 = 16_384;
/// Longest single report in bytes.
const REPORT_MAX: u64 = 256 * 1024;
/// Room in bytes below which nothing is told of what was lost: telling must not fill what it waits for.
const ROOM_TO_TELL: u64 = 256;

/// Of both limits, how many quarters are there for uses and warnings too; the last one is for what is of more weight.
const QUARTERS_FOR_ALL: u64 = 3;
/// The daemon has everything up to the number in it.
const ACKNOWLEDGED: &str = "acknowledged";
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
        Report::Used { .. } | Report::UseRefused { .. } | Report::Warned { .. } => false,
        Report::Ended { .. }
        | Report::GateClosed { .. }
        | Report::Lost { .. }
        | Report::ClockStep { .. }
        | Report::Epoch { .. }
        | Report::Tampered { .. }
        | Report::Started { .. } => true,
    }
}

/// The reports that wait. Their files are the truth; this is what is in them.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    waiting: BTreeMap<u64, (Entry, u64)>,
    next: u64,
    bytes: u64,
    most: Limits,
    lost: Option<Lost>,
}

impl Spool {
    /// Reads what waits. A file that is no report is removed and named in the answer.
    ///
    /// # Errors
    /// [`SafeError`] when the folder cannot be used.
    pub(crate) fn load(paths: &Paths) -> Result<(Self, Vec<String>), SafeError> {
        let most = Limits { bytes: SPOOL_MAX, reports: REPORTS_MAX };
        let folder = paths.spool.clone();
        let mut spool = Self { folder, waiting: BTreeMap::new(), next: 1, bytes: 0, most, lost: None };
        let mut removed = Vec::new();
        for name in safe::names(&spool.folder)? {
            let path = spool.folder.join(&name);
            let name = name.to_string_lossy().into_owned();
            let text = safe::read(&path, REPORT_MAX);
            if name == ACKNOWLEDGED {
                let number: u64 = text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                spool.next = spool.next.max(number.saturating_add(1));
                continue;
            }
            if name == LOST {
                spool.lost = text.ok().and_then(|text| serde_json::from_str(&text).ok());
                continue;
            }
            let number: Option<u64> = name.parse().ok();
            let entry: Option<(Entry, u64)> = text.ok().and_then(|text| {
                let length = u64::try_from(text.len()).ok()?;
                serde_json::from_str(&text).ok().map(|entry| (entry, length))
            });
            if let (Some(number), Some((entry, length))) = (number, entry) {
                spool.bytes = spool.bytes.saturating_add(length);
                spool.next = spool.next.max(number.saturating_add(1));
                spool.waiting.insert(number, (entry, length));
            } else {
                safe::remove(&path)?;
                if !name.starts_with('.') {
                    removed.push(format!("removed {name:?} from the spool: it is no report"));
                }
            }
        }
        spool.take_up_lost();
        Ok((spool, removed))
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
        let Ok(text) = serde_json::to_string(&entry) else { return Ok(false) };
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if !self.has_room(&entry.report, length) {
            return Ok(false);
        }
        let number = self.next;
        safe::write(&self.folder.join(number.to_string()), &text, 0o600, Durability::Disk)?;
        self.next = number.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length);
        self.waiting.insert(number, (entry, length));
        Ok(true)
    }

    /// The daemon has everything up to `number`.
    ///
    /// # Errors
    /// [`SafeError`]; what could not be removed is sent again, which is harmless.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<(), SafeError> {
        let number = number.min(self.next.saturating_sub(1));
        let Some(first) = self.waiting.keys().next().copied().filter(|first| *first <= number) else {
            return Ok(());
        };
        // First the number: once the files are gone, only it keeps a number from being used twice.
        let path = self.folder.join(ACKNOWLEDGED);
        safe::write(&path, &number.to_string(), 0o600, Durability::Disk)?;
        let keep = self.waiting.split_off(&number.saturating_add(1));
        let gone = std::mem::replace(&mut self.waiting, keep);
        debug_assert!(gone.contains_key(&first));
        for (number, (_, length)) in gone {
            self.bytes = self.bytes.saturating_sub(length);
            safe::remove(&self.folder.join(number.to_string()))?;
        }
        Ok(())
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
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Paths) {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(&paths.spool).unwrap();
        (place, paths)
    }

    fn report(grants: u32) -> Report {
        Report::Started { agent: "1".into(), grants }
    }

    #[test]
    fn reports_survive_a_restart_and_numbers_are_never_used_twice() {
        let (_place, paths) = place();
        let (mut spool, _) = Spool::load(&paths).unwrap();
        for grants in 0..3 {
            spool.add(Timestamp(1), report(grants)).unwrap();
        }
        let (mut spool, removed) = Spool::load(&paths).unwrap();
        assert!(removed.is_empty());
        assert_eq!(spool.after(1).map(|(number, _)| number).collect::<Vec<_>>(), [2, 3]);
        spool.acknowledge(3).unwrap();
        assert_eq!(spool.len(), 0);
        let (mut spool, _) = Spool::load(&paths).unwrap();
        spool.add(Timestamp(1), report(9)).unwrap();
        assert_eq!(spool.after(0).map(|(number, _)| number).collect::<Vec<_>>(), [4]);
    }

    fn warned(left: u32) -> Report {
        Report::Warned { grant: ActivationId::from_random([1; 16]), left: Span(left) }
    }

    fn small(paths: &Paths, reports: u64) -> Spool {
        let (mut spool, _) = Spool::load(paths).unwrap();
        spool.most.reports = reports;
        spool
    }

    fn numbers(spool: &Spool) -> Vec<u64> {
        spool.after(0).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_full_spool_drops_counts_and_tells_the_gap() {
        let (_place, paths) = place();
        let mut spool = small(&paths, 8);
        for left in 0..10 {
            spool.add(Timestamp(1), warned(left)).unwrap();
        }
        assert_eq!(numbers(&spool), [1, 2, 3, 4, 5, 6], "three quarters are for what people can make");
        // A restart forgets nothing of it.
        let mut spool = small(&paths, 8);
        spool.add(Timestamp(1), warned(10)).unwrap();
        spool.acknowledge(6).unwrap();
        spool.tell_lost(Timestamp(2)).unwrap();
        let told: Vec<(u64, Report)> = spool.after(0).map(|(n, entry)| (n, entry.report.clone())).collect();
        assert_eq!(told, [(12, Report::Lost { count: 5, first: 7, last: 11 })]);
        assert!(!paths.spool.join(LOST).exists());
        spool.add(Timestamp(3), warned(11)).unwrap();
        assert_eq!(numbers(&spool), [12, 13], "told once");
    }

    #[test]
    fn what_is_of_weight_has_room_when_uses_have_filled_theirs() {
        let (_place, paths) = place();
        let mut spool = small(&paths, 8);
        for left in 0..100 {
            spool.add(Timestamp(1), warned(left)).unwrap();
        }
        spool.add(Timestamp(1), report(1)).unwrap();
        spool.add(Timestamp(1), report(2)).unwrap();
        spool.add(Timestamp(1), report(3)).unwrap();
        assert_eq!(numbers(&spool), [1, 2, 3, 4, 5, 6, 101, 102], "and then that is full too");
        spool.acknowledge(102).unwrap();
        spool.tell_lost(Timestamp(2)).unwrap();
        let told = spool.after(0).next().map(|(_, entry)| entry.report.clone());
        assert_eq!(told, Some(Report::Lost { count: 95, first: 7, last: 103 }));
    }

    #[test]
    fn a_crash_while_the_gap_is_told_does_not_tell_it_twice() {
        let (_place, paths) = place();
        let mut spool = small(&paths, 4);
        for left in 0..5 {
            spool.add(Timestamp(1), warned(left)).unwrap();
        }
        let before = std::fs::read(paths.spool.join(LOST)).unwrap();
        spool.acknowledge(3).unwrap();
        spool.tell_lost(Timestamp(2)).unwrap();
        std::fs::write(paths.spool.join(LOST), before).unwrap();
        let mut spool = small(&paths, 4);
        spool.add(Timestamp(3), warned(9)).unwrap();
        let lost = spool.after(0).filter(|(_, entry)| matches!(entry.report, Report::Lost { .. })).count();
        assert_eq!(lost, 1);
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_reports_and_nothing_else() {
        let (_place, paths) = place();
        let mut spool = small(&paths, 8);
        std::fs::remove_dir(&paths.spool).unwrap();
        for left in 0..3 {
            assert!(spool.add(Timestamp(1), warned(left)).is_err());
        }
        std::fs::create_dir(&paths.spool).unwrap();
        spool.add(Timestamp(2), warned(9)).unwrap();
        let told: Vec<Report> = spool.after(0).map(|(_, entry)| entry.report.clone()).collect();
        assert_eq!(told, [Report::Lost { count: 3, first: 1, last: 3 }, warned(9)]);
    }

    #[test]
    fn what_is_no_report_is_removed_and_named() {
        let (_place, paths) = place();
        std::fs::write(paths.spool.join("7"), "{").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", paths.spool.join("8")).unwrap();
        let (spool, removed) = Spool::load(&paths).unwrap();
        assert_eq!((spool.len(), removed.len()), (0, 2));
        assert!(!paths.spool.join("8").is_symlink());
    }
}
