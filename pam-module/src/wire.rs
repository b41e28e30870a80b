//! A stream socket with a deadline, whose own settings are left alone.
//!
//! In: a descriptor and a moment. Out: reads and writes that end by then. The deadline is kept with poll(2), since SO_RCVTIMEO would
//! also bind the others who share the socket; a peer that is gone raises no SIGPIPE in the sudo process.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send, sockopt::PeerCredentials};

use crate::clock;

/// A stream socket until a moment.
#[derive(Debug)]
pub(crate) struct Timed<'fd> {
    fd: BorrowedFd<'fd>,
    deadline: Instant,
}

impl<'fd> Timed<'fd> {
    /// Takes the socket, if root is at its other end (threat B01).
    pub(crate) fn with_root(fd: BorrowedFd<'fd>, deadline: Instant) -> Option<Self> {
        let peer = nix::sys::socket::getsockopt(&fd, PeerCredentials).ok()?;
        (peer.uid() == 0).then_some(Self { fd, deadline })
    }

    /// The same socket until another moment.
    pub(crate) fn until(&mut self, deadline: Instant) -> &mut Self {
        self.deadline = deadline;
        self
    }

    fn wait(&self, events: PollFlags) -> io::Result<()> {
        loop {
            let left = clock::left(self.deadline).ok_or(io::ErrorKind::TimedOut)?;
            // Rounded up, so that the last part of a millisecond does not spin.
            let left = left.as_millis().saturating_add(1);
            let timeout = u16::try_from(left).map_or(PollTimeout::MAX, PollTimeout::from);
            match poll(&mut [PollFd::new(self.fd.as_fd(), events)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::POLLIN)?;
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::POLLOUT)?;
            match send(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
