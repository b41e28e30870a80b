//! A file of lines that only grows, until another one takes its place.
//!
//! In: lines. Out: the whole ones, in order, after whatever crash. A line that was cut off, or that the disk refused, is none and
//! spoils none after it. Threats A11, R02; docs/decisions/0027.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::safe::{self, Durability, SafeError};

/// Mode of the file.
const MODE: u32 = 0o600;

/// The file.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    /// Open once something was appended.
    file: Option<File>,
    /// Bytes up to the end of the last line that was taken.
    length: u64,
    /// There may be a part of a line after that, to be cut off before the next.
    torn: bool,
}

impl Lines {
    /// One that is not there yet.
    #[must_use]
    pub(crate) fn begin(path: PathBuf) -> Self {
        Self { path, file: None, length: 0, torn: false }
    }

    /// Reads what is there: the whole lines. A rest that is none is cut off before the next one is appended.
    ///
    /// # Errors
    /// [`SafeError`] when there is something that cannot be read or is longer than `most` bytes. Nothing there is no error.
    pub(crate) fn load(path: PathBuf, most: u64) -> Result<(Self, Vec<String>), SafeError> {
        let bytes = read_bytes(&path, most)?;
        let whole = whole(&bytes);
        let length = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let torn = whole.len() < bytes.len();
        Ok((Self { path, file: None, length, torn }, lines_of(whole)))
    }

    /// Bytes that it takes.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends one line, without its end.
    ///
    /// # Errors
    /// [`SafeError`]; the line is not there then, or as good as.
    pub(crate) fn append(&mut self, line: &str, durability: Durability) -> Result<(), SafeError> {
        let text = format!("{line}\n");
        let path = self.path.clone();
        let io = |what| move |source| SafeError::Io { what, path, source };
        let before = self.ready()?;
        let mut file =
            self.file.as_ref().ok_or(SafeError::Kind { path: self.path.clone(), expected: "open" })?;
        let done = match (file.write_all(text.as_bytes()), durability) {
            (Err(source), _) => Err(io("write")(source)),
            (Ok(()), Durability::Disk) => file.sync_data().map_err(io("sync")),
            (Ok(()), Durability::Memory) => Ok(()),
        };
        match done {
            Ok(()) => self.length = before.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            // What it left must never be read as a line.
            Err(_) => self.torn = file.set_len(before).is_err(),
        }
        done
    }

    /// Opens the file, whatever became of the one that was open, and cuts off what is no line. Says where the next one begins.
    fn ready(&mut self) -> Result<u64, SafeError> {
        let there = self.file.take().filter(|file| file.metadata().is_ok_and(|meta| meta.nlink() == 1));
        let file = match there {
            Some(file) => file,
            None => {
                let (file, length) = safe::open_to_append(&self.path, MODE)?;
                self.length = if self.torn { self.length.min(length) } else { length };
                file
            }
        };
        if self.torn {
            let path = self.path.clone();
            file.set_len(self.length).map_err(|source| SafeError::Io { what: "cut", path, source })?;
            self.torn = false;
        }
        self.file = Some(file);
        Ok(self.length)
    }
}

/// The whole lines of such a file.
///
/// # Errors
/// See [`Lines::load`].
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<String>, SafeError> {
    Ok(lines_of(whole(&read_bytes(path, most)?)))
}

fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, SafeError> {
    match safe::read_bytes(path, most) {
        Err(SafeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// What is there up to the end of the last line.
fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last.saturating_add(1));
    bytes.get(..end).unwrap_or_default()
}

fn lines_of(whole: &[u8]) -> Vec<String> {
    let pieces = whole.split(|byte| *byte == b'\n').filter(|piece| !piece.is_empty());
    pieces.map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        (place, path)
    }

    fn read(path: &Path) -> Vec<String> {
        Lines::load(path.to_owned(), 1000).unwrap().1
    }

    #[test]
    fn r02_a_line_that_was_cut_off_anywhere_is_none_and_spoils_none_after_it() {
        let whole = "first\nsecond é\n";
        for cut in 0..=whole.len() {
            let (_place, path) = place();
            std::fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
            let (mut lines, before) = Lines::load(path.clone(), 1000).unwrap();
            assert_eq!(before.len(), whole.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count());
            lines.append("third", Durability::Disk).unwrap();
            lines.append("fourth", Durability::Memory).unwrap();
            let wanted: Vec<String> = before.into_iter().chain(["third".into(), "fourth".into()]).collect();
            assert_eq!(read(&path), wanted, "{cut}");
        }
    }

    #[test]
    fn a_file_that_goes_while_it_is_open_is_made_again() {
        let (place, path) = place();
        let (mut lines, _) = Lines::load(path.clone(), 1000).unwrap();
        lines.append("first", Durability::Disk).unwrap();
        std::fs::remove_file(&path).unwrap();
        lines.append("second", Durability::Disk).unwrap();
        assert_eq!(read(&path), ["second"]);
        std::fs::remove_dir_all(place.path()).unwrap();
        assert!(lines.append("third", Durability::Disk).is_err());
        std::fs::create_dir(place.path()).unwrap();
        lines.append("fourth", Durability::Disk).unwrap();
        assert_eq!(read(&path), ["fourth"]);
    }

    #[test]
    fn a11_what_is_planted_there_is_not_written_to() {
        let (place, path) = place();
        let target = place.path().join("target");
        std::fs::write(&target, "secret").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(Lines::load(path.clone(), 1000).is_err());
        std::fs::remove_file(&path).unwrap();
        let (mut lines, _) = Lines::load(path.clone(), 1000).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(lines.append("first", Durability::Disk).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&target, &path).unwrap();
        assert!(lines.append("first", Durability::Disk).is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "secret");
    }
}
