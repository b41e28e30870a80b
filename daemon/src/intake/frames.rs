//! Messages over any stream: read with limits, written with a limit.
//!
//! In: bytes. Out: typed messages, or the reason to close. Threat B06: half a frame, one byte a second, lengths that no
//! frame has, bytes that are no message; each closes the stream within [`super::Patience::frame`].

use std::pin::Pin;
use std::time::Duration;

use elevate_protocol::frame::{Decoder, FrameError, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Patience;

/// Bytes read at a time; each connection that rests holds so many.
const PIECE: usize = 512;
/// A day: long enough to be no limit, short enough for every timer.
pub(crate) const NO_LIMIT: Duration = Duration::from_secs(86_400);

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    /// Not a frame, not a message, or the stream failed.
    #[error("the peer sent something that is no message")]
    Frame(#[from] FrameError),
    /// The stream failed.
    #[error("the stream failed")]
    Stream(#[from] std::io::Error),
    /// It ended inside a frame.
    #[error("the peer went in the middle of a message")]
    CutOff,
    /// Nothing came for too long.
    #[error("the peer said nothing for too long")]
    Silent,
    /// A frame took too long.
    #[error("the peer took too long for one message")]
    Slow,
    /// It does not read what it is sent.
    #[error("the peer does not read what it is sent")]
    Stuck,
}

/// The reading half.
pub(crate) struct Frames<R> {
    reader: R,
    decoder: Decoder,
    piece: Vec<u8>,
    frame: Duration,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
}

/// Both halves of a peer's stream: messages of it, with deadlines, and where to write. `first` is how long it may be silent at first.
pub(super) fn open<S: AsyncRead + AsyncWrite>(
    stream: S,
    patience: Patience,
    first: Duration,
) -> (Frames<ReadHalf<S>>, WriteHalf<S>) {
    let (reader, writer) = tokio::io::split(stream);
    (Frames::new(reader, patience.frame, first), writer)
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Gives up after `silence` between messages and after `frame` inside one.
    pub(crate) fn new(reader: R, frame: Duration, silence: Duration) -> Self {
        let timer = Box::pin(sleep(silence));
        Self { reader, decoder: Decoder::default(), piece: vec![0; PIECE], frame, silence, timer }
    }

    /// From here on another silence is allowed.
    pub(crate) fn allow_silence(&mut self, silence: Duration) {
        self.silence = silence;
        if !self.decoder.is_inside() {
            self.arm();
        }
    }

    fn arm(&mut self) {
        let wait = if self.decoder.is_inside() { self.frame } else { self.silence };
        // Monotonic; the wall clock is read by clock.rs only.
        let now = Instant::now();
        self.timer.as_mut().reset(now.checked_add(wait).unwrap_or(now));
    }

    /// The next message; none when the stream ended between two. Nothing is lost when this future is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PumpError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                self.arm();
                return Ok(Some(message));
            }
            let inside = self.decoder.is_inside();
            tokio::select! {
                read = self.reader.read(&mut self.piece) => match read? {
                    0 if inside => return Err(PumpError::CutOff),
                    0 => return Ok(None),
                    read => {
                        self.decoder.feed(self.piece.get(..read).unwrap_or_default());
                        // More bytes of the same frame buy no time.
                        if !inside {
                            self.arm();
                        }
                    }
                },
                () = self.timer.as_mut() => {
                    return Err(if inside { PumpError::Slow } else { PumpError::Silent });
                }
            }
        }
    }
}

/// Writes one message within `limit`.
pub(crate) async fn write<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &T,
    limit: Duration,
) -> Result<(), PumpError> {
    let frame = encode(message)?;
    let written = timeout(limit, async {
        writer.write_all(&frame).await?;
        writer.flush().await
    });
    Ok(written.await.map_err(|_| PumpError::Stuck)??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const FRAME: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn b06_one_byte_a_second_is_cut_after_the_time_of_a_frame() {
        let (mut peer, ours) = duplex(64);
        let mut frames = Frames::new(ours, FRAME, Duration::from_secs(30));
        let dripping = tokio::spawn(async move {
            for byte in [0u8, 0, 0, 40].into_iter().chain(std::iter::repeat_n(b' ', 40)) {
                if peer.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        assert!(matches!(frames.next::<String>().await, Err(PumpError::Slow)));
        assert!(began.elapsed() <= FRAME, "{:?}", began.elapsed());
        drop(frames);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_bounded_and_reading_a_message_begins_it_again() {
        let (mut peer, ours) = duplex(64);
        let mut frames = Frames::new(ours, FRAME, Duration::from_secs(30));
        for _ in 0..3 {
            sleep(Duration::from_secs(20)).await;
            peer.write_all(&encode(&"x").unwrap()).await.unwrap();
            assert_eq!(frames.next::<String>().await.unwrap().as_deref(), Some("x"));
        }
        assert!(matches!(frames.next::<String>().await, Err(PumpError::Silent)));
    }

    #[tokio::test(start_paused = true)]
    async fn b07_a_peer_that_does_not_read_is_given_up() {
        let (_peer, mut ours) = duplex(64);
        let long = "x".repeat(1000);
        assert!(matches!(write(&mut ours, &long, Duration::from_secs(30)).await, Err(PumpError::Stuck)));
    }
}
