//! Files and folders of root, touched so that nothing planted there is followed, blocked on or widened (threats A11, A13).
//!
//! In: paths below our own folders. Out: contents that are exactly what root wrote. Spec: STYLE §6.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};

/// Why a file or folder was not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SafeError {
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
    /// A symlink, FIFO, device or folder where a file should be, or a file where a folder should be.
    #[error("{} is not {expected}", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// Not root's.
    #[error("{} belongs to uid {owner}, not to root", path.display())]
    Owner {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Group or others may change it.
    #[error("{} can be changed by others (mode {mode:04o})", path.display())]
    Mode {
        /// Where.
        path: PathBuf,
        /// The mode bits.
        mode: u32,
    },
    /// Another name leads to the same file.
    #[error("{} has a second name", path.display())]
    Linked {
        /// Where.
        path: PathBuf,
    },
    /// Longer than such a file ever is.
    #[error("{} is longer than {most} bytes", path.display())]
    Length {
        /// Where.
        path: PathBuf,
        /// Bytes allowed.
        most: u64,
    },
}

impl SafeError {
    /// Whether no descriptor was left to look with: that says nothing about the file.
    #[must_use]
    pub(crate) fn is_want_of_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE))
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SafeError {
    move |source| SafeError::Io { what, path: path.to_owned(), source }
}

/// Makes sure that `path` is a folder of root with exactly `mode`, below folders that only root can change. Creates it
/// and puts a wrong mode right; true when it had to.
///
/// # Errors
/// [`SafeError`] for anything that cannot be put right: a symlink, another owner, a parent that others can change.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<bool, SafeError> {
    if let Some(parent) = path.parent() {
        let meta = fs::metadata(parent).map_err(io_error("look at", parent))?;
        check_owner(parent, &meta)?;
        // A sticky folder such as /tmp lets nobody else rename what is root's.
        if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
            return Err(SafeError::Mode { path: parent.to_owned(), mode: meta.mode() & 0o7777 });
        }
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(SafeError::Io { what: "create", path: path.to_owned(), source }),
    }
    let meta = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if !meta.is_dir() {
        return Err(SafeError::Kind { path: path.to_owned(), expected: "a folder" });
    }
    check_owner(path, &meta)?;
    let wrong = meta.mode() & 0o7777 != mode;
    if wrong {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))?;
    }
    Ok(wrong)
}

/// Makes now the time at which a folder of ours last changed (its ctime), and changes nothing else.
///
/// # Errors
/// [`SafeError::Io`].
pub(crate) fn touch(folder: &Path) -> Result<(), SafeError> {
    // chmod(2) marks the ctime whether or not the mode was another.
    let mode = fs::symlink_metadata(folder).map_err(io_error("look at", folder))?.permissions();
    fs::set_permissions(folder, mode).map_err(io_error("mark", folder))
}

fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<(), SafeError> {
    if meta.uid() == 0 { Ok(()) } else { Err(SafeError::Owner { path: path.to_owned(), owner: meta.uid() }) }
}

/// Reads a file of root that only root can change, without following or blocking on anything.
///
/// # Errors
/// [`SafeError`] that says what is wrong with it; a missing file is [`SafeError::Io`] with `NotFound`.
pub(crate) fn read(path: &Path, most: u64) -> Result<String, SafeError> {
    let text = String::from_utf8(read_bytes(path, most)?);
    let not_text = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    text.map_err(|error| io_error("read", path)(not_text(error)))
}

/// The same for bytes that need not be text.
///
/// # Errors
/// See [`read`].
pub(crate) fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, SafeError> {
    let mut open = OpenOptions::new();
    let (mut file, meta) =
        open_plain(open.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), path)?;
    // One more than it has, so that its end is seen with the first read.
    let room = meta.len().min(most).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    let limit = most.saturating_add(1);
    let count =
        Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if u64::try_from(count).unwrap_or(u64::MAX) > most {
        return Err(SafeError::Length { path: path.to_owned(), most });
    }
    Ok(bytes)
}

