//! One daemon per folder, and nobody else in its files: an advisory lock on `elevated.lock`, held as long as the value lives.
//!
//! In: a folder. Out: [`StoreLock`], or who has it. The kernel gives it up when the process ends, however it ends.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::StoreError;

/// The folder is ours.
#[derive(Debug)]
pub(crate) struct StoreLock(Flock<File>);

impl StoreLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when somebody has it, [`StoreError::Open`] when the file cannot be made.
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("elevated.lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| StoreError::Open { path: path.clone(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                // For an administrator's eyes only; nobody reads it back. On a full disk there may be no room for it.
                drop(held.set_len(0).and_then(|()| writeln!(*held, "{}", std::process::id())));
                Ok(Self(held))
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StoreError::InUse { path }),
            Err((_, errno)) => Err(StoreError::Open { path, source: errno.into() }),
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // The kernel unlocks when the file closes; emptying it first is for the eye and may fail.
        let emptied = self.0.set_len(0);
        drop(emptied);
    }
}

/// Nobody else reads the database, whatever the umask is; SQLite gives its -wal and -shm files the same mode.
pub(super) fn private(path: &Path) -> io::Result<()> {
    let mut open = OpenOptions::new();
    let file = open
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}
