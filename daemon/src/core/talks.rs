//! How many conversations there are at a time and in a minute: per speaker and of those that stay.
//!
//! In: a speaker, the time. Out: a place, given back when it is dropped, or none (threats C20, B06: everything bounded, and
//! with it what one speaker can write into the log).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use elevate_protocol::time::{Span, Timestamp};

/// Conversations of one speaker at a time.
const EACH_MAX: usize = 32;
/// Conversations that one speaker begins in a minute.
const EACH_MINUTE: u32 = 600;
/// Conversations that follow the log or the requests, of everybody.
const STAYING_MAX: usize = 256;
/// Whom those that stay are counted under; no name of a person has a space.
const STAYING: &str = " staying";

/// Counts conversations.
#[derive(Default)]
pub(super) struct Talks {
    open: Arc<Mutex<HashMap<String, usize>>>,
    begun: Mutex<Begun>,
}

/// What began since the beginning of a minute.
#[derive(Default)]
struct Begun {
    since: Option<Timestamp>,
    of: HashMap<String, u32>,
}

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

    /// The same for one who does not begin too many of them in a minute.
    pub(super) fn take_seldom(&self, speaker: String, now: Timestamp) -> Option<Place> {
        if self.is_too_often(&speaker, now) { None } else { self.take(speaker) }
    }

    fn is_too_often(&self, speaker: &str, now: Timestamp) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins anew as well.
        if begun.since.is_none_or(|since| now < since || now >= since.after(Span::MINUTE)) {
            *begun = Begun { since: Some(now), of: HashMap::new() };
        }
        let count = begun.of.entry(speaker.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count > EACH_MINUTE
    }

    /// A place for a conversation that stays.
    pub(super) fn stay(&self) -> Option<Place> {
        self.claim(STAYING.to_owned(), STAYING_MAX)
    }

    fn claim(&self, whose: String, most: usize) -> Option<Place> {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(whose.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place { counts: Arc::clone(&self.open), whose })
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

    #[test]
    fn c20_one_speaker_begins_so_many_conversations_in_a_minute_and_no_more() {
        let talks = Talks::default();
        let begun = (0..1000).filter(|_| talks.take_seldom("alice".into(), Timestamp(100)).is_some()).count();
        assert_eq!(begun, 600);
        assert!(talks.take_seldom("alice".into(), Timestamp(159)).is_none());
        assert!(talks.take_seldom("bob".into(), Timestamp(159)).is_some());
        assert!(talks.take_seldom("alice".into(), Timestamp(160)).is_some());
    }
}
