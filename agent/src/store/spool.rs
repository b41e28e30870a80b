//! Reports that the daemon has not yet made durable: one file each, numbered over the host's life.
//!
//! In: reports. Out: the same, in order, until the daemon says `Recorded`. Bounded: what does not fit is counted, and the
//! count is reported as soon as there is room. Spec: docs/wire.md "Reports".

use std::collections::BTreeMap;
use std::path::PathBuf;

use elevate_protocol::message::agent::Report;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Most bytes of reports that wait.
const SPOOL_MAX: u64 = 16 * 1024 * 1024;
/// Most reports that wait: each is a file, and takes a block of the disk however short it is.
const REPORTS_MAX: usize = 16_384;
/// Longest single report in bytes.
const REPORT_MAX: u64 = 256 * 1024;

/// One report that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, by the host's clock.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) report: Report,
}

/// The reports that wait. Their files are the truth; this is what is in them.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    waiting: BTreeMap<u64, (Entry, u64)>,
    next: u64,
    bytes: u64,
    most: u64,
    lost: u64,
}

impl Spool {
    /// Reads what waits. A file that is no report is removed and named in the answer.
    ///
    /// # Errors
    /// [`SafeError`] when the folder cannot be used.
    pub(crate) fn load(paths: &Paths) -> Result<(Self, Vec<String>), SafeError> {
        let folder = paths.spool.clone();
        let mut spool =
            Self { folder, waiting: BTreeMap::new(), next: 1, bytes: 0, most: SPOOL_MAX, lost: 0 };
        let mut removed = Vec::new();
        for name in safe::names(&spool.folder)? {
            let path = spool.folder.join(&name);
            let name = name.to_string_lossy().into_owned();
            let text = safe::read(&path, REPORT_MAX);
            if name == "acknowledged" {
                let number: u64 = text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                spool.next = spool.next.max(number.saturating_add(1));
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
        Ok((spool, removed))
    }

    /// Makes a report durable. Full: it is counted instead, and told of by a later report.
    ///
    /// # Errors
    /// [`SafeError`] when it cannot be written; it is counted as lost then too.
    pub(crate) fn add(&mut self, at: Timestamp, report: Report) -> Result<(), SafeError> {
        if self.lost > 0 {
            let what = format!("{} reports did not fit into the spool and are lost", self.lost);
            let gap = Entry { at, report: Report::Tampered { what: UntrustedText::lossy(&what) } };
            if self.put(gap)? {
                self.lost = 0;
            }
        }
        let stored = self.put(Entry { at, report });
        if !matches!(stored, Ok(true)) {
            self.lost = self.lost.saturating_add(1);
        }
        stored.map(drop)
    }

    fn put(&mut self, entry: Entry) -> Result<bool, SafeError> {
        let Ok(text) = serde_json::to_string(&entry) else { return Ok(false) };
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.waiting.len() >= REPORTS_MAX
            || length > REPORT_MAX
            || self.bytes.saturating_add(length) > self.most
        {
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
        let path = self.folder.join("acknowledged");
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

    #[test]
    fn a_full_spool_counts_what_is_lost_and_says_so() {
        let (_place, paths) = place();
        let (mut spool, _) = Spool::load(&paths).unwrap();
        spool.most = 400;
        for grants in 0..20 {
            spool.add(Timestamp(1), report(grants)).unwrap();
        }
        let kept = spool.len();
        assert!(kept < 20);
        let last = spool.after(0).last().unwrap().0;
        spool.acknowledge(last).unwrap();
        spool.add(Timestamp(2), report(99)).unwrap();
        let told: Vec<Report> = spool.after(0).map(|(_, entry)| entry.report.clone()).collect();
        let lost = format!("{} reports did not fit into the spool and are lost", 20 - kept);
        assert_eq!(told, [Report::Tampered { what: UntrustedText::lossy(&lost) }, report(99)]);
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
