//! One stream of frames to the agent or the daemon.
//!
//! In: [`Say`]. Out: [`Reply`]s, as the bytes arrive. Its descriptor is waited for beside signals and the terminal.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use elevate_protocol::frame::{self, Decoder, FrameError};
use elevate_protocol::message::person::{Reply, Say};

use super::DoorError;

/// How long the other side may take to take what is said.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Why the SSH side of a conversation ended, told once.
pub type Fate = Arc<Mutex<Option<DoorError>>>;

/// A conversation: hello, one ask, replies.
#[derive(Debug)]
pub struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    fate: Option<Fate>,
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
        Ok(Self { stream, decoder: Decoder::default(), fate })
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
