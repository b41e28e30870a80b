//! Locks: on what, since when, by whom, why, and when each was over.
//!
//! In: [`LockRow`]s. Out: those in force at the time of the transaction, and whether somebody was locked since a moment.
//! A lock that is over stays: approvals of its time do not come back to life.

use elevate_audit::Actor;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyRow;

use super::row::{Row, to_json};
use super::{StoreError, Tx};

/// One lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockRow {
    /// Its id; nobody types it.
    pub(crate) id: Nonce,
    /// On what.
    pub(crate) what: LockWhat,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Who set it.
    pub(crate) by: Actor,
    /// First second in which it holds no longer; none: until it is lifted.
    pub(crate) until: Option<Timestamp>,
    /// Why.
    pub(crate) reason: UntrustedText,
}

/// The columns of a [`LockWhat`]. No name is empty.
fn columns(what: &LockWhat) -> (&'static str, &str) {
    match what {
        LockWhat::Person(name) => ("person", name.as_str()),
        LockWhat::Role(name) => ("role", name.as_str()),
        LockWhat::Host(name) => ("host", name.as_str()),
        LockWhat::Everything => ("everything", ""),
    }
}

fn lock_of(row: &AnyRow) -> Result<LockRow, StoreError> {
    let row = Row("locks", row);
    let kind = row.text("kind")?;
    let what = match kind.as_str() {
        "person" => LockWhat::Person(row.parsed("name")?),
        "role" => LockWhat::Role(row.parsed("name")?),
        "host" => LockWhat::Host(row.parsed("name")?),
        "everything" => LockWhat::Everything,
        other => {
            return Err(StoreError::Damaged { table: "locks", reason: format!("column kind: {other:?}") });
        }
    };
    Ok(LockRow {
        id: row.parsed("id")?,
        what,
        since: row.time("begun_at")?,
        by: row.json("begun_by")?,
        until: row.maybe_time("ends_at")?,
        reason: UntrustedText::lossy(&row.text("reason")?),
    })
}

impl Tx {
    /// A new lock.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_lock(&mut self, lock: &LockRow) -> Result<(), StoreError> {
        let (kind, name) = columns(&lock.what);
        sqlx::query(
            "INSERT INTO locks (id, kind, name, begun_at, begun_by, ends_at, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(lock.id.to_string())
        .bind(kind)
        .bind(name)
        .bind(lock.since.0)
        .bind(to_json("who locked", &lock.by)?)
        .bind(lock.until.map(|at| at.0))
        .bind(lock.reason.raw().to_owned())
        .execute(self.ready().await?)
        .await?;
        self.seen.forget_locks();
        self.touch_locks();
        Ok(())
    }

    /// Every lock in force, the oldest first.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn locks(&mut self) -> Result<Vec<LockRow>, StoreError> {
        if let Some(locks) = self.seen.locks() {
            return Ok(locks.to_vec());
        }
        let question = "SELECT * FROM locks WHERE over_at IS NULL AND (ends_at IS NULL OR ends_at > $1) ORDER BY begun_at, id";
        let rows = self.ask(question, [self.now().0.into()]).await?;
        let locks = rows.iter().map(lock_of).collect::<Result<Vec<_>, _>>()?;
        self.seen.saw_locks(&locks);
        Ok(locks)
    }

    /// Locks whose time is over and that nobody has said so of, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn locks_due(&mut self, most: u32) -> Result<Vec<LockRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM locks WHERE over_at IS NULL AND ends_at <= $1 ORDER BY ends_at LIMIT $2",
        )
        .bind(self.now().0)
        .bind(i64::from(most))
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(lock_of).collect()
    }

    /// Ends a lock.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn end_lock(&mut self, id: Nonce, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE locks SET over_at = $2 WHERE id = $1 AND over_at IS NULL")
            .bind(id.to_string())
            .bind(at.0)
            .execute(self.ready().await?)
            .await?;
        self.seen.forget_locks();
        self.touch_locks();
        Ok(())
    }

    /// Whether a person was locked at any time after `moment`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn was_locked_since(
        &mut self,
        person: &Name,
        moment: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM locks WHERE kind = 'person' AND name = $1
             AND (over_at IS NULL OR over_at >= $2) AND (ends_at IS NULL OR ends_at >= $2) LIMIT 1",
        )
        .bind(person.as_str())
        .bind(moment.0)
        .fetch_optional(self.ready().await?)
        .await?;
        Ok(row.is_some())
    }
}