/// Opens a plain file of root that only root can change and that has no other name.
fn open_plain(open: &OpenOptions, path: &Path) -> Result<(File, fs::Metadata), SafeError> {
    let file = open.open(path).map_err(|source| match source.raw_os_error() {
        // ELOOP: a symlink; ENXIO: a socket or a device without its other end.
        Some(nix::libc::ELOOP | nix::libc::ENXIO) => {
            SafeError::Kind { path: path.to_owned(), expected: "a plain file" }
        }
        _ => SafeError::Io { what: "open", path: path.to_owned(), source },
    })?;
    let meta = file.metadata().map_err(io_error("look at", path))?;
    if !meta.is_file() {
        return Err(SafeError::Kind { path: path.to_owned(), expected: "a plain file" });
    }
    check_owner(path, &meta)?;
    if meta.mode() & 0o022 != 0 {
        return Err(SafeError::Mode { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    // None: it was replaced after it was opened, and what is read is the whole text of before.
    if meta.nlink() > 1 {
        return Err(SafeError::Linked { path: path.to_owned() });
    }
    Ok((file, meta))
}

/// Opens a file to append to, and says how long it is. One that is not there is made, and its name is durable.
///
/// # Errors
/// [`SafeError`].
pub(crate) fn open_to_append(path: &Path, mode: u32) -> Result<(File, u64), SafeError> {
    let mut open = OpenOptions::new();
    open.append(true).mode(mode).custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    match open_plain(&open, path) {
        Err(SafeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let (file, meta) = open_plain(open.create_new(true), path)?;
            sync_parent(path)?;
            Ok((file, meta.len()))
        }
        opened => opened.map(|(file, meta)| (file, meta.len())),
    }
}

/// Whether the write must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On a disk: the file and then its folder are synced.
    Disk,
    /// On tmpfs there is nothing to sync.
    Memory,
}

/// Puts `text` at `path` in one step: a new file under a name with a dot, which sudo never reads, then rename(2).
/// Whatever stood there under the final name is replaced, never written through.
///
/// # Errors
/// [`SafeError`]; the old content then still stands.
pub(crate) fn write(path: &Path, text: &str, mode: u32, durability: Durability) -> Result<(), SafeError> {
    draft(path, text.as_bytes(), mode, durability)?.place()
}

/// A file that is whole, under the name that it does not keep.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    path: &'a Path,
    file: PathBuf,
    durability: Durability,
}

/// The first half of [`write()`]: what is to stand at `path`, beside it, for whoever looks at it before it counts.
///
/// # Errors
/// [`SafeError`].
pub(crate) fn draft<'a>(
    path: &'a Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<Draft<'a>, SafeError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.new"));
    remove(&draft)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(O_NOFOLLOW | O_CLOEXEC)
        .open(&draft)
        .map_err(io_error("create", &draft))?;
    // The umask may have taken bits away, never added any.
    file.set_permissions(Permissions::from_mode(mode)).map_err(io_error("set the mode of", &draft))?;
    file.write_all(bytes).map_err(io_error("write", &draft))?;
    if durability == Durability::Disk {
        file.sync_all().map_err(io_error("sync", &draft))?;
    }
    Ok(Draft { path, file: draft, durability })
}

impl Draft<'_> {
    /// Where it is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// It counts from here on.
    ///
    /// # Errors
    /// [`SafeError`].
    pub(crate) fn place(self) -> Result<(), SafeError> {
        let Self { path, file, durability } = self;
        if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
            remove(path)?;
        }
        fs::rename(&file, path).map_err(io_error("rename to", path))?;
        if durability == Durability::Disk { sync_parent(path) } else { Ok(()) }
    }
}

