//! Changes of who a person is to the daemon, which wait before they count; and the keys that counted.
//!
//! In: [`ChangeRow`]s, fingerprints. Out: the same. Over restarts a change waits on (threat D07).

use elevate_audit::Actor;
use elevate_protocol::id::Nonce;
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyRow;

use super::row::{Row, big, to_json};
use super::{StoreError, Tx};

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The second factor: its sealed seed, and the step that confirmed it.
    Factor { sealed: String, step: u64 },
    /// A key more, by its fingerprint.
    Key(String),
}

/// How administrators name a factor among changes. No fingerprint is this.
const FACTOR: &str = "factor";

impl Changed {
    /// `factor`, or the key's fingerprint.
    #[must_use]
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Factor { .. } => FACTOR,
            Self::Key(fingerprint) => fingerprint,
        }
    }
}

/// One change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeRow {
    pub(crate) id: Nonce,
    pub(crate) person: Name,
    pub(crate) what: Changed,
    pub(crate) begun_at: Timestamp,
    /// Who began it: whoever invited, or put the key into the policy, or the person with a recovery code.
    pub(crate) begun_by: Actor,
    /// When it counts by itself; none: by an administrator's word only.
    pub(crate) counts_at: Option<Timestamp>,
}

/// A key that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) person: Name,
    pub(crate) fingerprint: String,
    /// It is in the policy no longer.
    pub(crate) is_gone: bool,
}

fn change_of(row: &AnyRow) -> Result<ChangeRow, StoreError> {
    let row = Row("changes", row);
    let what = row.text("what")?;
    let what = if what == FACTOR {
        Changed::Factor { sealed: row.text("sealed")?, step: row.number("step")? }
    } else {
        Changed::Key(what)
    };
    Ok(ChangeRow {
        id: row.parsed("id")?,
        person: row.parsed("person")?,
        what,
        begun_at: row.time("begun_at")?,
        begun_by: row.json("begun_by")?,
        counts_at: row.maybe_time("counts_at")?,
    })
}

impl Tx {
    /// A change begins to wait.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_change(&mut self, change: &ChangeRow) -> Result<(), StoreError> {
        let (sealed, step) = match &change.what {
            Changed::Factor { sealed, step } => (Some(sealed.clone()), Some(big(*step))),
            Changed::Key(_) => (None, None),
        };
        sqlx::query(
            "INSERT INTO changes (id, person, what, begun_at, begun_by, counts_at, sealed, step)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(change.id.to_string())
        .bind(change.person.as_str())
        .bind(change.what.word().to_owned())
        .bind(change.begun_at.0)
        .bind(to_json("who began a change", &change.begun_by)?)
        .bind(change.counts_at.map(|at| at.0))
        .bind(sealed)
        .bind(step)
        .execute(self.ready().await?)
        .await?;
        self.touch_locks();
        Ok(())
    }

    /// Every change that waits, the oldest first.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn changes_waiting(&mut self) -> Result<Vec<ChangeRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM changes WHERE over_at IS NULL ORDER BY begun_at, id")
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter().map(change_of).collect()
    }

    /// A change waits no longer, whatever became of it. What it held of a seed goes.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn end_change(&mut self, id: Nonce) -> Result<(), StoreError> {
        sqlx::query("UPDATE changes SET over_at = $2, sealed = NULL WHERE id = $1 AND over_at IS NULL")
            .bind(id.to_string())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        self.touch_locks();
        Ok(())
    }

    /// What waits for a person counts by an administrator's word only from now on.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn hold_changes(&mut self, person: &Name) -> Result<(), StoreError> {
        sqlx::query("UPDATE changes SET counts_at = NULL WHERE person = $1 AND over_at IS NULL")
            .bind(person.as_str())
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Every key that ever counted.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn known_keys(&mut self) -> Result<Vec<KnownKey>, StoreError> {
        let rows = sqlx::query("SELECT * FROM known_keys").fetch_all(self.ready().await?).await?;
        rows.iter()
            .map(|row| {
                let row = Row("known_keys", row);
                Ok(KnownKey {
                    person: row.parsed("person")?,
                    fingerprint: row.text("fingerprint")?,
                    is_gone: row.maybe_time("gone_at")?.is_some(),
                })
            })
            .collect()
    }

    /// A key counts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn know_key(&mut self, person: &Name, fingerprint: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO known_keys (person, fingerprint, since) VALUES ($1, $2, $3)
             ON CONFLICT (person, fingerprint) DO UPDATE SET since = excluded.since, gone_at = NULL",
        )
        .bind(person.as_str())
        .bind(fingerprint)
        .bind(self.now().0)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// A key went from the policy.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn forget_key(&mut self, person: &Name, fingerprint: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE known_keys SET gone_at = $3 WHERE person = $1 AND fingerprint = $2")
            .bind(person.as_str())
            .bind(fingerprint)
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Whether a person has or had a factor.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn had_factor(&mut self, person: &Name) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT person FROM factors WHERE person = $1")
            .bind(person.as_str())
            .fetch_optional(self.ready().await?)
            .await?;
        Ok(row.is_some())
    }

    /// Takes a person's factor away; that there was one is remembered.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn drop_factor(&mut self, person: &Name) -> Result<(), StoreError> {
        sqlx::query("UPDATE factors SET gone_at = $2 WHERE person = $1 AND gone_at IS NULL")
            .bind(person.as_str())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }
}
