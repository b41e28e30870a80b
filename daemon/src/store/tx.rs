//! One transaction: what is read and written together, and the events that tell of it.
//!
//! In: statements of the other files here, [`What`] happened. Out: one durable commit, then the [`Change`]s.
//! Dropped without commit, nothing of it happened.

use std::sync::Arc;

use elevate_audit::{Actor, Door, Event, Kind, Subject};
use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::time::Timestamp;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::group::{Inner, Log};
use super::later::{Later, Value};
use super::news::Teller;
use super::row::{Row, big};
use super::seen::Seen;
use super::witness::Mark;
use super::{Change, StoreError};

/// Something that happened, before it has its place in the log.
#[derive(Debug, Clone)]
pub(crate) struct What {
    /// Who.
    pub(crate) actor: Actor,
    /// About whom and what.
    pub(crate) subject: Subject,
    /// Through which door.
    pub(crate) door: Option<Door>,
    /// What.
    pub(crate) kind: Kind,
}

/// Who speaks and through which door, as events tell it.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    /// Who.
    pub(crate) actor: Actor,
    /// Through which door.
    pub(crate) door: Option<Door>,
}

impl Voice {
    /// The daemon itself.
    pub(crate) const DAEMON: Self = Self { actor: Actor::Daemon, door: None };

    /// Something that this voice did.
    #[must_use]
    pub(crate) fn did(&self, subject: Subject, kind: Kind) -> What {
        What { actor: self.actor.clone(), subject, door: self.door.clone(), kind }
    }
}

/// A transaction.
pub(crate) struct Tx {
    inner: Inner,
    later: Later,
    pub(super) seen: Seen,
    now: Timestamp,
    next: Option<u64>,
    mark: Option<Mark>,
    touched: Vec<Change>,
    teller: Arc<Teller>,
}

impl Tx {
    pub(super) fn new(inner: Inner, now: Timestamp, teller: Arc<Teller>) -> Self {
        let next = match &inner {
            Inner::Look(_) => None,
            Inner::Write(change) => change.next(),
        };
        Self {
            inner,
            later: Later::default(),
            seen: Seen::default(),
            now,
            next,
            mark: None,
            touched: Vec::new(),
            teller,
        }
    }

    /// The connection, once everything that was kept back has run on it.
    ///
    /// # Errors
    /// A [`StoreError`]; the transaction is to be dropped then.
    pub(super) async fn ready(&mut self) -> Result<&mut AnyConnection, StoreError> {
        Ok(self.inner.ready(std::mem::take(&mut self.later)).await?)
    }

    /// Asks, with everything before it that was kept back: one way to the database.
    ///
    /// # Errors
    /// A [`StoreError`]; the transaction is to be dropped then.
    pub(super) async fn ask(
        &mut self,
        question: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        self.later.add(question, values);
        Ok(self.inner.run(std::mem::take(&mut self.later)).await?)
    }

    /// Keeps a statement back that answers nothing. Whatever is asked after it finds it done.
    ///
    /// # Errors
    /// A [`StoreError`]; the transaction is to be dropped then.
    pub(super) async fn later(
        &mut self,
        statement: &'static str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<(), StoreError> {
        self.later.add(statement, values);
        if self.later.is_full() {
            self.ready().await?;
        }
        Ok(())
    }

    /// The time of this transaction: one moment for everything in it.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Records an event in this transaction.
    ///
    /// # Errors
    /// A [`StoreError`]; the transaction is to be dropped then.
    pub(crate) async fn record(&mut self, what: What) -> Result<(), StoreError> {
        let seq = self.next_seq().await?;
        let What { actor, subject, door, kind } = what;
        let event = Event { seq, at: self.now, actor, subject, door, kind };
        let line = event
            .to_line()
            .map_err(|source| StoreError::Form { what: "an event", source: Box::new(source) })?;
        let mark = Mark { next: seq.saturating_add(1), last: Digest::of(line.as_bytes()) };
        let values = [
            big(seq).into(),
            self.now.0.into(),
            event.kind.code().into(),
            event.subject.activation.map(|id| id.to_string()).into(),
            line.into(),
        ];
        self.later(
            "INSERT INTO events (seq, at, code, activation, line) VALUES ($1, $2, $3, $4, $5)",
            values,
        )
        .await?;
        (self.next, self.mark) = (Some(mark.next), Some(mark));
        Ok(())
    }

    /// The number of the next event.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn next_seq(&mut self) -> Result<u64, StoreError> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let rows = self.ask("SELECT COALESCE(MAX(seq), -1) + 1 AS next FROM events", []).await?;
        let next = Row("events", rows.first().ok_or(sqlx::Error::RowNotFound)?).number("next")?;
        self.next = Some(next);
        Ok(next)
    }

    /// An activation of this id is being made: there is nothing of it in the store, and none but this transaction knows it.
    pub(crate) fn makes(&mut self, id: ActivationId) {
        self.seen.makes(id);
    }

    /// Says after the commit that an activation changed.
    pub(crate) fn touch(&mut self, id: ActivationId) {
        self.note(Change::Activation(id));
    }

    /// Says after the commit that a host has new documents.
    pub(crate) fn touch_host(&mut self, id: HostId) {
        self.note(Change::Documents(id));
    }

    /// Says after the commit that offers may differ.
    pub(crate) fn touch_policy(&mut self) {
        self.note(Change::Policy);
    }

    /// Says after the commit that a lock was set or is over.
    pub(super) fn touch_locks(&mut self) {
        self.note(Change::Locks);
    }

    /// Says after the commit that another key signs certificates.
    pub(super) fn touch_cas(&mut self) {
        self.note(Change::Cas);
    }

    fn note(&mut self, change: Change) {
        if !self.touched.contains(&change) {
            self.touched.push(change);
        }
    }

    /// A remembered value, or `fresh`, which is remembered then.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn meta_or(&mut self, name: &str, fresh: &str) -> Result<String, StoreError> {
        if let Some(found) = self.meta(name).await? {
            return Ok(found);
        }
        self.set_meta(name, fresh).await?;
        Ok(fresh.to_owned())
    }

    /// A remembered value.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn meta(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let found = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(self.ready().await?)
            .await?;
        found.map(|row| Row("meta", &row).text("value")).transpose()
    }

    /// Remembers a value.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_meta(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// Makes it durable, then tells of it.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing of it happened then.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.inner {
            Inner::Look(_) => {}
            Inner::Write(change) => {
                let log = Log { next: self.next, mark: self.mark };
                change.commit(log, self.later).await?;
            }
        }
        if let Some(next) = self.next {
            self.teller.grown(next);
        }
        for change in self.touched {
            self.teller.tell(change);
        }
        Ok(())
    }
}
