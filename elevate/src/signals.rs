//! Ctrl-C and its kin as something to wait for, so that a terminal is always restored and a request is left in order.
//!
//! In: SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD. Out: [`Caught`], from a descriptor beside the others in poll(2).
//! Taken before any thread starts, so that every thread has them blocked.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that end the waiting.
const CAUGHT: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The descriptors on which they arrive.
#[derive(Debug)]
pub struct Signals {
    ends: SignalFd,
    children: SignalFd,
}

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
        let ends = SigSet::from_iter(CAUGHT);
        let children = SigSet::from_iter([Signal::SIGCHLD]);
        ends.thread_block()?;
        children.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            ends: SignalFd::with_flags(&ends, flags)?,
            children: SignalFd::with_flags(&children, flags)?,
        })
    }

    /// Readable when a child changed; to be emptied with [`Signals::children_seen`].
    #[must_use]
    pub fn children(&self) -> BorrowedFd<'_> {
        self.children.as_fd()
    }

    /// Forgets that children changed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn children_seen(&self) -> Result<(), Errno> {
        while self.children.read_signal()?.is_some() {}
        Ok(())
    }

    /// The next one that waits, if any.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next(&self) -> Result<Option<Caught>, Errno> {
        let Some(info) = self.ends.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL)?;
        Ok(Some(Caught { signal: Signal::try_from(number)?, sent: info.ssi_pid != 0 }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.as_fd()
    }
}
