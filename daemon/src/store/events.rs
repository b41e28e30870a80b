//! The log: reading it in order, waiting for more, remembering how far a sink got.
//!
//! In: numbers of events. Out: events and their canonical lines. Written only by [`Tx::record`].

use std::sync::Arc;

use elevate_audit::Event;
use elevate_protocol::time::Timestamp;
use tokio::sync::watch;

use super::row::{Row, big};
use super::tx::What;
use super::{Store, StoreError, Tx};

/// An event as it stands in the log.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// The event.
    pub(crate) event: Event,
    /// Its canonical line, the bytes that were stored.
    pub(crate) line: String,
}

/// Reads the log for one sink or one follower.
pub(crate) struct EventReader {
    store: Arc<Store>,
    head: watch::Receiver<u64>,
}

impl EventReader {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let head = store.head();
        Self { store, head }
    }

    /// The number of the next event that will be recorded.
    #[must_use]
    pub(crate) fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Events from number `from` on, in order, at most `most`. None when there are no more yet.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn read(&self, from: u64, most: u32) -> Result<Vec<Recorded>, StoreError> {
        self.store.glance().await?.events_from(from, most).await
    }

    /// Returns when event number `seq` is there. False when the store is gone.
    pub(crate) async fn wait_for(&mut self, seq: u64) -> bool {
        self.head.wait_for(|head| *head > seq).await.is_ok()
    }

    /// The number of the next event for this sink; 0 for a new one.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn cursor(&self, sink: &str) -> Result<u64, StoreError> {
        self.store.read().await?.cursor(sink).await
    }

    /// The time, as events have it.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        self.store.clock.now()
    }

    /// Records an event of its own.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn record(&self, what: What) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        tx.record(what).await?;
        tx.commit().await
    }

    /// Remembers that the sink has everything before `next`. Never goes back.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn advance(&self, sink: &str, next: u64) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        tx.set_cursor(sink, next).await?;
        tx.commit().await
    }
}

impl Tx {
    /// Events from a number on.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn events_from(&mut self, from: u64, most: u32) -> Result<Vec<Recorded>, StoreError> {
        let rows = sqlx::query("SELECT line FROM events WHERE seq >= $1 ORDER BY seq LIMIT $2")
            .bind(big(from))
            .bind(i64::from(most))
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let line = Row("events", row).text("line")?;
                let event = Event::from_line(&line)
                    .map_err(|error| StoreError::Damaged { table: "events", reason: error.to_string() })?;
                Ok(Recorded { event, line })
            })
            .collect()
    }

    /// The number of the next event for this sink; 0 for a new one.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn cursor(&mut self, sink: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT next FROM cursors WHERE sink = $1")
            .bind(sink)
            .fetch_optional(self.ready().await?)
            .await?;
        row.map_or(Ok(0), |row| Row("cursors", &row).number("next"))
    }

    async fn set_cursor(&mut self, sink: &str, next: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO cursors (sink, next) VALUES ($1, $2)
             ON CONFLICT (sink) DO UPDATE SET next = excluded.next WHERE cursors.next < excluded.next",
        )
        .bind(sink)
        .bind(big(next))
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }
}
