//! The witness: how far the log has come, in a file beside the database that is in no backup of the database.
//!
//! In: number and digest of the last event, after each commit. Out: at a start, that the database is [`Older`] than what was seen.
//! A witness that is behind says nothing, so it need not be synced: one that is ahead, differs or is gone does. Spec: docs/faults.md.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use elevate_protocol::digest::Digest;
use elevate_protocol::id::ClusterId;
use nix::libc;

use super::StoreError;

/// Below the data folder.
pub(crate) const WITNESS: &str = "witness";
const HEAD: &str = "elevate-witness 1";
/// Longer is none of ours.
const LENGTH_MAX: usize = 512;

/// A point of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number of the next event.
    pub(super) next: u64,
    /// Of the line of the last one; of nothing while there is none.
    pub(super) last: Digest,
}

/// What a witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) cluster: ClusterId,
    pub(super) mark: Mark,
}

/// Why the database is taken for an older one than the daemon had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Older {
    /// How many events there had been, if that is known.
    pub(crate) seen: Option<u64>,
    /// For people.
    pub(crate) why: String,
}

/// The file, open as long as the store is.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    path: PathBuf,
    /// It keeps what it says: the database beside it is not the one that it is of.
    held: AtomicBool,
    failing: AtomicBool,
}

impl Said {
    /// Always of the same length, so that it is written over in place and never half.
    fn to_text(self) -> String {
        let Self { cluster, mark: Mark { next, last } } = self;
        let text = format!("{HEAD}\ncluster {cluster}\nnext {next:020}\nlast {last}\n");
        format!("{text}check {}\n", Digest::of(text.as_bytes()))
    }

    /// None: it is damaged, or none of ours.
    fn from_text(text: &str) -> Option<Self> {
        fn value<T: FromStr>(line: Option<&str>, name: &str) -> Option<T> {
            line?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
        }
        let mut lines = text.lines();
        lines.next().filter(|line| *line == HEAD)?;
        let cluster = value(lines.next(), "cluster")?;
        let mark = Mark { next: value(lines.next(), "next")?, last: value(lines.next(), "last")? };
        let said = Self { cluster, mark };
        (said.to_text() == text).then_some(said)
    }
}

fn read(file: &File) -> io::Result<Option<Said>> {
    let mut bytes = [0u8; LENGTH_MAX];
    let mut length = 0usize;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let at = u64::try_from(length).unwrap_or(u64::MAX);
        match file.read_at(rest, at)? {
            0 => break,
            more => length = length.saturating_add(more),
        }
    }
    let text = bytes.get(..length).and_then(|read| std::str::from_utf8(read).ok());
    Ok(text.and_then(Said::from_text))
}

impl Witness {
    /// Opens it, makes an empty one when there is none.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(WITNESS);
        let mut open = OpenOptions::new();
        let opened = open
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        match opened {
            Ok(file) => {
                Ok(Self { file, path, held: AtomicBool::new(false), failing: AtomicBool::new(false) })
            }
            Err(source) => Err(StoreError::Open { path, source }),
        }
    }

    /// What it says; none: nothing that can be read.
    pub(super) fn said(&self) -> Result<Option<Said>, StoreError> {
        read(&self.file).map_err(|source| StoreError::Open { path: self.path.clone(), source })
    }

    /// What the one in a folder says, and nothing is made there; none: nothing that can be read.
    pub(super) fn said_in(folder: &Path) -> Result<Option<Said>, StoreError> {
        let path = folder.join(WITNESS);
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        match opened.and_then(|file| read(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            said => said.map_err(|source| StoreError::Open { path, source }),
        }
    }

    /// Writes it so that it outlives a power cut: before the database says that there is one.
    pub(super) fn settle(&self, said: Said) -> Result<(), StoreError> {
        // In place, as ever: whatever becomes of this, there is a witness. What was longer is none of ours.
        let length = u64::try_from(said.to_text().len()).unwrap_or(u64::MAX);
        let written = self.write(said).and_then(|()| self.file.set_len(length));
        let folder = || File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all();
        let synced = written.and_then(|()| self.file.sync_all()).and_then(|()| folder());
        synced.map_err(|source| StoreError::Open { path: self.path.clone(), source })
    }

    /// The log has come this far. What cannot be written is said once: the database is durable without it.
    pub(super) fn note(&self, said: Said) {
        if self.is_held() {
            return;
        }
        match self.write(said) {
            Ok(()) => self.failing.store(false, Ordering::SeqCst),
            Err(error) => {
                if !self.failing.swap(true, Ordering::SeqCst) {
                    let path = self.path.display();
                    crate::log::error(&format!("the witness {path} cannot be written: {error}"));
                }
            }
        }
    }

    fn write(&self, said: Said) -> io::Result<()> {
        self.file.write_all_at(said.to_text().as_bytes(), 0)
    }

    /// Whether it keeps what it says.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Whether it keeps what it says from now on.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(next: u64) -> Said {
        Said {
            cluster: ClusterId::from_random([1; 16]),
            mark: Mark { next, last: Digest::of(&next.to_be_bytes()) },
        }
    }

    #[test]
    fn what_a_witness_says_reads_back_and_always_has_the_same_length() {
        let place = tempfile::tempdir().unwrap();
        let witness = Witness::open(place.path()).unwrap();
        assert_eq!(witness.said().unwrap(), None);
        witness.settle(said(0)).unwrap();
        let length = std::fs::metadata(place.path().join(WITNESS)).unwrap().len();
        for next in [9, 10, u64::MAX, 7] {
            witness.note(said(next));
            assert_eq!(witness.said().unwrap(), Some(said(next)));
            assert_eq!(std::fs::metadata(place.path().join(WITNESS)).unwrap().len(), length);
        }
        witness.hold(true);
        witness.note(said(8));
        assert_eq!(witness.said().unwrap(), Some(said(7)), "held");
    }

    #[test]
    fn a_witness_cut_or_changed_anywhere_says_nothing() {
        let whole = said(7).to_text();
        for length in 0..whole.len() {
            assert_eq!(Said::from_text(&whole[..length]), None, "{length}");
        }
        for place in 0..whole.len() {
            let mut other = whole.clone().into_bytes();
            other[place] ^= 1;
            assert_eq!(Said::from_text(&String::from_utf8(other).unwrap()), None, "{place}");
        }
        assert_eq!(Said::from_text(&format!("{whole}more\n")), None);
    }

    #[test]
    fn a_witness_that_is_a_symlink_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let elsewhere = place.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, place.path().join(WITNESS)).unwrap();
        assert!(matches!(Witness::open(place.path()), Err(StoreError::Open { .. })));
        assert!(!elsewhere.exists());
    }
}
