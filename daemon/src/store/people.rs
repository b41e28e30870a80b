//! What is remembered of people beside the policy: factors, wrong codes, invitations.
//!
//! In: sealed seeds, counters. Out: the same. Used steps and counters survive restarts (threats D01, D02).

use elevate_audit::Actor;
use elevate_protocol::digest::Digest;
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;

use super::row::{Row, big, to_json};
use super::{StoreError, Tx};

/// A TOTP factor.
#[derive(Debug, Clone)]
pub(crate) struct FactorRow {
    /// The seed, sealed, in hex.
    pub(crate) sealed: String,
    /// When it was enrolled.
    pub(crate) since: Timestamp,
    /// When it was last used.
    pub(crate) used_at: Option<Timestamp>,
}

/// Wrong codes of a person at one door.
#[derive(Debug, Clone)]
pub(crate) struct FailureRow {
    /// The door: a host's id, or `key` for door 2; `*` is all of them.
    pub(crate) door: String,
    /// Since the last right one.
    pub(crate) count: u32,
    /// Before this no code is looked at.
    pub(crate) next_at: Timestamp,
    /// Before this the door is locked.
    pub(crate) locked_until: Timestamp,
}

/// An invitation to enrol a factor.
#[derive(Debug, Clone)]
pub(crate) struct InvitationRow {
    /// Whom it invites.
    pub(crate) person: Name,
    /// First second in which it is worth nothing.
    pub(crate) valid_until: Timestamp,
    /// Tries made with it.
    pub(crate) tries: u32,
    /// When it was used.
    pub(crate) used_at: Option<Timestamp>,
    /// Who made it.
    pub(crate) by: Actor,
}

impl Tx {
    /// A person's factor.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn factor(&mut self, person: &Name) -> Result<Option<FactorRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM factors WHERE person = $1 AND gone_at IS NULL")
            .bind(person.as_str())
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("factors", &row);
        Ok(Some(FactorRow {
            sealed: row.text("sealed")?,
            since: row.time("since")?,
            used_at: row.maybe_time("used_at")?,
        }))
    }

    /// Enrols or replaces a factor; `step` is the one that confirmed it and is used thereby.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_factor(
        &mut self,
        person: &Name,
        sealed: &str,
        step: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO factors (person, sealed, since, last_step) VALUES ($1, $2, $3, $4)
             ON CONFLICT (person) DO UPDATE SET sealed = excluded.sealed, since = excluded.since,
                 last_step = excluded.last_step, used_at = NULL, gone_at = NULL",
        )
        .bind(person.as_str())
        .bind(sealed)
        .bind(self.now().0)
        .bind(big(step))
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// Uses a step up: true for the first time, false for it and every earlier one ever after (RFC 6238 §5.2).
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn burn_step(&mut self, person: &Name, step: u64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE factors SET last_step = $2, used_at = $3 WHERE person = $1 AND last_step < $2",
        )
        .bind(person.as_str())
        .bind(big(step))
        .bind(self.now().0)
        .execute(self.ready().await?)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Wrong codes of a person, at every door.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn failures(&mut self, person: &Name) -> Result<Vec<FailureRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM failures WHERE person = $1")
            .bind(person.as_str())
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Row("failures", row);
                Ok(FailureRow {
                    door: row.text("door")?,
                    count: row.number("count")?,
                    next_at: row.time("next_at")?,
                    locked_until: row.time("locked_until")?,
                })
            })
            .collect()
    }

    /// Sets what is remembered of a door.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_failures(
        &mut self,
        person: &Name,
        failures: &FailureRow,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO failures (person, door, count, next_at, locked_until) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (person, door) DO UPDATE SET count = excluded.count, next_at = excluded.next_at,
                 locked_until = excluded.locked_until",
        )
        .bind(person.as_str())
        .bind(failures.door.as_str())
        .bind(i64::from(failures.count))
        .bind(failures.next_at.0)
        .bind(failures.locked_until.0)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// A new invitation; earlier ones of the same person end with it.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_invitation(
        &mut self,
        hash: Digest,
        person: &Name,
        (valid_until, by): (Timestamp, &Actor),
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE invitations SET valid_until = $2 WHERE person = $1 AND valid_until > $2")
            .bind(person.as_str())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        sqlx::query(
            "INSERT INTO invitations (hash, person, valid_until, tries, made_by) VALUES ($1, $2, $3, 0, $4)",
        )
        .bind(hash.to_string())
        .bind(person.as_str())
        .bind(valid_until.0)
        .bind(to_json("who invited", by)?)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// The invitation with this digest.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn invitation(&mut self, hash: Digest) -> Result<Option<InvitationRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM invitations WHERE hash = $1")
            .bind(hash.to_string())
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("invitations", &row);
        Ok(Some(InvitationRow {
            person: row.parsed("person")?,
            valid_until: row.time("valid_until")?,
            tries: row.number("tries")?,
            used_at: row.maybe_time("used_at")?,
            by: row.json("made_by")?,
        }))
    }

    /// Whether a person has an invitation that is still worth something.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn is_invited(&mut self, person: &Name) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT hash FROM invitations WHERE person = $1 AND used_at IS NULL AND valid_until > $2 AND tries < $3 LIMIT 1",
        )
        .bind(person.as_str())
        .bind(self.now().0)
        .bind(i64::from(crate::factor::INVITATION_TRIES))
        .fetch_optional(self.ready().await?)
        .await?;
        Ok(row.is_some())
    }

    /// Counts a try with an invitation.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn count_try(&mut self, hash: Digest) -> Result<(), StoreError> {
        sqlx::query("UPDATE invitations SET tries = tries + 1 WHERE hash = $1")
            .bind(hash.to_string())
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Burns an invitation; false when it was burnt before.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn burn_invitation(&mut self, hash: Digest) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE invitations SET used_at = $2 WHERE hash = $1 AND used_at IS NULL")
            .bind(hash.to_string())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
