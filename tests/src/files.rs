//! Files of a host, reached from outside without ever leaving its root.
//!
//! In: its root directory. Out: contents, atomically replaced files, copied trees.
//! Runs as: root. Spec: openat2(2) RESOLVE_IN_ROOT, rename(2).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, mkdirat, openat, openat2, renameat,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// Mode and owner of a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, set-id bits included.
    pub mode: u32,
    /// Owner, as the host counts (the bed has no user namespaces).
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Access {
    /// A file of root.
    #[must_use]
    pub const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }

    /// A file of a user whose group has the same number.
    #[must_use]
    pub const fn of(uid: u32, mode: u32) -> Self {
        Self { mode, uid, gid: uid }
    }
}

/// The root directory of a running host.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    pub(crate) fn open(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty()).context("cannot open the host's root")?))
    }

    /// Absolute links in the host mean the host's own root, never the machine's.
    pub(crate) fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        openat2(&self.0, inside, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let file =
            self.resolve(path, OFlags::RDONLY).with_context(|| format!("cannot open {}", path.display()))?;
        let mut bytes = Vec::new();
        File::from(file)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(bytes)
    }

    pub(crate) fn overwrite(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file =
            self.resolve(path, OFlags::WRONLY).with_context(|| format!("cannot open {}", path.display()))?;
        File::from(file).write_all(bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return true };
        self.directory(parent).is_ok_and(|dir| statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// Remove a file; that it is not there is no error.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        let (parent, name) = split(path)?;
        let gone = self.directory(parent).and_then(|dir| unlinkat(&dir, name, AtFlags::empty()));
        match gone {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// Make a directory with all above it; one that exists gets the given access.
    pub(crate) fn make_dir(&self, path: &Path, access: Access) -> Result<()> {
        let dir = self.directory_made(path)?;
        // fchmod needs a real descriptor, not an O_PATH one.
        let dir = openat(&dir, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        set(&dir, access).with_context(|| format!("cannot set the access of {}", path.display()))
    }

    /// A file appears whole or not at all; the name in between has a dot, which sudo skips.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8], access: Access) -> Result<()> {
        self.put(path, bytes, access).with_context(|| format!("cannot write {}", path.display()))
    }

    fn put(&self, path: &Path, bytes: &[u8], access: Access) -> Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.directory_made(parent)?;
        let between = format!(".testbed.{}", name.to_string_lossy());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&dir, between.as_str(), flags, Mode::from_raw_mode(0o600))?);
        file.write_all(bytes)?;
        set(&file, access)?;
        renameat(&dir, between.as_str(), &dir, name)?;
        Ok(())
    }

    /// Copy a file, or a directory with everything in it; all of it becomes root's, modes stay.
    pub(crate) fn copy_in(&self, from: &Path, to: &Path) -> Result<()> {
        let meta = from.symlink_metadata().with_context(|| format!("cannot read {}", from.display()))?;
        if meta.is_dir() {
            if !self.exists(to) {
                self.make_dir(to, Access::root(meta.mode() & 0o7777))?;
            }
            for entry in std::fs::read_dir(from)? {
                let entry = entry?;
                self.copy_in(&entry.path(), &to.join(entry.file_name()))?;
            }
            return Ok(());
        }
        if meta.is_symlink() {
            let (parent, name) = split(to)?;
            let dir = self.directory_made(parent)?;
            self.remove(to)?;
            return symlinkat(std::fs::read_link(from)?, &dir, name).context("cannot make a link");
        }
        let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(to, &bytes, Access::root(meta.mode() & 0o7777))
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn directory_made(&self, path: &Path) -> Result<OwnedFd> {
        match self.directory(path) {
            Err(Errno::NOENT) => {
                let (parent, name) = split(path)?;
                let above = self.directory_made(parent)?;
                mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                let made = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                // Whatever the umask of the test process.
                fchmod(&made, Mode::from_raw_mode(0o755))?;
                Ok(made)
            }
            other => other.with_context(|| format!("cannot open directory {}", path.display())),
        }
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    path.parent().zip(path.file_name()).with_context(|| format!("{} is not a file name", path.display()))
}

fn set(file: impl std::os::fd::AsFd, access: Access) -> Result<()> {
    fchown(&file, Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))?;
    // After the owner: chown clears set-id bits (chown(2)).
    fchmod(&file, Mode::from_raw_mode(access.mode))?;
    Ok(())
}
