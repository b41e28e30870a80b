//! Other programs, run where they can hang without harm: absolute path, no environment, deadline, bounded output.
//!
//! In: a program and its arguments. Out: its exit code and the beginning of what it wrote. No shell, ever (STYLE §6).

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::clock;

/// Longest output kept, in bytes.
pub(crate) const OUTPUT_MAX: u64 = 256 * 1024;

/// Why there is no answer of a program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It could not be started.
    #[error("cannot run {}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{} did not answer within {}s", path.display(), deadline.as_secs())]
    Deadline {
        /// The program.
        path: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
}

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output and standard error, the first 256 KiB of each.
    pub(crate) stdout: String,
    /// See above.
    pub(crate) stderr: String,
}

/// Runs a program to its end, or kills it and its group at the deadline. Blocks: never called by the agent's one thread.
///
/// # Errors
/// [`ChildError`] when there is no answer.
pub(crate) fn run(path: &Path, arguments: &[&str], deadline: Duration) -> Result<Answer, ChildError> {
    use std::os::unix::process::CommandExt;
    let child = Command::new(path)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ChildError::Start { path: path.to_owned(), source })?;
    answer(child, path, deadline)
}

/// Waits for all that a started program says and for its end, and kills it and its group at the deadline.
///
/// # Errors
/// [`ChildError::Deadline`].
pub(crate) fn answer(mut child: Child, path: &Path, deadline: Duration) -> Result<Answer, ChildError> {
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    // A program may close both and go on: its end is waited for within the deadline too, and left for us to reap.
    notice_end(&child, sender.clone());
    // The pipes are read to their ends by threads of their own: a program that fills one must not wait for us, and one
    // that leaves a grandchild with the pipe open must not keep us beyond the deadline.
    collect(stdout, sender.clone(), Stream::Stdout);
    collect(stderr, sender, Stream::Stderr);
    let mut answer = Answer { code: None, stdout: String::new(), stderr: String::new() };
    let until = clock::read().boot.after_millis(deadline);
    for _ in 0..3 {
        let left = clock::read().boot.until(until);
        match receiver.recv_timeout(left) {
            Ok(Seen::Wrote(Stream::Stdout, text)) => answer.stdout = text,
            Ok(Seen::Wrote(Stream::Stderr, text)) => answer.stderr = text,
            Ok(Seen::Ended) => {}
            Err(_) => {
                kill(&mut child);
                return Err(ChildError::Deadline { path: path.to_owned(), deadline });
            }
        }
    }
    answer.code = child.wait().ok().and_then(|status| status.code());
    Ok(answer)
}

/// Which stream a text came from.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// What is seen of a program.
#[derive(Debug)]
enum Seen {
    /// All that it wrote.
    Wrote(Stream, String),
    /// It is over.
    Ended,
}

fn notice_end(child: &Child, sender: mpsc::Sender<Seen>) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    thread::spawn(move || {
        // An error means that it was killed and reaped meanwhile; nobody listens then.
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).ok();
        drop(sender.send(Seen::Ended));
    });
}

fn collect<R: Read + Send + 'static>(stream: Option<R>, sender: mpsc::Sender<Seen>, which: Stream) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // A read that fails is an end: what was said until then is what was said.
            drop(stream.take(OUTPUT_MAX).read_to_end(&mut bytes));
        }
        drop(sender.send(Seen::Wrote(which, String::from_utf8_lossy(&bytes).into_owned())));
    });
}

/// Kills a child and everything in its process group, and reaps it.
pub(crate) fn kill(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // Gone already is as good as killed.
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
    }
    drop(child.kill());
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let begin = std::time::Instant::now();
        let asked = run(Path::new("/bin/sh"), &["-c", "sleep 600 & wait"], Duration::from_millis(200));
        assert!(matches!(asked, Err(ChildError::Deadline { .. })), "{asked:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_that_closes_its_output_and_goes_on_is_killed_too() {
        let begin = std::time::Instant::now();
        let script = "exec >&- 2>&-; sleep 600";
        let asked = run(Path::new("/bin/sh"), &["-c", script], Duration::from_millis(200));
        assert!(matches!(asked, Err(ChildError::Deadline { .. })), "{asked:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_gets_no_environment_and_its_output_is_bounded() {
        let answer = run(Path::new("/usr/bin/env"), &[], Duration::from_secs(10)).unwrap();
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), ""));
        let answer =
            run(Path::new("/usr/bin/head"), &["-c", "1000000", "/dev/zero"], Duration::from_secs(10))
                .unwrap();
        assert_eq!(answer.stdout.len(), 262_144);
    }
}
