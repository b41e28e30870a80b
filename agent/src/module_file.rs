//! Whether a file can be loaded as a library by this machine's programs: whole, and of their kind.
//!
//! In: a path. Out: yes or no, without loading it. Runs as: root. Spec: elf(5).
//! A module cut by a full disk, or of another architecture, is skipped by libpam (`module_unknown=ignore`), and so is the gate.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a header of 64-bit ELF; of 32-bit the first 52.
const HEADER: usize = 64;
/// What must be the same as in our own program: magic, class, byte order.
const IDENT: usize = 6;
const CLASS_64: u8 = 2;
/// `ET_DYN`.
const SHARED: u64 = 3;

/// Whether `path` is a shared object for programs like this one, with nothing cut off.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn is_loadable(path: &Path) -> io::Result<bool> {
    let ours = Header::of(&File::open("/proc/self/exe")?)?;
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let Ok(theirs) = Header::of(&file) else { return Ok(false) };
    let alike = theirs.ident == ours.ident && theirs.machine == ours.machine && theirs.kind == SHARED;
    // The section table is what linkers write last: a cut file lacks it.
    Ok(alike && theirs.end.is_some_and(|end| end <= size))
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    ident: [u8; IDENT],
    kind: u64,
    machine: u64,
    end: Option<u64>,
}

impl Header {
    fn of(file: &File) -> io::Result<Self> {
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, 0)?;
        let (ident, _) = bytes.split_first_chunk::<IDENT>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let little = ident.get(5) == Some(&1);
        let number = |at: usize, len: usize| {
            let field = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
            let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
            if little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) }
        };
        let wide = ident.get(4) == Some(&CLASS_64);
        let (offset, entry, count) = if wide {
            (number(40, 8), number(58, 2), number(60, 2))
        } else {
            (number(32, 4), number(46, 2), number(48, 2))
        };
        let end = entry.checked_mul(count).and_then(|table| table.checked_add(offset));
        Ok(Self { ident: *ident, kind: number(16, 2), machine: number(18, 2), end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_only_a_whole_library_of_this_machine_is_loadable() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("libc"))
            .unwrap();
        assert!(is_loadable(Path::new(libc)).unwrap());
        let whole = std::fs::read(libc).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("module.so");
        for cut in [0, 10, 63, 64, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(!is_loadable(&path).unwrap(), "cut at {cut}");
        }
        for (at, byte) in [(0, b'x'), (4, 1), (18, 40), (16, 2)] {
            let mut other = whole.clone();
            other[at] = byte;
            std::fs::write(&path, &other).unwrap();
            assert!(!is_loadable(&path).unwrap(), "byte {at}");
        }
        assert!(is_loadable(&dir.path().join("none")).is_err());
    }
}
