//! A command in a host: what it is given, and what it did.
//!
//! In: user, argv, environment, input, limit. Out: [`Ran`], [`Running`] or [`Tty`].
//! Runs as: root outside, the user inside. Spec: `testbed help`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::machine::{Door, Machine};
use crate::places;
use crate::running::Running;
use crate::transcript::Transcript;
use crate::tty::Tty;
use crate::{Memory, PATIENCE};

static COMMANDS: AtomicU64 = AtomicU64::new(0);

/// A command that has not started.
#[derive(Debug)]
#[must_use = "a command does nothing until run, spawn or tty"]
pub struct Cmd {
    machine: Arc<Machine>,
    user: String,
    argv: Vec<OsString>,
    env: Vec<String>,
    dir: Option<String>,
    input: Vec<u8>,
    limit: Duration,
    memory: Option<PathBuf>,
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exact status: code or signal.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    argv: Vec<OsString>,
}

impl Ran {
    /// Standard output of a command that ended with 0.
    ///
    /// # Errors
    /// It did not; the error quotes all it said.
    pub fn success(self) -> Result<String> {
        ensure!(self.status.success(), "{self}");
        Ok(self.stdout)
    }

    /// Both streams of a command that ended with exactly this code.
    ///
    /// # Errors
    /// It ended otherwise; the error quotes all it said.
    pub fn exits(self, code: i32) -> Result<String> {
        ensure!(self.status.code() == Some(code), "not exit code {code}: {self}");
        Ok(self.stdout + &self.stderr)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}\n--- out\n{}--- err\n{}", self.argv, self.status, self.stdout, self.stderr)
    }
}

/// A started command: the launcher outside, and the command itself by its outer pid.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) launcher: Child,
    pub(crate) pid: i32,
    pub(crate) handle: OwnedFd,
}

impl Cmd {
    pub(crate) fn new(machine: Arc<Machine>, user: &str, argv: Vec<OsString>) -> Self {
        let (env, dir, input) = (Vec::new(), None, Vec::new());
        Self { machine, user: user.to_owned(), argv, env, dir, input, limit: PATIENCE, memory: None }
    }

