//! The database against its witness, and what a backup may have brought back to life.
//!
//! In: what the witness says. Out: whether the database is [`Older`]. Codes, steps and invitations that were used since the backup
//! count as unused in it: [`Tx::void_unsure`] uses all of them up.

use elevate_protocol::digest::Digest;
use elevate_protocol::id::ClusterId;

use super::row::{Row, big};
use super::witness::{Mark, Older, Said, Witness};
use super::{Store, StoreError, Tx};

/// In `meta`: that there is a witness, so that one that is gone is noticed.
const KEPT: &str = "witness";

/// Compares the database with its witness; makes the witness of a database that never had one.
pub(super) async fn compare(
    tx: &mut Tx,
    witness: &Witness,
    cluster: ClusterId,
) -> Result<Option<Older>, StoreError> {
    let mark = tx.mark().await?;
    let older = |seen, why: &str| Some(Older { seen, why: why.to_owned() });
    let Some(said) = witness.said()? else {
        if tx.meta_or(KEPT, "").await? == "kept" {
            return Ok(older(None, "the witness beside the database is gone, or damaged"));
        }
        witness.settle(Said { cluster, mark })?;
        tx.set_meta(KEPT, "kept").await?;
        return Ok(None);
    };
    let seen = Some(said.mark.next);
    if said.cluster != cluster {
        return Ok(older(seen, "the witness beside the database is of another cluster"));
    }
    if said.mark.next > mark.next {
        let why = format!("the witness saw {} events, and the database has {}", said.mark.next, mark.next);
        return Ok(older(seen, &why));
    }
    if tx.digest_before(said.mark.next).await? != said.mark.last {
        let last = said.mark.next.saturating_sub(1);
        return Ok(older(seen, &format!("the witness saw another event {last} than the database has")));
    }
    tx.set_meta(KEPT, "kept").await?;
    Ok(None)
}

impl Store {
    /// Whether the database was found to be older than its witness, at this start.
    #[must_use]
    pub(crate) fn older(&self) -> Option<&Older> {
        self.older.as_ref()
    }

    /// Whether the database is not known to be the newest there was. The gate in the database says so to everybody else.
    #[must_use]
    pub(crate) fn is_witness_held(&self) -> bool {
        self.witness.is_held()
    }

    /// Whether the witness keeps what it says while the log goes on: what it is of may come back.
    pub(crate) fn hold_witness(&self, held: bool) {
        self.witness.hold(held);
    }

    /// Writes the witness anew, so that it outlives a power cut.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn settle_witness(&self) -> Result<(), StoreError> {
        // As a reader, who sees what is committed and nothing else. That it may be behind by then is no harm.
        let mut tx = self.read().await?;
        let mark = tx.mark().await?;
        self.witness.settle(Said { cluster: self.cluster, mark })
    }
}

impl Tx {
    /// How far the log has come.
    pub(super) async fn mark(&mut self) -> Result<Mark, StoreError> {
        let next = self.next_seq().await?;
        Ok(Mark { next, last: self.digest_before(next).await? })
    }

    /// The digest of the event before this place; of nothing where there is none.
    async fn digest_before(&mut self, next: u64) -> Result<Digest, StoreError> {
        let row = sqlx::query("SELECT line FROM events WHERE seq = $1")
            .bind(big(next).saturating_sub(1))
            .fetch_optional(self.ready().await?)
            .await?;
        let line = row.map_or(Ok(String::new()), |row| Row("events", &row).text("line"))?;
        Ok(Digest::of(line.as_bytes()))
    }

    /// What waits for its time counts by an administrator's word only from now on: what stopped it may be forgotten.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn hold_all_changes(&mut self) -> Result<(), StoreError> {
        sqlx::query("UPDATE changes SET counts_at = NULL WHERE over_at IS NULL")
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// What hosts have of the time before an accepted restore is no news.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn excuse_hosts(&mut self) -> Result<(), StoreError> {
        sqlx::query("UPDATE hosts SET excused = $1 WHERE retired_at IS NULL")
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Uses up whatever may have been used already: one-time codes up to `step`, recovery codes, invitations of people and hosts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn void_unsure(&mut self, step: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE factors SET last_step = $1 WHERE last_step < $1")
            .bind(big(step))
            .execute(self.ready().await?)
            .await?;
        for statement in ["DELETE FROM recovery_codes", "DELETE FROM recovery_sets"] {
            sqlx::query(statement).execute(self.ready().await?).await?;
        }
        for statement in [
            "UPDATE invitations SET valid_until = $1 WHERE valid_until > $1",
            "UPDATE host_tokens SET valid_until = $1 WHERE valid_until > $1",
        ] {
            sqlx::query(statement).bind(self.now().0).execute(self.ready().await?).await?;
        }
        Ok(())
    }
}
