//! What a program has said so far, and waiting for it to say something.
//!
//! In: the read ends of its pipes or terminal. Out: text.
//! Runs as: anybody; one thread per stream. Spec: none.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A growing text; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    open: usize,
}

impl Transcript {
    /// Add everything that `stream` says until it ends (a terminal ends with EIO).
    pub(crate) fn follow(&self, mut stream: impl Read + Send + 'static) {
        self.change(|state| state.open = state.open.saturating_add(1));
        let own = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => own.change(|state| state.bytes.extend(buffer.iter().take(n))),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            own.change(|state| state.open = state.open.saturating_sub(1));
        });
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).text(0)
    }

    /// Wait until one of `wanted` is said after byte `from`: which one, and where it ends.
    ///
    /// # Errors
    /// Not within `limit`, or the program has ended without it; the error quotes what it did say.
    pub(crate) fn find(&self, from: usize, wanted: &[&str], limit: Duration) -> Result<(usize, usize)> {
        let end = Instant::now().checked_add(limit);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let unread = state.bytes.get(from..).unwrap_or_default();
            // The earliest match counts, so that texts are met in the order in which they were said.
            let hits =
                wanted.iter().enumerate().filter_map(|(i, w)| Some((position(unread, w)?, i, w.len())));
            if let Some((at, which, length)) = hits.min() {
                return Ok((which, from.saturating_add(at).saturating_add(length)));
            }
            let left = end.map_or(limit, |end| end.saturating_duration_since(Instant::now()));
            if state.open == 0 || left.is_zero() {
                let why = if state.open == 0 { "the program ended" } else { "time is up" };
                bail!("{why} without {wanted:?}; it said:\n{}", state.text(0));
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wait until all streams have ended; a background process may keep them open for ever.
    pub(crate) fn wait_closed(&self, limit: Duration) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(state, limit, |state| state.open > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.open == 0
    }

    /// The text between two byte positions.
    pub(crate) fn slice(&self, from: usize, to: usize) -> String {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(state.bytes.get(from..to).unwrap_or_default()).into_owned()
    }
}

impl State {
    fn text(&self, from: usize) -> String {
        String::from_utf8_lossy(self.bytes.get(from..).unwrap_or_default()).into_owned()
    }
}

fn position(hay: &[u8], needle: &str) -> Option<usize> {
    hay.windows(needle.len().max(1)).position(|window| window == needle.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_text_is_found_first_and_only_once() {
        let said = Transcript::default();
        said.follow(&b"one two one"[..]);
        let limit = Duration::from_secs(9);
        assert_eq!(said.find(0, &["two", "one"], limit).unwrap(), (1, 3));
        assert_eq!(said.find(3, &["two", "one"], limit).unwrap(), (0, 7));
        assert_eq!(said.find(7, &["one"], limit).unwrap(), (0, 11));
    }

    #[test]
    fn an_end_without_the_text_is_an_error_that_quotes_it() {
        let said = Transcript::default();
        said.follow(&b"nothing"[..]);
        let error = said.find(0, &["word"], Duration::from_secs(9)).unwrap_err().to_string();
        assert_eq!(error, "the program ended without [\"word\"]; it said:\nnothing");
    }
}
