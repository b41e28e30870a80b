//! Runs a command through sudo and waits for it, signals included.
//!
//! In: argv, the account. Out: the command's status as shells say it. sudo is named by its path, never looked for.

use std::ffi::{CString, OsStr, OsString};
use std::io::{PipeReader, pipe};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use elevate_protocol::name::Name;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::console::Console;
use crate::failure::Failure;
use crate::paint::Line;
use crate::signals::Signals;

/// Where sudo is.
pub(super) const SUDO: &str = "/usr/bin/sudo";
/// Where sudo looks by default (secure_path of the distributions), beside the person's own PATH.
const SECURE_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether a command can be run at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runnable {
    /// It is there, or only root can see whether it is.
    Perhaps,
    /// There, and no program: 126.
    Not,
    /// Not there: 127.
    Absent,
}

/// Looks for a command before anybody is bothered for it. sudo looks again by its own rules.
pub(super) fn runnable(command: &OsStr, path: &[PathBuf]) -> Runnable {
    if command.as_bytes().contains(&b'/') {
        return judge(Path::new(command));
    }
    let folders = path.iter().map(PathBuf::as_path).chain(SECURE_PATH.iter().map(Path::new));
    let mut best = Runnable::Absent;
    for folder in folders.filter(|folder| folder.is_absolute()) {
        match judge(&folder.join(command)) {
            Runnable::Perhaps => return Runnable::Perhaps,
            Runnable::Not => best = Runnable::Not,
            Runnable::Absent => {}
        }
    }
    best
}

fn judge(path: &Path) -> Runnable {
    match path.metadata() {
        Ok(about) if about.is_file() && about.mode() & 0o111 != 0 => Runnable::Perhaps,
        Ok(_) => Runnable::Not,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Runnable::Perhaps,
        Err(_) => Runnable::Absent,
    }
}

/// What sudo is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// Run a command.
    Command(&'a [OsString]),
    /// A login shell.
    Shell,
}

/// Whether sudo will ask for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// No.
    Nothing,
    /// For a code, at a terminal.
    Code,
}

/// The words of sudo. `-n`: a rule of a grant never asks for a password, so a question means that it is not there. Where each use
/// asks for a code the question has to come through.
pub(super) fn argv(order: Order<'_>, run_as: Option<&Name>, asks: Asks) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![SUDO.into()];
    match asks {
        Asks::Nothing => words.push("-n".into()),
        Asks::Code => {}
    }
    if let Some(name) = run_as.filter(|name| name.as_str() != "root") {
        words.extend(["-u".into(), name.as_str().into()]);
    }
    match order {
        Order::Command(command) => {
            words.push("--".into());
            words.extend_from_slice(command);
        }
        Order::Shell => words.push("-i".into()),
    }
    words
}

/// Runs `argv`, whose first word is a path, with this program's streams and environment, and waits for its end.
///
/// # Errors
/// [`Failure::System`] when it cannot be started or waited for.
pub(super) fn run(argv: &[OsString], console: &mut Console, signals: &Signals) -> Result<u8, Failure> {
    let failed = |what| move |error: Errno| Failure::System { what, source: error.into() };
    let child = spawn(argv).map_err(failed("start sudo"))?;
    let over = end_of(child).map_err(failed("wait for sudo"))?;
    let mut told = false;
    while !wait(&over, signals).map_err(failed("wait for sudo"))? {
        while let Some(caught) = signals.next().map_err(failed("wait for sudo"))? {
            // The terminal's own signals reach sudo without us.
            if caught.sent && kill(child, caught.signal) == Err(Errno::EPERM) && !told {
                told = true;
                let text = "elevate: sudo runs as root and cannot be sent signals; waiting for it to end";
                console.warn(&Line::plain(text));
            }
        }
    }
    match waitpid(child, None).map_err(failed("wait for sudo"))? {
        WaitStatus::Exited(_, status) => Ok(u8::try_from(status & 0xff).unwrap_or(1)),
        WaitStatus::Signaled(_, signal, _) => Ok(of_signal(signal)),
        WaitStatus::Stopped(..)
        | WaitStatus::PtraceEvent(..)
        | WaitStatus::PtraceSyscall(_)
        | WaitStatus::Continued(_)
        | WaitStatus::StillAlive => Err(failed("wait for sudo")(Errno::ECHILD)),
    }
}