/// Removes whatever stands at `path`, a whole folder too, never what it points to. Nothing there is fine.
///
/// # Errors
/// [`SafeError`] when it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<(), SafeError> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SafeError::Io { what: "remove", path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names of a folder durable.
///
/// # Errors
/// [`SafeError::Io`].
pub(crate) fn sync_parent(path: &Path) -> Result<(), SafeError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error("sync", parent))
}

/// The names in a folder, sorted.
///
/// # Errors
/// [`SafeError::Io`].
pub(crate) fn names(path: &Path) -> Result<Vec<std::ffi::OsString>, SafeError> {
    let entries = fs::read_dir(path).map_err(io_error("list", path))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(io_error("list", path))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Whether exactly this file stands there: plain, root's, this mode, one name, this text.
#[must_use]
pub(crate) fn is_exactly(path: &Path, text: &str, mode: u32) -> bool {
    let most = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let meta = fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.mode() & 0o7777 == mode && !meta.file_type().is_fifo())
        && read(path, most).is_ok_and(|found| found == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// HOSTS §3: sudo follows what it finds; we must not.
    #[test]
    fn a11_nothing_planted_under_our_names_is_followed_or_blocked_on() {
        let place = place();
        let target = place.path().join("shadow");
        fs::write(&target, "secret").unwrap();
        let name = place.path().join("u2000");
        let draft = place.path().join(".u2000.new");
        for planted in [&name, &draft] {
            let plants: [fn(&Path, &Path); 4] = [
                |at, target| symlink(target, at).unwrap(),
                |at, _| nix::unistd::mkfifo(at, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap(),
                |at, _| {
                    fs::create_dir(at).unwrap();
                    fs::write(at.join("inside"), "x").unwrap();
                },
                |at, target| fs::hard_link(target, at).unwrap(),
            ];
            for plant in plants {
                remove(planted).unwrap();
                plant(planted, &target);
                if planted == &name {
                    assert!(read(&name, 100).is_err(), "a planted file was read");
                }
                assert!(!is_exactly(planted, "secret", 0o644) || planted != &name);
                write(&name, "ours", 0o440, Durability::Memory).unwrap();
                assert_eq!(read(&name, 100).unwrap(), "ours");
                assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
                assert_eq!(fs::metadata(&target).unwrap().nlink(), 1);
            }
        }
    }

    #[test]
    fn a13_folders_and_files_have_their_modes_whatever_the_umask_and_what_was_there() {
        let place = place();
        let folder_path = place.path().join("sudoers.d");
        assert!(!folder(&folder_path, 0o755).unwrap() || fs::metadata(&folder_path).is_ok());
        fs::set_permissions(&folder_path, Permissions::from_mode(0o777)).unwrap();
        assert!(folder(&folder_path, 0o755).unwrap(), "a mode was put right");
        assert_eq!(fs::metadata(&folder_path).unwrap().mode() & 0o7777, 0o755);
        let inner = folder_path.join("x");
        fs::set_permissions(&folder_path, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(folder(&inner, 0o700), Err(SafeError::Mode { mode: 0o777, .. })));
        fs::set_permissions(&folder_path, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&folder_path, Some(2000), None).unwrap();
        assert!(matches!(folder(&folder_path, 0o755), Err(SafeError::Owner { owner: 2000, .. })));
        let link = place.path().join("link");
        symlink(place.path(), &link).unwrap();
        assert!(matches!(folder(&link, 0o755), Err(SafeError::Kind { .. })));
        let file = place.path().join("u2000");
        write(&file, "x", 0o440, Durability::Disk).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o440);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(&file, 10), Err(SafeError::Mode { .. })));
    }

    #[test]
    fn a_file_longer_than_it_may_be_is_refused() {
        let place = place();
        let file = place.path().join("x");
        write(&file, "12345", 0o600, Durability::Memory).unwrap();
        assert_eq!(read(&file, 5).unwrap(), "12345");
        assert!(matches!(read(&file, 4), Err(SafeError::Length { most: 4, .. })));
    }
}
