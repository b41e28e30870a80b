//! How many conversations there are at a time: per speaker and of those that stay.
//!
//! In: a speaker. Out: a place, given back when it is dropped, or none (threat C09, B06: everything bounded).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Conversations of one speaker at a time.
const EACH_MAX: usize = 32;
/// Conversations that follow the log or the requests, of everybody.
const STAYING_MAX: usize = 256;
/// Whom those that stay are counted under; no name of a person has a space.
const STAYING: &str = " staying";

/// Counts conversations.
#[derive(Default)]
pub(super) struct Talks(Arc<Mutex<HashMap<String, usize>>>);

/// One of a bounded number of places.
pub(super) struct Place {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    whose: String,
}

impl Talks {
    /// A place for a conversation of this speaker.
    pub(super) fn take(&self, speaker: String) -> Option<Place> {
        self.claim(speaker, EACH_MAX)
    }

    /// A place for a conversation that stays.
    pub(super) fn stay(&self) -> Option<Place> {
        self.claim(STAYING.to_owned(), STAYING_MAX)
    }

    fn claim(&self, whose: String, most: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(whose.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place { counts: Arc::clone(&self.0), whose })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.whose) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_per_speaker_and_come_back() {
        let talks = Talks::default();
        let mut held: Vec<Place> = (0..EACH_MAX).map(|_| talks.take("alice".into()).unwrap()).collect();
        assert!(talks.take("alice".into()).is_none());
        assert!(talks.take("bob".into()).is_some());
        held.pop();
        assert!(talks.take("alice".into()).is_some());
    }
}
