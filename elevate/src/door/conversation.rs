//! One stream of frames to the agent or the daemon.
//!
//! In: [`Say`]. Out: [`Reply`]s, as the bytes arrive. Its descriptor is waited for beside signals and the terminal.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use elevate_protocol::frame::{self, Decoder, FrameError};
use elevate_protocol::message::person::{Reply, Say};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::DoorError;

/// How long the other side may take to take what is said.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Why the SSH side of a conversation ended, told once.
pub type Fate = Arc<Mutex<Option<DoorError>>>;

/// How long after its answer the daemon surely waits for another ask: it gives half a minute.
const SPARE: Duration = Duration::from_secs(5);

/// Conversations on one stream: hello, an ask, replies, and perhaps another ask.
#[derive(Debug)]
pub struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    fate: Option<Fate>,
    greeted: bool,
}

/// A stream on which everything was answered.
#[derive(Debug)]
pub struct Spare(Conversation, Instant);

impl Spare {
    /// The stream, for another ask, when the other side still waits for one.
    #[must_use]
    pub fn again(self, now: Instant) -> Option<Conversation> {
        let Self(conversation, answered) = self;
        let mut watched = [PollFd::new(conversation.stream.as_fd(), PollFlags::POLLIN)];
        let rests =
            now.saturating_duration_since(answered) < SPARE && poll(&mut watched, PollTimeout::ZERO) == Ok(0);
        rests.then_some(conversation)
    }
}

impl Conversation {
    /// Over a stream whose other end is proven, or carries to SSH and then has a fate.
    ///
    /// # Errors
    /// [`DoorError::System`] when the stream takes no timeout.
    pub fn over(stream: UnixStream, fate: Option<Fate>) -> Result<Self, DoorError> {
        stream
            .set_write_timeout(Some(WRITE_PATIENCE))
            .map_err(|source| DoorError::System { what: "set up a socket", source })?;
        Ok(Self { stream, decoder: Decoder::default(), fate, greeted: false })
    }

    /// Whether hello was said and answered.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Hello was answered.
    pub fn greeted(&mut self) {
        self.greeted = true;
    }

    /// Everything was answered, and the daemon itself at the other end of SSH takes another ask; agents take one only.
    #[must_use]
    pub fn spare(self, now: Instant) -> Option<Spare> {
        (self.greeted && self.fate.is_some()).then_some(Spare(self, now))
    }

    /// Says something.
    ///
    /// # Errors
    /// A [`DoorError`]; the conversation is over.
    pub fn say(&mut self, say: &Say) -> Result<(), DoorError> {
        frame::write(&mut self.stream, say).map_err(|source| self.broken(source))
    }

    /// The next reply that has arrived whole, without waiting.
    ///
    /// # Errors
    /// [`DoorError::Frame`]; the conversation is over.
    pub fn arrived(&mut self) -> Result<Option<Reply>, DoorError> {
        self.decoder.next_message().map_err(|source| DoorError::Frame { source })
    }

    /// Takes in what there is; to be called when the descriptor is readable.
    ///
    /// # Errors
    /// A [`DoorError`]: why the other side is gone.
    pub fn take_in(&mut self) -> Result<(), DoorError> {
        let mut piece = [0u8; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(self.fate().unwrap_or(DoorError::Closed)),
            Ok(count) => {
                self.decoder.feed(piece.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(source) => Err(self.broken(FrameError::Stream { source })),
        }
    }

    fn fate(&self) -> Option<DoorError> {
        let fate = self.fate.as_ref()?;
        fate.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// The reason that is known on the SSH side is better than a broken pipe.
    fn broken(&self, source: FrameError) -> DoorError {
        let gone = matches!(&source, FrameError::Stream { source } if matches!(
            source.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
        match self.fate() {
            Some(fate) => fate,
            None if gone => DoorError::Closed,
            None => DoorError::Frame { source },
        }
    }
}

impl AsFd for Conversation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that meets what it does not expect panics, and that is its answer"
    )]

    use super::*;

    fn answered(fate: Option<Fate>, greeted: bool) -> (Option<Spare>, UnixStream, Instant) {
        let (near, far) = UnixStream::pair().unwrap();
        let mut conversation = Conversation::over(near, fate).unwrap();
        if greeted {
            conversation.greeted();
        }
        let now = Instant::now();
        (conversation.spare(now), far, now)
    }

    #[test]
    fn a_stream_is_used_again_soon_and_while_the_other_side_says_nothing() {
        let (spare, _far, now) = answered(Some(Fate::default()), true);
        assert!(spare.unwrap().again(now).is_some());
        let (spare, _far, now) = answered(Some(Fate::default()), true);
        assert!(
            spare.unwrap().again(now.checked_add(SPARE).unwrap()).is_none(),
            "it may be given up any moment"
        );
        let (spare, far, now) = answered(Some(Fate::default()), true);
        drop(far);
        assert!(spare.unwrap().again(now).is_none(), "closed");
        assert!(answered(Some(Fate::default()), false).0.is_none(), "refused at hello");
        assert!(answered(None, true).0.is_none(), "a socket of this machine");
    }
}