/// A pipe that ends when the child does. The child stays to be waited for, so that its pid stays its own.
fn end_of(child: Pid) -> Result<PipeReader, Errno> {
    let system = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let (over, held) = pipe().map_err(system)?;
    let waiting = move || {
        while waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        drop(held);
    };
    std::thread::Builder::new().name("sudo".into()).spawn(waiting).map_err(system)?;
    Ok(over)
}

/// 128+n, as shells do.
fn of_signal(signal: Signal) -> u8 {
    #[expect(
        clippy::as_conversions,
        reason = "nix gives the number of a signal in no other way; it is below 65"
    )]
    let number = signal as i32;
    u8::try_from(number).unwrap_or(0).saturating_add(128)
}

/// Whether the child is over; otherwise a signal is there.
fn wait(over: &PipeReader, signals: &Signals) -> Result<bool, Errno> {
    let mut watched =
        [PollFd::new(over.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(false),
        Err(error) => return Err(error),
    }
    let [over, _] = watched;
    Ok(over.any().unwrap_or(false))
}

/// Starts it with no signal blocked and SIGPIPE as usual, whatever this program has.
fn spawn(argv: &[OsString]) -> Result<Pid, Errno> {
    let text = |word: &OsStr| CString::new(word.as_bytes()).map_err(|_| Errno::EINVAL);
    let words: Vec<CString> = argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?;
    let program = words.first().ok_or(Errno::ENOENT)?.clone();
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let mut pair = name;
        pair.push("=");
        pair.push(value);
        environment.push(text(&pair)?);
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&SigSet::from_iter([Signal::SIGPIPE]))?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let streams = PosixSpawnFileActions::init()?;
    posix_spawn(program.as_c_str(), &streams, &attributes, &words, &environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn sudo_is_told_as_whom_and_where_its_own_options_end() {
        let postgres: Name = "postgres".parse().unwrap();
        let root: Name = "root".parse().unwrap();
        let command = words(&["-i", "x"]);
        assert_eq!(
            argv(Order::Command(&command), None, Asks::Nothing),
            words(&[SUDO, "-n", "--", "-i", "x"])
        );
        assert_eq!(argv(Order::Shell, Some(&root), Asks::Code), words(&[SUDO, "-i"]));
        assert_eq!(
            argv(Order::Command(&command), Some(&postgres), Asks::Nothing),
            words(&[SUDO, "-n", "-u", "postgres", "--", "-i", "x"])
        );
    }

    #[test]
    fn what_is_not_there_or_no_program_is_known_before_anybody_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let (program, text) = (file("program", 0o755), file("text", 0o644));
        let path = vec![PathBuf::from("relative"), folder.path().to_owned()];
        for (command, found) in [
            (program.as_os_str(), Runnable::Perhaps),
            (text.as_os_str(), Runnable::Not),
            (folder.path().as_os_str(), Runnable::Not),
            (OsStr::new("program"), Runnable::Perhaps),
            (OsStr::new("text"), Runnable::Not),
            (OsStr::new("no-such-program"), Runnable::Absent),
            (OsStr::new("/no/such/program"), Runnable::Absent),
        ] {
            assert_eq!(runnable(command, &path), found, "{command:?}");
        }
    }

    /// Signals are raised for this thread only: the other tests of this process go on.
    #[test]
    fn the_status_is_the_commands_own_and_a_signal_reaches_it() {
        let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut console = Console::on(null(), null(), null());
        let signals = Signals::take().unwrap();
        let mut status =
            |script: &str| run(&words(&["/bin/sh", "-c", script]), &mut console, &signals).unwrap();
        assert_eq!((status("exit 0"), status("exit 7")), (0, 7));
        assert_eq!(status("kill -9 $$"), 128 + 9);
        // Blocked here, delivered there: the command starts with a clean mask.
        assert_eq!(status("kill -TERM $$; sleep 5"), 128 + 15);
        // Sent to this program, passed on to the command.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(status("exec sleep 60"), 128 + 15);
        assert!(run(&words(&["/no/such/program"]), &mut console, &signals).is_err());
    }
}
