//! Under which numbers the daemon knows the reports of a spool, and which of them it cannot have.
//!
//! In: the highest number that the daemon has recorded. Out: the numbers that go on from there, when the spool's own were emptied away
//! or are of an old copy: what was never sent must not come under the number of something else. Spec: docs/wire.md "Reports".

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::{self, Level};
use crate::safe::{self, Durability, SafeError};

/// How far the numbers were moved.
const MOVED: &str = "moved";
/// The first number that was never sent, as long as the daemon has not been heard since a start.
const UNSENT: &str = "unsent";
/// Longest of these files in bytes.
const LENGTH_MAX: u64 = 8 * 1024;
/// Most moves that are kept: one is, and another for each time that a report of the one before still waits.
const MOVES_MAX: usize = 64;
/// Nobody counts that far in earnest: a link that says so is not obeyed. Whoever reads JSON can count on from here.
const NUMBER_MAX: u64 = 1 << 52;

/// Numbers in the files, and what they are on the link.
#[derive(Debug)]
pub(super) struct Count {
    folder: PathBuf,
    /// Ascending.
    moves: Vec<Move>,
    /// Whether `moves` are in their file.
    noted: bool,
    /// First number in the files that was never sent: whatever the daemon has recorded, that is not among it.
    unsent: u64,
    /// Whether the daemon has been heard since the start, and that is noted.
    heard: bool,
}

/// From one number in the files on, up to the next move, all are others on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    from: u64,
    /// Added.
    by: u64,
}

impl Count {
    /// Of a spool that has nothing yet.
    pub(super) fn begin(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), moves: Vec::new(), noted: true, unsent: u64::MAX, heard: false }
    }

    /// Takes up what has this name in the folder, if it is of the count; says what is wrong with it.
    pub(super) fn take_up(&mut self, found: &str) -> Option<Result<(), String>> {
        let read = |name| safe::read(&self.folder.join(name), LENGTH_MAX).ok();
        let taken = match found {
            MOVED => {
                read(MOVED).and_then(|text| serde_json::from_str(&text).ok()).map(|moves| self.moves = moves)
            }
            UNSENT => read(UNSENT).and_then(|text| text.parse().ok()).map(|unsent| self.unsent = unsent),
            _ => return None,
        };
        Some(taken.ok_or_else(|| format!("the count of reports cannot be read: {found:?} of the spool")))
    }

    /// After a start that found everything below `next`: what is new from here on was never sent. Says which number is the next.
    pub(super) fn settle(&mut self, next: u64) -> u64 {
        // Files that went do not take the moves with them.
        let next = self.moves.last().map_or(next, |last| next.max(last.from));
        let known = self.unsent <= next;
        self.unsent = self.unsent.min(next);
        if !known {
            // Without it a second start before the daemon is heard takes what is new for sent.
            let (path, text) = (self.folder.join(UNSENT), self.unsent.to_string());
            if let Err(error) = safe::write(&path, &text, 0o600, Durability::Disk) {
                journal::log(Level::Error, &journal::chain(&error));
            }
        }
        next
    }

    /// On the link.
    pub(super) fn outside(&self, number: u64) -> u64 {
        let by = self.moves.iter().rfind(|one| one.from <= number).map_or(0, |one| one.by);
        number.saturating_add(by)
    }

    /// In the files: the last that is not after this one of the link.
    pub(super) fn inside(&self, number: u64) -> u64 {
        let mut most = u64::MAX;
        for Move { from, by } in self.moves.iter().rev() {
            if number >= from.saturating_add(*by) {
                return number.saturating_sub(*by).min(most);
            }
            most = from.saturating_sub(1);
        }
        number.min(most)
    }

    /// This one, of the link, is on its way.
    pub(super) fn sent(&mut self, number: u64) {
        self.unsent = self.unsent.max(self.inside(number).saturating_add(1));
    }

    /// The daemon has recorded everything up to `recorded`, and up to `way` more of what was sent may still reach it. If that is more
    /// than was ever sent from here, what was not gets numbers above these; which is the first of it in the files is in the answer. The
    /// daemon has confirmed what is up to `known` there.
    pub(super) fn hear(&mut self, (recorded, way): (u64, u64), known: u64) -> Option<u64> {
        let from = self.unsent;
        let behind = recorded >= self.outside(from) && recorded < NUMBER_MAX && self.moves.len() < MOVES_MAX;
        if behind {
            // Of those that name nothing that waits any more the last one counts.
            let over = self.moves.iter().filter(|one| one.from <= known.saturating_add(1)).count();
            self.moves.drain(..over.saturating_sub(1));
            self.moves.retain(|one| one.from < from);
            let next = recorded.saturating_add(way).saturating_add(1);
            self.moves.push(Move { from, by: next.saturating_sub(from) });
            self.noted = false;
        }
        if let Err(error) = self.note() {
            // It holds all the same; after another start some may be sent again under other numbers.
            journal::log(Level::Error, &journal::chain(&error));
        }
        behind.then_some(from)
    }

    fn note(&mut self) -> Result<(), SafeError> {
        if !self.noted {
            let text = serde_json::to_string(&self.moves).unwrap_or_default();
            safe::write(&self.folder.join(MOVED), &text, 0o600, Durability::Disk)?;
            self.noted = true;
        }
        if !self.heard {
            // Before anything is sent: a later start would take that for new.
            let path = self.folder.join(UNSENT);
            safe::remove(&path)?;
            safe::sync_parent(&path)?;
            self.heard = true;
        }
        Ok(())
    }
}
