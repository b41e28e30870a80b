//! Tells a person on every one of their terminals that a grant is about to end.
//!
//! In: a uid and a line of ours. Out: bytes on /dev/pts. Nothing but a terminal of that uid is opened for writing, and
//! nothing is waited for.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use elevate_protocol::id::ActivationId;
use elevate_protocol::time::Span;
use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

/// Most terminals told at a time.
const TERMINALS_MAX: usize = 64;

/// The line.
#[must_use]
pub(crate) fn text(id: ActivationId, left: Span) -> String {
    let id: String = id.to_string().chars().take(elevate_protocol::id::PREFIX_MIN).collect();
    format!("\r\nelevate: G-{id} ends in {left}. More time: elevate extend 30m\r\n")
}

/// The line when the daemon is not heard any more.
#[must_use]
pub(crate) fn lease_text(id: ActivationId, left: Span) -> String {
    let id: String = id.to_string().chars().take(elevate_protocol::id::PREFIX_MIN).collect();
    format!("\r\nelevate: no contact with the daemon. G-{id} ends in {left} unless it is back (lease)\r\n")
}

/// Writes `line` to every terminal of `uid`; how many were told.
pub(crate) fn tell(terminals: &Path, uid: u32, line: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(terminals) else { return 0 };
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_number))
        .filter(|entry| tell_one(&entry.path(), uid, line))
        .take(TERMINALS_MAX)
        .count()
}

fn tell_one(path: &Path, uid: u32, line: &str) -> bool {
    // Looked at before it is opened: opening a device can do things.
    let ours = |meta: &std::fs::Metadata| meta.file_type().is_char_device() && meta.uid() == uid;
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| ours(&meta)) {
        return false;
    }
    let open = OpenOptions::new()
        .write(true)
        .custom_flags(O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
        .open(path);
    let Ok(mut terminal) = open else { return false };
    if !terminal.metadata().is_ok_and(|meta| ours(&meta)) || !nix::unistd::isatty(&terminal).unwrap_or(false)
    {
        return false;
    }
    // One write, and not again: a stopped terminal takes what it has room for.
    terminal.write(line.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn only_terminals_of_that_uid_are_told() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = nix::unistd::ttyname(&pty.slave).unwrap();
        std::os::unix::fs::chown(&slave, Some(54_321), None).unwrap();
        let line = text(ActivationId::from_random([0x39; 16]), Span(300));
        assert_eq!(tell(Path::new("/dev/pts"), 54_321, &line), 1);
        let mut told = vec![0u8; 200];
        let count = std::fs::File::from(pty.master).read(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told[..count]).into_owned();
        assert!(told.contains("elevate: G-1S74 ends in 5m. More time: elevate extend 30m"), "{told:?}");
        assert_eq!(tell(Path::new("/dev/pts"), 54_322, &line), 0);
    }

    #[test]
    fn a11_a_file_or_fifo_among_the_terminals_is_not_written_to() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("3");
        std::fs::write(&file, "").unwrap();
        nix::unistd::mkfifo(&place.path().join("4"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/tty", place.path().join("5")).unwrap();
        assert_eq!(tell(place.path(), 0, "x"), 0);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    }
}
