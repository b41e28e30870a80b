//! The two ends of a local socket: a bounded queue with a writer behind it, and a reader with deadlines.
//!
//! In: frames to send. Out: frames that came whole and in time. A slow peer is dropped, never waited for (threats B06, B07).

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use elevate_protocol::frame::{self, Decoder, FrameError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::{self, Boot};
use crate::process::{self, Seen};

/// How long a frame may take from its first byte to its last.
pub(crate) const FRAME_TIME: Duration = Duration::from_secs(5);
/// How long one write may take.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Bytes read at a time.
const PIECE: usize = 4096;
/// Stack of a connection's thread: it parses JSON (depth is bounded by serde_json) and nothing else.
pub(crate) const STACK: usize = 512 * 1024;

/// A peer that is to be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// It does not read what it is sent.
    #[error("the peer does not keep up or is gone")]
    Slow,
    /// The message cannot be sent to anybody.
    #[error("the message cannot be sent")]
    Frame {
        /// Why.
        source: FrameError,
    },
}

/// The sending end. Dropped: what is queued is still written, then the socket is shut.
#[derive(Debug)]
pub(crate) struct Peer {
    queue: SyncSender<Vec<u8>>,
    stream: UnixStream,
}

impl Peer {
    /// Starts the writer. `room` is how many frames may wait.
    ///
    /// # Errors
    /// When the system refuses a descriptor or a thread.
    pub(crate) fn start(stream: &UnixStream, room: usize) -> io::Result<Self> {
        let (queue, frames) = sync_channel(room);
        let writer = stream.try_clone()?;
        writer.set_write_timeout(Some(WRITE_TIME))?;
        thread::Builder::new().stack_size(STACK).spawn(move || write(writer, &frames))?;
        Ok(Self { queue, stream: stream.try_clone()? })
    }

    /// Queues one message.
    ///
    /// # Errors
    /// [`PeerError`]; the caller drops the peer then.
    pub(crate) fn send<T: Serialize>(&self, message: &T) -> Result<(), PeerError> {
        let frame = frame::encode(message).map_err(|source| PeerError::Frame { source })?;
        self.queue.try_send(frame).map_err(|_| PeerError::Slow)
    }

    /// The process at the other end.
    #[must_use]
    pub(crate) fn process(&self) -> Option<Seen> {
        process(&self.stream)
    }

    /// Ends the connection now, whatever is queued.
    pub(crate) fn cut(&self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// The process that has connected, while it is there: it holds the other end, so the number is its own and nobody's after it.
#[must_use]
pub(crate) fn process(stream: &UnixStream) -> Option<Seen> {
    let pid = getsockopt(stream, PeerCredentials).ok()?.pid();
    let seen = process::look(u32::try_from(pid).ok()?)?;
    let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR;
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).ok()?;
    let gone = polled.iter().any(|one| one.revents().is_none_or(|found| found.intersects(hung_up)));
    (!gone).then_some(seen)
}

fn write(mut stream: UnixStream, frames: &Receiver<Vec<u8>>) {
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    drop(stream.shutdown(Shutdown::Both));
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: UnixStream,
    decoder: Decoder,
    begun: Option<Boot>,
}

impl Frames {
    /// Reads from `stream`.
    #[must_use]
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default(), begun: None }
    }

    /// The next message; none when the stream ends between frames. `idle` bounds the wait for its first byte.
    ///
    /// # Errors
    /// [`FrameError`]: bad bytes, a frame that takes too long, a stream that fails. The connection is to be closed then.
    pub(crate) fn next<T: DeserializeOwned>(
        &mut self,
        idle: Option<Duration>,
    ) -> Result<Option<T>, FrameError> {
        let stream_error = |source| FrameError::Stream { source };
        let waiting_since = clock::read().boot;
        loop {
            if let Some(message) = self.decoder.next_message()? {
                self.begun = None;
                return Ok(Some(message));
            }
            let now = clock::read().boot;
            let deadline = if self.decoder.is_inside() {
                Some(self.begun.get_or_insert(now).after_millis(FRAME_TIME))
            } else {
                idle.map(|idle| waiting_since.after_millis(idle))
            };
            let left = deadline.map(|deadline| now.until(deadline));
            if left == Some(Duration::ZERO) {
                return Err(stream_error(io::ErrorKind::TimedOut.into()));
            }
            self.stream.set_read_timeout(left).map_err(stream_error)?;
            let mut piece = [0u8; PIECE];
            match self.stream.read(&mut piece) {
                Ok(0) if self.decoder.is_inside() => {
                    return Err(stream_error(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.feed(piece.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(source) => return Err(stream_error(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b06_a_frame_that_comes_a_byte_at_a_time_is_cut_off() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let drip = thread::spawn(move || {
            for byte in frame::encode(&"x".repeat(100)).unwrap() {
                if theirs.write_all(&[byte]).is_err() {
                    return;
                }
                // The pace of the attack itself.
                thread::sleep(Duration::from_millis(300));
            }
        });
        let begin = clock::read().boot;
        let mut frames = Frames::new(ours);
        assert!(matches!(frames.next::<String>(None), Err(FrameError::Stream { .. })));
        assert!(clock::read().boot.0 < begin.0 + 6_000);
        drop(frames);
        drip.join().unwrap();
    }

    #[test]
    fn b07_a_peer_that_does_not_read_is_given_up_at_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Peer::start(&ours, 8).unwrap();
        let big = "x".repeat(100_000);
        let begin = clock::read().boot;
        assert!((0..200).any(|_| peer.send(&big).is_err()));
        assert!(clock::read().boot.0 < begin.0 + 2_000);
        drop(theirs);
    }

    #[test]
    fn what_is_queued_is_written_before_the_socket_is_shut() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Peer::start(&ours, 8).unwrap();
        peer.send(&"last words").unwrap();
        drop(peer);
        let mut frames = Frames::new(theirs);
        assert_eq!(frames.next::<String>(None).unwrap().as_deref(), Some("last words"));
        assert!(frames.next::<String>(None).unwrap().is_none());
    }
}
