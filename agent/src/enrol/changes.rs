//! Changes to root's files that can be taken back, byte for byte, with owner, mode and time.
//!
//! In: paths and contents. Out: the change, and what stood there before, until [`Changes::keep`]. A value that is dropped without
//! `keep` or `undo` leaves the changes in place: the caller decides. Files by temporary name and rename; symlinks are refused.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};

/// Longest file that is kept to be put back, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Why a change was not made, or not taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that is no plain file of root.
    #[error("{} is not a plain file of root that only root can write", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
    },
    /// Too long to be what it should be.
    #[error("{} is longer than {FILE_MAX} bytes", path.display())]
    Length {
        /// Where.
        path: PathBuf,
    },
}

/// A file as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stood {
    bytes: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    modified: SystemTime,
}

impl Stood {
    /// What was in it.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

#[derive(Debug)]
enum Before {
    NoFile(PathBuf),
    NoFolder(PathBuf),
    File(PathBuf, Stood),
}

/// What was changed so far, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    before: Vec<Before>,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChangeError {
    move |source| ChangeError::Io { what, path: path.to_owned(), source }
}

/// Reads a plain file of root; none when there is none.
///
/// # Errors
/// [`ChangeError`] for anything else than a plain file that only root can write.
pub(crate) fn read(path: &Path) -> Result<Option<Stood>, ChangeError> {
    let opened = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) => {
            return Err(ChangeError::Kind { path: path.to_owned() });
        }
        Err(source) => return Err(failed("open", path)(source)),
    };
    let meta = file.metadata().map_err(failed("look at", path))?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(ChangeError::Kind { path: path.to_owned() });
    }
    if meta.len() > FILE_MAX {
        return Err(ChangeError::Length { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(FILE_MAX).read_to_end(&mut bytes).map_err(failed("read", path))?;
    let modified = meta.modified().map_err(failed("look at", path))?;
    Ok(Some(Stood { bytes, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), modified }))
}

impl Changes {
    /// Puts `text` at `path`. A file that is there keeps its owner and mode; a new one is root's with `mode`.
    ///
    /// # Errors
    /// [`ChangeError`]; what stood there then still stands.
    pub(crate) fn write(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), ChangeError> {
        let stood = read(path)?;
        let bytes = text.as_bytes().to_vec();
        let new = match &stood {
            Some(stood) => Stood { bytes, modified: SystemTime::UNIX_EPOCH, ..stood.clone() },
            None => Stood { bytes, mode, uid: 0, gid: 0, modified: SystemTime::UNIX_EPOCH },
        };
        place(path, &new, None)?;
        self.before.push(match stood {
            Some(stood) => Before::File(path.to_owned(), stood),
            None => Before::NoFile(path.to_owned()),
        });
        Ok(())
    }

    /// Removes the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), ChangeError> {
        if let Some(stood) = read(path)? {
            fs::remove_file(path).map_err(failed("remove", path))?;
            self.before.push(Before::File(path.to_owned(), stood));
        }
        Ok(())
    }

    /// Makes a folder, if there is none.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(crate) fn folder(&mut self, path: &Path, mode: u32) -> Result<(), ChangeError> {
        match fs::DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {
                fs::set_permissions(path, Permissions::from_mode(mode))
                    .map_err(failed("set the mode of", path))?;
                self.before.push(Before::NoFolder(path.to_owned()));
                Ok(())
            }
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) =>
            {
                Ok(())
            }
            Err(source) => Err(failed("create the folder", path)(source)),
        }
    }

    /// Says that somebody else may make a file at `path`: where there is none before, there is none after an undo.
    pub(crate) fn expect(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_err() {
            self.before.push(Before::NoFile(path.to_owned()));
        }
    }

    /// The changes stay.
    pub(crate) fn keep(self) {
        drop(self.before);
    }

    /// Takes every change back, the last one first, and goes on where one cannot be taken back.
    ///
    /// # Errors
    /// Everything that could not be put back.
    pub(crate) fn undo(self) -> Result<(), Vec<ChangeError>> {
        let mut errors = Vec::new();
        for before in self.before.into_iter().rev() {
            let done = match before {
                Before::NoFile(path) => gone(fs::remove_file(&path), "remove", &path),
                Before::NoFolder(path) => gone(fs::remove_dir(&path), "remove the folder", &path),
                Before::File(path, stood) => place(&path, &stood, Some(stood.modified)),
            };
            errors.extend(done.err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn gone(removed: io::Result<()>, what: &'static str, path: &Path) -> Result<(), ChangeError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(what, path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file under a name with a dot, which neither sudo nor libpam reads, and renames it into place.
fn place(path: &Path, new: &Stood, modified: Option<SystemTime>) -> Result<(), ChangeError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.elevate-new"));
    gone(fs::remove_file(&draft), "remove", &draft)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_CLOEXEC)
        .open(&draft)
        .map_err(failed("create", &draft))?;
    let written = fill(&mut file, new, modified).map_err(failed("write", &draft));
    let renamed = written.and_then(|()| fs::rename(&draft, path).map_err(failed("rename to", path)));
    if let Err(error) = renamed {
        gone(fs::remove_file(&draft), "remove", &draft)?;
        return Err(error);
    }
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent))
}

