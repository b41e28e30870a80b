//! What each sink is at, for whoever asks: `elevatectl sinks`.
//!
//! In: what the sinks tell. Out: a list. The place in the log is not here but in the store, where it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;

/// One sink, as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    /// Where it sends to, for people.
    pub(crate) to: String,
    /// Since when it fails; none: it works, or has not tried.
    pub(crate) failing_since: Option<Timestamp>,
    /// The last failure, which may be over.
    pub(crate) last_error: Option<(Timestamp, UntrustedText)>,
}

/// All sinks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Condition>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Condition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the board for the sink that the store knows as `name`.
    #[must_use]
    pub(super) fn post(&self, name: String, to: String) -> Post {
        self.lock().insert(name.clone(), Condition { to, ..Condition::default() });
        Post { board: self.clone(), name }
    }

    /// Every sink by its name in the store.
    #[must_use]
    pub(crate) fn list(&self) -> BTreeMap<String, Condition> {
        self.lock().clone()
    }
}

/// One sink's own place on the board.
#[derive(Debug)]
pub(super) struct Post {
    board: Board,
    name: String,
}

impl Post {
    /// Its name in the store.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// It works. True when it did not before.
    pub(super) fn works(&self) -> bool {
        let mut all = self.board.lock();
        all.get_mut(&self.name).is_some_and(|own| own.failing_since.take().is_some())
    }

    /// It fails; since when.
    pub(super) fn fails(&self, why: &str, now: Timestamp) -> Timestamp {
        let mut all = self.board.lock();
        let own = all.entry(self.name.clone()).or_default();
        own.last_error = Some((now, UntrustedText::lossy(why)));
        *own.failing_since.get_or_insert(now)
    }
}
