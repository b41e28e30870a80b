//! Root's own files, opened so that nobody else's are read instead.
//!
//! In: a directory and a name. Out: bounded text of a plain file of uid 0 that only root can write. Symlinks, FIFOs, foreign
//! owners and open modes are refused (STYLE §6, threat A11). Nothing here waits: FIFOs are opened without blocking.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

/// Why a file of root's was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// There is nothing of that name, in a directory that could be looked into.
    #[error("there is none")]
    Missing,
    /// A symlink, a directory, a FIFO or a device.
    #[error("not a plain file or directory")]
    Kind,
    /// Of somebody else, or writable by somebody else.
    #[error("it belongs to somebody else or can be written by others")]
    Owner,
    /// Longer than it may be.
    #[error("too long")]
    Length,
    /// Not UTF-8.
    #[error("not text")]
    Text,
    /// The system refused.
    #[error("the system refused")]
    System {
        /// What it said.
        source: io::Error,
    },
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::ENOENT {
            Self::Missing
        } else if [Errno::ELOOP, Errno::ENOTDIR, Errno::ENXIO].contains(&errno) {
            Self::Kind
        } else {
            Self::System { source: errno.into() }
        }
    }
}

/// A directory of root's, held open so that names in it cannot move under the reader.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Whether only root can change what is in it.
    safe: bool,
    /// When a name in it, its owner or its mode last changed, since 1970.
    changed: Duration,
}

/// The text of a file and when it was written.
#[derive(Debug)]
pub(crate) struct Text {
    /// The text.
    pub(crate) text: String,
    /// Seconds since 1970 of the last write.
    pub(crate) written: i64,
}

impl Directory {
    /// Opens a directory; who owns it is asked by [`Directory::is_safe`] and by every read.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_at(AT_FDCWD, path)
    }

    /// Opens a directory in this one.
    pub(crate) fn enter(&self, name: &str) -> Result<Self, FileError> {
        Self::open_at(self.fd.as_fd(), Path::new(name))
    }

    fn open_at(at: impl AsFd, path: &Path) -> Result<Self, FileError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(at, path, flags, Mode::empty())?);
        let meta = file.metadata().map_err(|source| FileError::System { source })?;
        let safe = meta.uid() == 0 && meta.mode() & 0o022 == 0;
        let seconds = Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0));
        let changed =
            seconds.saturating_add(Duration::from_nanos(u64::try_from(meta.ctime_nsec()).unwrap_or(0)));
        Ok(Self { fd: file.into(), safe, changed })
    }

    /// Whether only root can change what is in it.
    pub(crate) fn is_safe(&self) -> bool {
        self.safe
    }

    /// When a name in it, its owner or its mode last changed, since 1970.
    pub(crate) fn changed(&self) -> Duration {
        self.changed
    }

    /// Makes its time of change the time of now, and changes nothing else.
    pub(crate) fn touch(&self) -> Result<(), FileError> {
        let mode = nix::sys::stat::fstat(&self.fd)?.st_mode;
        Ok(nix::sys::stat::fchmod(&self.fd, Mode::from_bits_truncate(mode & 0o7777))?)
    }

    /// Makes an empty directory for root alone in this one.
    pub(crate) fn make(&self, name: &str) -> Result<(), FileError> {
        Ok(nix::sys::stat::mkdirat(self.fd.as_fd(), name, Mode::S_IRWXU)?)
    }

    /// Reads a plain file of at most `most` bytes.
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Text, FileError> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(self.fd.as_fd(), name, flags, Mode::empty())?);
        let meta = file.metadata().map_err(|source| FileError::System { source })?;
        if !meta.is_file() {
            return Err(FileError::Kind);
        }
        if !self.safe || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(FileError::Owner);
        }
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| FileError::System { source })?;
        if u64::try_from(bytes.len()).map_or(true, |found| found > most) {
            return Err(FileError::Length);
        }
        let text = String::from_utf8(bytes).map_err(|_| FileError::Text)?;
        Ok(Text { text, written: meta.mtime() })
    }

    /// Device and inode of whatever has this name, a symlink itself included.
    pub(crate) fn identity(&self, name: &str) -> Result<(u64, u64), FileError> {
        let stat = nix::sys::stat::fstatat(self.fd.as_fd(), name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Removes a name; a symlink, not what it points to.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), FileError> {
        Ok(nix::unistd::unlinkat(self.fd.as_fd(), name, nix::unistd::UnlinkatFlags::NoRemoveDir)?)
    }
}

/// Reads a file by its path.
pub(crate) fn read(path: &Path, most: u64) -> Result<String, FileError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(FileError::Missing);
    };
    Directory::open(parent)?.read(name, most).map(|read| read.text)
}
