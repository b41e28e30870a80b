//! Recovery codes: the salt of a person's set, and the hashes of those that were not used.
//!
//! In: hashes in hex. Out: the same. A code that was used stays used, over restarts (threat D11).

use elevate_protocol::name::Name;

use super::row::Row;
use super::{StoreError, Tx};

/// A person's set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecoverySet {
    /// Of all its codes, in hex.
    pub(crate) salt: String,
    /// Of each code that was not used, in hex.
    pub(crate) hashes: Vec<String>,
}

impl Tx {
    /// A person's set; none: there never was one.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn recovery_set(&mut self, person: &Name) -> Result<Option<RecoverySet>, StoreError> {
        let row = sqlx::query("SELECT salt FROM recovery_sets WHERE person = $1")
            .bind(person.as_str())
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let salt = Row("recovery_sets", &row).text("salt")?;
        let rows = sqlx::query("SELECT hash FROM recovery_codes WHERE person = $1 AND used_at IS NULL")
            .bind(person.as_str())
            .fetch_all(self.ready().await?)
            .await?;
        let hashes =
            rows.iter().map(|row| Row("recovery_codes", row).text("hash")).collect::<Result<_, _>>()?;
        Ok(Some(RecoverySet { salt, hashes }))
    }

    /// Takes a person's codes away.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn drop_recovery(&mut self, person: &Name) -> Result<(), StoreError> {
        for statement in
            ["DELETE FROM recovery_codes WHERE person = $1", "DELETE FROM recovery_sets WHERE person = $1"]
        {
            sqlx::query(statement).bind(person.as_str()).execute(self.ready().await?).await?;
        }
        Ok(())
    }

    /// Gives a person a set; the one before is worth nothing then.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_recovery(&mut self, person: &Name, set: &RecoverySet) -> Result<(), StoreError> {
        self.drop_recovery(person).await?;
        sqlx::query("INSERT INTO recovery_sets (person, salt, made_at) VALUES ($1, $2, $3)")
            .bind(person.as_str())
            .bind(set.salt.as_str())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        for hash in &set.hashes {
            sqlx::query("INSERT INTO recovery_codes (person, hash) VALUES ($1, $2)")
                .bind(person.as_str())
                .bind(hash.as_str())
                .execute(self.ready().await?)
                .await?;
        }
        Ok(())
    }

    /// Uses a code up: true for the first time, false ever after.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn burn_recovery(&mut self, person: &Name, hash: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE recovery_codes SET used_at = $3 WHERE person = $1 AND hash = $2 AND used_at IS NULL",
        )
        .bind(person.as_str())
        .bind(hash)
        .bind(self.now().0)
        .execute(self.ready().await?)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
