//! The machine's own terminal, connected to a command in a host.
//!
//! In: a [`Cmd`], standard input. Out: the command's exit status.
//! Runs as: root, in `testbed shell` and the demo. Spec: termios(3), pty(7).

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::cmd::{Cmd, Started, ready};

/// Puts the terminal back as it was, however the session ends.
struct Cooked(Termios);

impl Drop for Cooked {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0).unwrap_or_default();
    }
}

impl Cmd {
    /// Run it for the person at this terminal; without one it gets our own streams.
    ///
    /// # Errors
    /// See [`crate::Host::run`].
    pub fn interactive(self) -> Result<ExitStatus> {
        if !std::io::stdin().is_terminal() {
            let mut started = self.start([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])?;
            return Ok(started.launcher.wait()?);
        }
        let (master, slave) = crate::tty::open(&self.door()?.root)?;
        let mut started = self.start([slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()])?;
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        let _cooked = Cooked(before);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        copy(File::from(master), &mut started)?;
        started.wait(crate::PATIENCE)?.context("the shell does not end")
    }
}

fn copy(mut master: File, started: &mut Started) -> Result<()> {
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut buffer = [0; 8192];
    loop {
        // The window may have changed; the kernel tells the program only of real changes.
        tcsetwinsize(&master, tcgetwinsize(std::io::stdin())?)?;
        let fds = [input.as_fd(), master.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        ready(&mut fds, Duration::from_secs(1))?;
        let [typed, said] = fds.map(|fd| fd.any().unwrap_or(true));
        if said {
            match master.read(&mut buffer) {
                // EIO: the last process on the terminal has gone.
                Ok(0) | Err(_) => return Ok(()),
                Ok(n) => output.write_all(buffer.get(..n).unwrap_or_default())?,
            }
            output.flush()?;
        } else if typed {
            match input.read(&mut buffer)? {
                0 => return started.kill(),
                n => master.write_all(buffer.get(..n).unwrap_or_default())?,
            }
        } else if started.wait(Duration::ZERO)?.is_some() {
            return Ok(());
        }
    }
}
