//! Room for what has to be written although the disk is full: a file that is nothing but room.
//!
//! In: how much is free. Out: whether something new may begin. Spec: docs/faults.md "A full disk", docs/decisions/0033; threat R05.
//! It is given up piece by piece: whoever filled the disk takes what becomes free too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::posix_fallocate;
use nix::libc;
use nix::sys::statvfs::statvfs;
use tokio::sync::Notify;

const MIB: u64 = 1024 * 1024;
/// All of it, in bytes.
const RESERVE: u64 = 8 * MIB;
/// Given up at a time.
const PIECE: u64 = MIB;
/// How often.
pub(super) const PIECES: u64 = RESERVE / PIECE;
/// The disk is full with less than this free. A change with its events writes less.
const NEEDED: u64 = MIB;
/// Of a file that keeps its own size, blocks(2) are of this many bytes.
const BLOCK: u64 = 512;
/// Beside the database.
const NAME: &str = "reserve";

/// The file, and what is left of it.
struct Held {
    file: Option<File>,
    length: u64,
    /// What was said to be wrong with it.
    trouble: Option<io::ErrorKind>,
}

/// The room that is kept.
pub(crate) struct Room {
    folder: PathBuf,
    held: Mutex<Held>,
    short: AtomicBool,
    changed: Notify,
}

impl Room {
    /// Makes the reserve in `folder`, or takes up what an earlier daemon left of it. That there is none is no error: then nothing new begins.
    pub(super) fn of(folder: &Path) -> Self {
        let held = Held { file: None, length: 0, trouble: None };
        let room = Self {
            folder: folder.to_owned(),
            held: Mutex::new(held),
            short: AtomicBool::new(true),
            changed: Notify::new(),
        };
        if room.look() {
            // A database that is opened needs room too.
            room.before_a_change();
        }
        room
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk is full, as of the last look.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::SeqCst)
    }

    /// Where.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns when the disk was found full.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks at the disk, makes the reserve whole where it can; whether the disk is full.
    pub(crate) fn look(&self) -> bool {
        let mut held = self.held();
        let free = free(&self.folder);
        let was = self.is_short();
        let short = if was || held.length < RESERVE {
            let missing = RESERVE.saturating_sub(held.length);
            // More than was missing: what has room by a hair is full again with the next change.
            let fits = free >= missing.saturating_add(NEEDED).saturating_add(NEEDED);
            // Also to take up what is there: how much of it has room is seen by opening it.
            let made = (fits || held.file.is_none()) && held.is_made(&self.folder.join(NAME), free);
            !made
        } else {
            free < NEEDED
        };
        drop(held);
        self.note(short);
        short
    }

    /// Before something is written that has to be: gives a piece up where there is no room for it.
    pub(super) fn before_a_change(&self) {
        if free(&self.folder) < NEEDED {
            self.give_way();
        }
    }

    /// Gives a piece up. False when there is none.
    pub(super) fn give_way(&self) -> bool {
        self.note(true);
        self.held().shrink()
    }

    fn note(&self, short: bool) {
        if self.short.swap(short, Ordering::SeqCst) != short {
            self.changed.notify_one();
        }
    }

    /// Bytes that can be written at most, with all of the reserve.
    pub(super) fn left(&self) -> u64 {
        free(&self.folder).saturating_add(self.held().length)
    }
}

impl Held {
    /// Makes it whole. Why it cannot be is said once, unless it is that there is no room.
    fn is_made(&mut self, path: &Path, free: u64) -> bool {
        let error = match self.make(path, free) {
            Ok(()) => {
                self.trouble = None;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return false,
            Err(error) => error,
        };
        if self.trouble.replace(error.kind()) != Some(error.kind()) {
            let path = path.display();
            crate::log::error(&format!("nothing new begins: the reserve {path} cannot be made: {error}"));
        }
        false
    }

    /// Opens the file and makes it whole: all of it has its place on the disk, which a copy of it has not.
    fn make(&mut self, path: &Path, free: u64) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)?,
        };
        let length = |file: &File| {
            let meta = file.metadata()?;
            Ok::<u64, io::Error>(meta.blocks().saturating_mul(BLOCK).min(meta.len()).min(RESERVE))
        };
        self.length = length(&file)?;
        let file = self.file.insert(file);
        if free < RESERVE.saturating_sub(self.length).saturating_add(NEEDED) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let whole = i64::try_from(RESERVE).map_err(io::Error::other)?;
        let done = posix_fallocate(&*file, 0, whole)
            .map_err(io::Error::from)
            .and_then(|()| file.set_len(RESERVE))
            .and_then(|()| file.sync_all());
        self.length = length(file).unwrap_or_default();
        done
    }

    fn shrink(&mut self) -> bool {
        let Some(file) = &self.file else { return false };
        let left = self.length.saturating_sub(PIECE);
        if self.length == 0 || file.set_len(left).is_err() {
            return false;
        }
        self.length = left;
        // A journalling file system has the room when it has written that it is free.
        file.sync_all().is_ok()
    }
}

/// Bytes that the daemon may write. Where nobody says how many, there is no end of them.
fn free(folder: &Path) -> u64 {
    match statvfs(folder) {
        Ok(said) if said.blocks() > 0 => said.blocks_available().saturating_mul(said.fragment_size()),
        Ok(_) | Err(_) => u64::MAX,
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
