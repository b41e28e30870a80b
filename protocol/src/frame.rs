//! Frames: a length of four bytes, most significant first, and that many bytes of one JSON message.
//!
//! In: bytes of a stream. Out: typed messages, or the reason to close. Spec: docs/wire.md "Frames".
//! [`Decoder`] is for streams that arrive in pieces; `read` and `write` are for blocking ones.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message in bytes.
pub const FRAME_MAX: usize = 256 * 1024;
/// Bytes of the length before it.
pub const HEAD: usize = 4;

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is 0 or above [`FRAME_MAX`].
    #[error("a frame has 1 to {FRAME_MAX} bytes, this claims {claimed}")]
    Length {
        /// Bytes claimed.
        claimed: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("not a message of this conversation")]
    Message {
        /// What serde says; it may quote the peer and is for the log, escaped.
        source: serde_json::Error,
    },
    /// The stream failed or ended inside a frame.
    #[error("the stream failed")]
    Stream {
        /// What the system says.
        source: io::Error,
    },
}

/// The frame of one message.
///
/// # Errors
/// [`FrameError::Length`] when the message is too long to send, [`FrameError::Message`] when serde cannot write it.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(message).map_err(|source| FrameError::Message { source })?;
    let claimed = body.len();
    let length = u32::try_from(claimed).ok().filter(|_| claimed <= FRAME_MAX);
    let length = length.ok_or(FrameError::Length { claimed })?;
    let mut frame = Vec::with_capacity(claimed.saturating_add(HEAD));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn body_length(head: [u8; HEAD]) -> Result<usize, FrameError> {
    let claimed = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if claimed == 0 || claimed > FRAME_MAX {
        return Err(FrameError::Length { claimed });
    }
    Ok(claimed)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|source| FrameError::Message { source })
}

/// Collects the pieces of a stream into frames. Holds at most one frame and one piece.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds a piece as it arrived.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message, or none until more is fed.
    ///
    /// # Errors
    /// A [`FrameError`]; the stream is to be closed then.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let length = body_length(*head)?;
        let Some((body, _)) = rest.split_at_checked(length) else { return Ok(None) };
        let message = parse(body)?;
        self.buffer.drain(..length.saturating_add(HEAD));
        Ok(Some(message))
    }

    /// The next whole frame as raw bytes, head included, without parsing it: for those who only carry.
    ///
    /// # Errors
    /// [`FrameError::Length`]; the stream is to be closed then.
    pub fn next_raw(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let length = body_length(*head)?;
        if rest.len() < length {
            return Ok(None);
        }
        Ok(Some(self.buffer.drain(..length.saturating_add(HEAD)).collect()))
    }

    /// Whether a frame has begun and not ended: a peer that goes now was cut off.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Reads one message; none when the stream ends between frames. The stream's own timeout bounds the wait.
///
/// # Errors
/// A [`FrameError`]; the stream is to be closed then.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut head = [0u8; HEAD];
    let mut filled = 0;
    while let Some(space) = head.get_mut(filled..).filter(|space| !space.is_empty()) {
        match stream.read(space) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Stream { source: io::ErrorKind::UnexpectedEof.into() }),
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(FrameError::Stream { source }),
        }
    }
    // Grows with what really arrives, so that a claimed length alone costs nothing (threat B06).
    let length = body_length(head)?;
    let mut body = Vec::new();
    let limit = u64::try_from(length).unwrap_or(0);
    stream.take(limit).read_to_end(&mut body).map_err(|source| FrameError::Stream { source })?;
    if body.len() < length {
        return Err(FrameError::Stream { source: io::ErrorKind::UnexpectedEof.into() });
    }
    parse(&body).map(Some)
}

/// Writes one message.
///
/// # Errors
/// A [`FrameError`]; the stream is to be closed then.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let frame = encode(message)?;
    stream.write_all(&frame).and_then(|()| stream.flush()).map_err(|source| FrameError::Stream { source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(bytes: &[u8], piece: usize) -> Result<Vec<serde_json::Value>, FrameError> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for part in bytes.chunks(piece.max(1)) {
            decoder.feed(part);
            while let Some(message) = decoder.next_message()? {
                found.push(message);
            }
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(texts in proptest::collection::vec(".{0,80}", 0..8), piece in 1usize..40) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| encode(text).unwrap()).collect();
            let found: Vec<String> =
                decode_all(&bytes, piece).unwrap().into_iter().map(|v| v.as_str().unwrap().to_owned()).collect();
            prop_assert_eq!(&found, &texts);
            let mut stream = bytes.as_slice();
            for text in &texts {
                let found = read::<String>(&mut stream).unwrap();
                prop_assert_eq!(found.as_ref(), Some(text));
            }
            prop_assert!(read::<String>(&mut stream).unwrap().is_none());
        }

        #[test]
        fn b06_no_bytes_make_the_decoder_panic_or_hold_more_than_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_message::<serde_json::Value>() {}
            let _closed_or_waiting: Result<Option<Vec<u8>>, FrameError> = decoder.next_raw();
        }
    }

    #[test]
    fn b06_lengths_out_of_bounds_close_the_stream() {
        for claimed in [0u32, 256 * 1024 + 1, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.feed(&claimed.to_be_bytes());
            assert!(matches!(decoder.next_message::<String>(), Err(FrameError::Length { .. })));
            assert!(matches!(
                read::<String>(&mut claimed.to_be_bytes().as_slice()),
                Err(FrameError::Length { .. })
            ));
        }
        assert!(matches!(encode(&"x".repeat(FRAME_MAX)), Err(FrameError::Length { .. })));
    }

    #[test]
    fn b06_deep_nesting_and_odd_json_are_refused_without_harm() {
        let deep = "[".repeat(100_000);
        for body in [deep.as_str(), "{\"a\":NaN}", "\"\u{0}", "{} {}"] {
            let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            frame.extend_from_slice(body.as_bytes());
            assert!(matches!(
                read::<serde_json::Value>(&mut frame.as_slice()),
                Err(FrameError::Message { .. })
            ));
        }
    }

    #[test]
    fn a_stream_cut_inside_a_frame_is_an_error_not_an_end() {
        let frame = encode(&"hello").unwrap();
        for cut in 1..frame.len() {
            assert!(matches!(read::<String>(&mut &frame[..cut]), Err(FrameError::Stream { .. })), "{cut}");
        }
    }
}
