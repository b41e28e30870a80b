//! The sshd that listens here: told to read its files anew, and waited for until it has.
//!
//! In: its pid file and /proc. Out: a signal, and whether anybody may still go by the files of before. Threats E15, X-l.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::paths::Paths;
use crate::sshd::SshdError;

use super::ssh::{self, SshError};

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Who was told.
#[derive(Debug)]
pub(super) struct Told {
    /// The pid file, when it was written, and who it names; none where nobody listens.
    listener: Option<(PathBuf, Option<SystemTime>, u32)>,
}

impl Told {
    /// Waits until the listener that was told listens again, there is no other, and no login has begun before that: then nobody goes by the
    /// files of before. False where that does not come within [`PATIENCE`].
    pub(super) fn is_alone(&self) -> bool {
        let begin = Instant::now();
        loop {
            if self.is_back() && !self.has_others() {
                return true;
            }
            if begin.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(PAUSE);
        }
    }

    /// sshd removes its pid file, begins anew, and writes it once it listens.
    fn is_back(&self) -> bool {
        let Some((file, before, pid)) = &self.listener else { return true };
        let now = written(file);
        now.is_some() && now != *before && named(file) == Some(*pid)
    }

    fn has_others(&self) -> bool {
        let own = self.listener.as_ref().map(|(_, _, pid)| pid.to_string());
        let is_other =
            |pid: String| (Some(&pid) != own.as_ref() && is_listener(&pid)) || is_before_login(&pid);
        // What cannot be looked at may be there.
        processes().map_or(true, |mut all| all.any(is_other))
    }
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

fn named(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok())
}

fn processes() -> io::Result<impl Iterator<Item = String>> {
    let names =
        fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.parse::<u32>().is_ok()))
}

/// SIGHUP to the listener of the pid file, once it is seen to be sshd. Connections that are there stay. Where none runs, the next one
/// reads the files as they are.
///
/// # Errors
/// [`SshError::Restart`] for a listener that no pid file names.
pub(super) fn tell() -> Result<Told, SshError> {
    let wrong = |error: &dyn std::fmt::Display| SshError::Reload { why: error.to_string() };
    let settings = ssh::settings()?;
    let file = settings.lines().find_map(|line| line.strip_prefix("pidfile ")).unwrap_or("/run/sshd.pid");
    let program = Paths::program("sshd").and_then(|path| fs::canonicalize(path).ok());
    let program = program.ok_or(SshdError::NoSshd)?;
    let path = PathBuf::from(file);
    let listed = named(&path).filter(|pid| listens(&pid.to_string(), &program));
    if let Some((pid, own)) =
        listed.and_then(|pid| Some((pid, i32::try_from(pid).ok().filter(|own| *own > 1)?)))
    {
        let before = written(&path);
        kill(Pid::from_raw(own), Signal::SIGHUP).map_err(|error| wrong(&error))?;
        return Ok(Told { listener: Some((path, before, pid)) });
    }
    let is_there = processes().map_err(|error| wrong(&error))?.any(|pid| listens(&pid, &program));
    if is_there { Err(SshError::Restart { file: file.to_owned() }) } else { Ok(Told { listener: None }) }
}

/// Whether a process is root's sshd on this very system, of this program and no connection's. One whose file was replaced by an update
/// runs the new one from here on.
fn listens(pid: &str, program: &Path) -> bool {
    let is_program = match exe(pid) {
        Ok(exe) => exe == program,
        // What it is called is left.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    is_program && is_listener(pid)
}

/// Whether a process is any sshd of root's on this very system and no connection's, wherever its program is: it may have read the same files.
fn is_listener(pid: &str) -> bool {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    let same =
        |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    let is_here = match (fs::metadata(at("root")), fs::metadata("/")) {
        (Ok(root), Ok(here)) => same(&root, &here),
        (Err(error), Ok(_)) => error.kind() == io::ErrorKind::PermissionDenied,
        (_, Err(_)) => false,
    };
    let title = fs::read(at("cmdline")).unwrap_or_default();
    let title = String::from_utf8_lossy(&title);
    let is_called = |name: &str| name == "sshd";
    let is_sshd = fs::read_to_string(at("comm")).is_ok_and(|name| is_called(name.trim_end()))
        || exe(pid).is_ok_and(|exe| exe.file_name().is_some_and(|name| is_called(&name.to_string_lossy())))
        || title.starts_with("sshd: ");
    is_sshd && is_here && fs::metadata(at("")).is_ok_and(|own| own.uid() == 0) && !is_connection(&title)
}

/// The program that a process runs. The agent as a service may not look into one that may do more than itself (CAP_SYS_PTRACE).
fn exe(pid: &str) -> io::Result<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok(PathBuf::from(link.to_string_lossy().trim_end_matches(" (deleted)")))
}

/// sshd before 9.8 serves connections itself, and says so in its title.
fn is_connection(title: &str) -> bool {
    title.starts_with("sshd: ") && !title.contains("[listener]")
}

/// Whether a process of this system serves a connection that nobody has logged in by yet. What it is called is all there is to go by: it may be
/// shut in (chroot(2)), and whoever calls himself so keeps a file from being removed.
fn is_before_login(pid: &str) -> bool {
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    begins_login(&String::from_utf8_lossy(&title)) && space(pid) == space("self")
}

/// `sshd: [accepted]`, `sshd: bob [net]`, `sshd -D -R`; with another program's name from 9.8 on, and with one of its own from 10.0 on.
fn begins_login(title: &str) -> bool {
    let name = title.split(['\0', ' ', ':']).next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    match name {
        "sshd" | "sshd-session" => {
            let is_new = title.split('\0').any(|word| word == "-R");
            is_new || title.contains("[net]") || title.contains("[accepted]")
        }
        _ => name == "sshd-auth",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_no_listener() {
        for title in ["sshd: bob [priv]", "sshd: bob@pts/0", "sshd: [accepted]"] {
            assert!(is_connection(title), "{title}");
        }
        for title in ["sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "/usr/sbin/sshd\0-D\0"] {
            assert!(!is_connection(title), "{title}");
        }
    }

    #[test]
    fn a_login_that_has_begun_is_known() {
        for title in [
            "sshd: [accepted]",
            "sshd: bob [net]",
            "sshd: unknown [net]\0\0\0",
            "/usr/sbin/sshd\0-D\0-R\0",
            "sshd-session: [accepted]",
            "/usr/lib/openssh/sshd-auth\0-D\0",
        ] {
            assert!(begins_login(title), "{title}");
        }
        for title in
            ["sshd: bob [priv]", "sshd-session: bob@pts/0", "/usr/sbin/sshd\0-D\0", "vi\0[net]\0", ""]
        {
            assert!(!begins_login(title), "{title}");
        }
    }
}