    /// Add a variable to its environment, which else has PATH, HOME, SHELL, USER, LOGNAME, LANG and TERM only.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push(format!("{key}={value}"));
        self
    }

    /// Start in this directory instead of the home directory.
    pub fn dir(mut self, dir: &str) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Give it this on standard input ([`Cmd::run`] only), which is else empty.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// How long [`Cmd::run`] and each step of a [`Tty`] may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Within this bound on its memory, which has to outlive it.
    pub fn within(mut self, memory: &Memory) -> Self {
        self.memory = Some(memory.dir().to_owned());
        self
    }

    /// Run it to its end.
    ///
    /// # Errors
    /// See [`crate::Host::run`].
    pub fn run(mut self) -> Result<Ran> {
        let (ours, theirs) = std::io::pipe()?;
        let input = std::mem::take(&mut self.input);
        let mut started = self.start([ours.into(), Stdio::piped(), Stdio::piped()])?;
        // A thread, so that a command which reads nothing cannot block us; it may also end without reading.
        std::thread::spawn(move || {
            let mut theirs = theirs;
            drop(theirs.write_all(&input));
        });
        let (stdout, stderr) = (Transcript::default(), Transcript::default());
        stdout.follow(started.launcher.stdout.take().context("no output")?);
        stderr.follow(started.launcher.stderr.take().context("no output")?);
        let Some(status) = started.wait(self.limit)? else {
            started.kill()?;
            bail!(
                "{:?} took longer than {:?}; it said:\n{}{}",
                self.argv,
                self.limit,
                stdout.text(),
                stderr.text()
            );
        };
        // What it said is in the pipes already; only a background process can hold them open longer.
        let _closed = stdout.wait_closed(DRAIN) && stderr.wait_closed(DRAIN);
        Ok(Ran { status, stdout: stdout.text(), stderr: stderr.text(), argv: self.argv })
    }

    /// Start it and let it run.
    ///
    /// # Errors
    /// See [`crate::Host::run`].
    pub fn spawn(self) -> Result<Running> {
        let mut started = self.start([Stdio::null(), Stdio::piped(), Stdio::piped()])?;
        let log = Transcript::default();
        log.follow(started.launcher.stdout.take().context("no output")?);
        log.follow(started.launcher.stderr.take().context("no output")?);
        Ok(Running { started, log })
    }

    /// Start it on a terminal of the host.
    ///
    /// # Errors
    /// See [`crate::Host::run`].
    pub fn tty(self) -> Result<Tty> {
        let (master, slave) = crate::tty::open(&self.door()?.root)?;
        let streams = [slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()];
        let started = self.start(streams)?;
        Tty::new(master, started, self.limit)
    }

    pub(crate) fn door(&self) -> Result<Door> {
        self.machine.door()
    }

    pub(crate) fn start(&self, [input, output, error]: [Stdio; 3]) -> Result<Started> {
        let door = self.door()?;
        let socket = format!("testbed-{}-{}", std::process::id(), COMMANDS.fetch_add(1, Ordering::Relaxed));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&socket)?)?;
        let mut launcher = Command::new(places::program("testbed")?);
        launcher.args(["exec", "--pid", &door.pid.to_string(), "--user", &self.user, "--pid-to", &socket]);
        launcher.arg("--cgroup").arg(&door.cgroup);
        if let Some(memory) = &self.memory {
            launcher.arg("--memory").arg(memory);
        }
        for pair in &self.env {
            launcher.args(["--env", pair]);
        }
        if let Some(dir) = &self.dir {
            launcher.args(["--dir", dir]);
        }
        launcher.arg("--").args(&self.argv).stdin(input).stdout(output).stderr(error).process_group(0);
        let mut launcher = launcher.spawn().context("cannot start testbed exec")?;
        match first_of(&listener, &launcher) {
            Ok(true) => {}
            other => {
                launcher.kill()?;
                let status = launcher.wait()?;
                bail!("{:?} did not start: {status} {:?}", self.argv, other.err());
            }
        }
        let mut line = String::new();
        BufReader::new(listener.accept()?.0).read_line(&mut line)?;
        let pid: i32 = line.trim().parse().with_context(|| format!("not a pid: {line:?}"))?;
        let handle = pidfd_open(Pid::from_raw(pid).context("not a pid")?, PidfdFlags::empty());
        // It may be over already: then the launcher's handle serves, whose end is the same.
        let handle = handle.or_else(|_| pidfd_of(&launcher))?;
        Ok(Started { launcher, pid, handle })
    }
}

/// Wait until the launcher connects (true) or ends (false).
fn first_of(listener: &UnixListener, launcher: &Child) -> Result<bool> {
    let ended = pidfd_of(launcher)?;
    let fds = [listener.as_fd(), ended.as_fd()];
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    ready(&mut fds, PATIENCE)?;
    Ok(fds.first().and_then(PollFd::any).unwrap_or_default())
}

fn pidfd_of(child: &Child) -> Result<OwnedFd> {
    Ok(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?)
}

/// Poll with a limit that a stray signal does not shorten to nothing; how many are ready.
pub(crate) fn ready(fds: &mut [PollFd<'_>], limit: Duration) -> Result<i32> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(fds, limit) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

impl Started {
    /// How it ended; nothing if it has not within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let ended = pidfd_of(&self.launcher);
        if let Ok(ended) = &ended {
            let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            if ready(&mut fds, limit)? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.launcher.wait()?))
    }

    /// `kill -9`, by a handle that cannot mean another process.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(rustix::process::Signal::KILL)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        match rustix::process::pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e).context("cannot signal"),
        }
    }
}

const DRAIN: Duration = Duration::from_secs(1);