fn fill(file: &mut File, new: &Stood, modified: Option<SystemTime>) -> io::Result<()> {
    file.write_all(&new.bytes)?;
    fchown(&*file, Some(new.uid), Some(new.gid))?;
    file.set_permissions(Permissions::from_mode(new.mode))?;
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;

    fn facts(path: &Path) -> (Vec<u8>, u32, u32, SystemTime) {
        let meta = fs::metadata(path).unwrap();
        (fs::read(path).unwrap(), meta.mode(), meta.gid(), meta.modified().unwrap())
    }

    #[test]
    fn undo_puts_back_content_mode_group_and_time_and_removes_what_was_new() {
        let place = tempfile::tempdir().unwrap();
        let old = place.path().join("old");
        fs::write(&old, b"as it \xff was").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o440)).unwrap();
        chown(&old, None, Some(7)).unwrap();
        let gone = place.path().join("gone");
        fs::write(&gone, "x").unwrap();
        let before = (facts(&old), facts(&gone));
        let mut changes = Changes::default();
        changes.write(&old, "new", 0o644).unwrap();
        assert_eq!((fs::read(&old).unwrap(), facts(&old).1, facts(&old).2), (b"new".to_vec(), before.0.1, 7));
        changes.write(&old, "newer", 0o644).unwrap();
        changes.remove(&gone).unwrap();
        changes.folder(&place.path().join("folder"), 0o700).unwrap();
        changes.write(&place.path().join("folder/file"), "y", 0o600).unwrap();
        changes.expect(&place.path().join("made"));
        fs::write(place.path().join("made"), "by somebody else").unwrap();
        changes.undo().unwrap();
        assert_eq!((facts(&old), facts(&gone)), before);
        let mut names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["gone", "old"]);
    }

    #[test]
    fn a11_a_symlink_a_fifo_or_a_foreign_file_is_not_changed() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        fs::write(&target, "secret").unwrap();
        let name = place.path().join("name");
        std::os::unix::fs::symlink(&target, &name).unwrap();
        let refused =
            |changes: &mut Changes| matches!(changes.write(&name, "x", 0o644), Err(ChangeError::Kind { .. }));
        let mut changes = Changes::default();
        assert!(refused(&mut changes));
        fs::remove_file(&name).unwrap();
        nix::unistd::mkfifo(&name, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(refused(&mut changes));
        fs::remove_file(&name).unwrap();
        fs::write(&name, "x").unwrap();
        chown(&name, Some(2000), None).unwrap();
        assert!(refused(&mut changes));
        assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
    }

    #[test]
    fn what_cannot_be_put_back_is_told_and_the_rest_is_put_back() {
        let place = tempfile::tempdir().unwrap();
        let mut changes = Changes::default();
        let file = place.path().join("file");
        changes.write(&file, "x", 0o644).unwrap();
        let folder = place.path().join("folder");
        changes.folder(&folder, 0o755).unwrap();
        fs::write(folder.join("foreign"), "not ours").unwrap();
        let errors = changes.undo().unwrap_err();
        assert!(matches!(errors.as_slice(), [ChangeError::Io { path, .. }] if *path == folder), "{errors:?}");
        assert!(!file.exists() && folder.join("foreign").exists());
    }
}
