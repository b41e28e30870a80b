//! Fuzz target: frames of every conversation, in pieces. A message that is taken is the same after it was written again.
//!
//! In: the stream, its first byte says how it is cut. Out: nothing, or a panic. Spec: docs/wire.md "Frames"; threat B06.

use elevate_protocol::frame::{Decoder, encode};
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::message::enrol::EnrolAsk;
use elevate_protocol::message::pam::{FromChild, ToChild};
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::signed::SignedBody;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*cut).max(1)).collect();
    one::<Say>(&pieces);
    one::<Reply>(&pieces);
    one::<ToAgent>(&pieces);
    one::<EnrolAsk>(&pieces);
    one::<FromChild>(&pieces);
    one::<ToChild>(&pieces);
    one::<SignedBody>(&pieces);
}

fn one<T: Serialize + DeserializeOwned>(pieces: &[&[u8]]) {
    let mut decoder = Decoder::default();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_message::<T>() {
                Ok(None) => break,
                Ok(Some(message)) => again(&message),
                // The stream is closed.
                Err(_) => return,
            }
        }
    }
}

fn again<T: Serialize + DeserializeOwned>(message: &T) {
    // Longer than a frame once it is escaped: whoever sends it gets an error instead.
    let Ok(bytes) = encode(message) else { return };
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let read: Option<T> = decoder.next_message().expect("what was written reads back");
    let read = read.expect("a whole frame is a message");
    assert_eq!(encode(&read).expect("as before"), bytes, "another message after it was written again");
    assert!(!decoder.is_inside(), "a frame has an end");
}
