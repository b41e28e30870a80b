//! Processes of this host as the kernel tells of them: which there are, whose children, of which login session of the audit subsystem.
//!
//! In: /proc. Out: [`Process`]es that cannot be taken for others, and pidfds of them. Runs as: root.
//! Spec: proc_pid_stat(5), pidfd_open(2), `sessionid` in Documentation/ABI/testing/procfs-… (pam_loginuid(8) begins one).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Fields of proc_pid_stat(5), counted from the one behind the name: state, parent, start.
const STATE: usize = 0;
const PARENT: usize = 1;
const BEGAN: usize = 19;
/// How many of the newest processes are looked at one by one.
const NEWEST: u32 = 16;
/// What the kernel says of a process that no login has begun.
const NO_SESSION: u32 = u32::MAX;

/// One process and no later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// When it began, in clock ticks since the machine started.
    pub(crate) began: u64,
}

/// What the kernel says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which.
    pub(crate) process: Process,
    /// Its name; whoever it is may have chosen it.
    pub(crate) name: String,
    /// Who started it, or took it over.
    pub(crate) parent: u32,
}

impl Process {
    /// Whether it surely runs.
    #[must_use]
    pub(crate) fn is_there(self) -> bool {
        look(self.pid).is_some_and(|seen| seen.process == self)
    }

    /// Whether it surely runs no more. Neither holds where nobody can look (threat R07).
    #[must_use]
    pub(crate) fn is_gone(self) -> bool {
        seen(self.pid).is_ok_and(|seen| seen.is_none_or(|seen| seen.process != self))
    }

    /// A descriptor of it, which stays its own whoever gets its number.
    #[must_use]
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let opened = open(self.pid)?;
        // Opened first and looked at then: what is there now is what was opened.
        self.is_there().then_some(opened)
    }
}

/// Whether processes can be opened here, by the one that surely is there. Without a descriptor left it is not known, and taken for yes: that
/// passes.
#[must_use]
pub(crate) fn can_open() -> bool {
    let own = rustix::process::getpid();
    match pidfd_open(own, PidfdFlags::empty()) {
        Ok(_) | Err(Errno::MFILE | Errno::NFILE) => true,
        Err(_) => false,
    }
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Sends a signal to what was opened, if it is still there.
pub(crate) fn signal(opened: &OwnedFd, signal: Signal) {
    // What is gone needs none.
    pidfd_send_signal(opened, signal).ok();
}

/// The process of this number; none when it is not there, dead already, or cannot be looked at.
#[must_use]
pub(crate) fn look(pid: u32) -> Option<Seen> {
    seen(pid).ok()?
}

fn seen(pid: u32) -> io::Result<Option<Seen>> {
    Ok(file(pid, "stat")?.and_then(|stat| read(pid, &stat)))
}

/// A file of a process; none when the process is gone, or the kernel has no such file. A name that is no UTF-8 (prctl(2)
/// `PR_SET_NAME` takes any bytes) hides nobody.
fn file(pid: u32, name: &str) -> io::Result<Option<String>> {
    match fs::read(format!("/proc/{pid}/{name}")) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One line of proc_pid_stat(5). The name is in parentheses and may hold anything, so what is read comes behind the last of those.
fn read(pid: u32, stat: &str) -> Option<Seen> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().take(BEGAN.saturating_add(1)).collect();
    let is_dead = matches!(fields.get(STATE).copied(), Some("Z" | "X") | None);
    let parent = fields.get(PARENT)?.parse().ok()?;
    let began = fields.get(BEGAN)?.parse().ok()?;
    (!is_dead).then(|| Seen { process: Process { pid, began }, name: name.to_owned(), parent })
}

/// The login session of a process; none where no login began it, or the kernel counts none.
#[must_use]
pub(crate) fn session(pid: u32) -> Option<u32> {
    try_session(pid).ok()?
}

/// The same, where not to know matters.
///
/// # Errors
/// It cannot be looked at.
pub(crate) fn try_session(pid: u32) -> io::Result<Option<u32>> {
    let text = file(pid, "sessionid")?;
    Ok(text.and_then(|text| text.trim().parse().ok()).filter(|session| *session != NO_SESSION))
}

/// Those of the newest processes that are of one of these login sessions, opened, with their session. Who forks and exits without end is
/// gone before a look at all comes to it, and always among the newest.
pub(crate) fn newest_of(is_one: impl Fn(u32) -> bool) -> Vec<(u32, OwnedFd)> {
    let Some(last) = last() else { return Vec::new() };
    (last.saturating_sub(NEWEST).max(2)..=last.saturating_add(1))
        .filter_map(|pid| {
            // Opened first: where the number is somebody else's by now, what was opened is dead, and no signal reaches anybody.
            let opened = open(pid)?;
            Some((session(pid).filter(|session| is_one(*session))?, opened))
        })
        .collect()
}

/// The number that was given last: proc_loadavg(5).
fn last() -> Option<u32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next_back()?.parse().ok()
}

/// Every process that lives.
///
/// # Errors
/// They cannot be listed, or one of them cannot be looked at: who is missing may live.
pub(crate) fn all() -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            all.extend(seen(pid)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_known_by_its_start_too_and_a_dead_one_is_none() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let seen = look(child.id()).unwrap();
        assert_eq!((seen.process.pid, seen.parent), (child.id(), std::process::id()));
        assert!(
            seen.process.is_there()
                && !seen.process.is_gone()
                && all().unwrap().contains(&look(child.id()).unwrap())
        );
        let other = Process { began: seen.process.began + 1, ..seen.process };
        assert!(
            !other.is_there() && other.is_gone() && other.open().is_none(),
            "another process of this number"
        );
        let opened = seen.process.open().unwrap();
        child.kill().unwrap();
        // Dead, and not yet reaped.
        let begin = std::time::Instant::now();
        while seen.process.is_there() {
            assert!(begin.elapsed().as_secs() < 20);
        }
        assert!(seen.process.open().is_none());
        child.wait().unwrap();
        signal(&opened, Signal::KILL);
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) R 1 (b)) S 3 7 7 34816 7 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000 10";
        let seen = read(7, line).unwrap();
        assert_eq!((seen.name.as_str(), seen.parent, seen.process.began), ("a) R 1 (b)", 3, 12345));
        assert_eq!(read(7, &line.replace(" S 3", " Z 3")), None);
        for torn in ["", "7 (a", "7 (a) S", "7 (a) S x 7 7"] {
            assert_eq!(read(7, torn), None, "{torn}");
        }
    }
}
