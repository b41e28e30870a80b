//! Ctrl-C and its kin as something to wait for, so that a terminal is always restored and a request is left in order.
//!
//! In: SIGINT, SIGTERM, SIGHUP, SIGQUIT. Out: [`Caught`], from a descriptor beside the others in poll(2).
//! Taken before any thread starts, so that every thread has them blocked.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that end the waiting.
const CAUGHT: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The descriptor on which they arrive.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// One that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: Signal,
    /// Sent by a process; otherwise the terminal sent it to the whole foreground group.
    pub sent: bool,
}

impl Signals {
    /// Blocks the signals for this thread and those it starts, and takes them from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take() -> Result<Self, Errno> {
        let set = SigSet::from_iter(CAUGHT);
        set.thread_block()?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self)
    }

    /// The next one that waits, if any.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next(&self) -> Result<Option<Caught>, Errno> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL)?;
        Ok(Some(Caught { signal: Signal::try_from(number)?, sent: info.ssi_pid != 0 }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
