//! The database against its witness, and what a backup may have brought back to life.
//!
//! In: what the witness says. Out: whether the database is [`Older`]. Codes, steps and invitations that were used since the backup
//! count as unused in it: [`Tx::void_unsure`] uses all of them up.

use std::path::Path;
use std::sync::Arc;

use elevate_protocol::digest::Digest;
use elevate_protocol::id::ClusterId;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyPoolOptions;

use super::group::Inner;
use super::news::Teller;
use super::readers::Readers;
use super::row::{Row, big};
use super::witness::{Mark, Older, Said, Witness};
use super::{Store, StoreError, Tx, address_of};

/// In `meta`: that there is a witness, so that one that is gone is noticed.
const KEPT: &str = "witness";

/// Compares the database with its witness; makes the witness of a database that never had one.
pub(super) async fn compare(
    tx: &mut Tx,
    witness: &Witness,
    cluster: ClusterId,
) -> Result<Option<Older>, StoreError> {
    let said = witness.said()?;
    let older = older_than(tx, said, cluster).await?;
    if older.is_none() {
        if said.is_none() {
            witness.settle(Said { cluster, mark: tx.mark().await? })?;
        }
        tx.set_meta(KEPT, "kept").await?;
    }
    Ok(older)
}

/// Whether the database is older than what its witness says, if that says anything.
async fn older_than(
    tx: &mut Tx,
    said: Option<Said>,
    cluster: ClusterId,
) -> Result<Option<Older>, StoreError> {
    let older = |seen, why: &str| Ok(Some(Older { seen, why: why.to_owned() }));
    let Some(said) = said else {
        let kept = tx.meta(KEPT).await?.is_some_and(|kept| kept == "kept");
        let gone = "the witness beside the database is gone, or damaged";
        return if kept { older(None, gone) } else { Ok(None) };
    };
    let (seen, mark) = (Some(said.mark.next), tx.mark().await?);
    if said.cluster != cluster {
        return older(seen, "the witness beside the database is of another cluster");
    }
    if said.mark.next > mark.next {
        let why = format!("the witness saw {} events, and the database has {}", said.mark.next, mark.next);
        return older(seen, &why);
    }
    if tx.digest_before(said.mark.next).await? != said.mark.last {
        let last = said.mark.next.saturating_sub(1);
        return older(seen, &format!("the witness saw another event {last} than the database has"));
    }
    Ok(None)
}

/// A data folder as it lies there, whether or not a daemon works on it. Nothing is changed or made in it.
pub(crate) struct Glimpse {
    /// The database as of one moment.
    pub(crate) tx: Tx,
    /// Whether it is older than its witness.
    pub(crate) older: Option<Older>,
}

impl Glimpse {
    /// Looks; none: there is nothing yet, or a database that was not closed and is not open, which only a daemon puts together.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn of(folder: &Path, now: Timestamp) -> Result<Option<Self>, StoreError> {
        let file = |name: &str| std::fs::metadata(folder.join(name)).ok();
        let log = file("elevated.db-wal").is_some_and(|log| log.len() > 0);
        let mode = match (file("elevated.db"), file("elevated.db-shm")) {
            (Some(_), Some(_)) => "ro",
            // All is in one file, and nobody has it open.
            (Some(_), None) if !log => "ro&immutable=true",
            (Some(_) | None, _) => return Ok(None),
        };
        // Before the database: its witness only ever follows it.
        let said = Witness::said_in(folder)?;
        sqlx::any::install_default_drivers();
        let address = address_of(&folder.join("elevated.db"), mode)?;
        let pool = AnyPoolOptions::new().max_connections(1).connect(&address).await?;
        let mut tx =
            Tx::new(Inner::Look(Readers::over(pool, 1).moment().await?), now, Arc::new(Teller::new(1)));
        let Some(cluster) = tx.meta("cluster").await? else { return Ok(None) };
        let damaged = |_| StoreError::Damaged { table: "meta", reason: format!("cluster {cluster:?}") };
        let older = older_than(&mut tx, said, cluster.parse().map_err(damaged)?).await?;
        Ok(Some(Self { tx, older }))
    }
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
