//! A program on a terminal of the host's own devpts, and a person in front of it.
//!
//! In: a started [`crate::Cmd`]. Out: what the screen says, keys to it, its status.
//! Runs as: root. Spec: pty(7), TIOCGPTPEER(2const).

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cmd::Started;
use crate::files::Root;
use crate::transcript::Transcript;

/// A program on a terminal; dropping it hangs up and kills it.
#[derive(Debug)]
pub struct Tty {
    pub(crate) master: File,
    pub(crate) started: Started,
    screen: Transcript,
    read: usize,
    limit: Duration,
}

/// A new terminal of the host: the side of the person and the side of the program.
pub(crate) fn open(root: &Root) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = root.resolve(Path::new("/dev/pts/ptmx"), flags).context("cannot open a terminal")?;
    unlockpt(&master)?;
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).context("cannot open the other side of the terminal")?;
    Ok((master, slave))
}

impl Tty {
    pub(crate) fn new(master: OwnedFd, started: Started, limit: Duration) -> Result<Self> {
        let master = File::from(master);
        let screen = Transcript::default();
        screen.follow(master.try_clone()?);
        Ok(Self { master, started, screen, read: 0, limit })
    }

    /// Wait until the screen says this after what was read before; all that came up to its end.
    ///
    /// # Errors
    /// Not within the command's limit, or the program ended without it.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        self.expect_any(&[text]).map(|(_, said)| said)
    }

    /// Wait for the first of several texts: which, and all that came up to its end.
    ///
    /// # Errors
    /// As [`Tty::expect`].
    pub fn expect_any(&mut self, texts: &[&str]) -> Result<(usize, String)> {
        let (which, end) = self.screen.find(self.read, texts, self.limit)?;
        let said = self.screen.slice(self.read, end);
        self.read = end;
        Ok((which, said))
    }

    /// Press these keys.
    ///
    /// # Errors
    /// The program has ended.
    pub fn send(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("the terminal is closed")
    }

    /// Type a line and press return.
    ///
    /// # Errors
    /// As [`Tty::send`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.send(&format!("{text}\r"))
    }

    /// Press Ctrl-C.
    ///
    /// # Errors
    /// As [`Tty::send`].
    pub fn interrupt(&mut self) -> Result<()> {
        self.send("\x03")
    }

    /// Everything the screen has said, with the `\r\n` that a terminal makes.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.text()
    }

    /// The program's pid as the machine counts.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.started.pid
    }

    /// Wait for the program's end and for the rest of what it says.
    ///
    /// # Errors
    /// It runs on after the command's limit; the error quotes the screen.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.started.wait(self.limit)?;
        let status = status.with_context(|| format!("still running; the screen says:\n{}", self.screen()))?;
        // A background process may hold the terminal; what the program itself said has arrived by then.
        let _closed = self.screen.wait_closed(Duration::from_secs(1));
        Ok(status)
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the host's end kills it in any case.
        drop(self.started.kill());
        drop(self.started.wait(crate::PATIENCE));
    }
}
