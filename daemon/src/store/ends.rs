//! Ends that hosts have to tell of: who has not, and since when it should have.
//!
//! In: ends, what hosts said of them, hellos. Out: what is overdue. A host that is away owes nothing before it is back.

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::time::Span;

use super::row::Row;
use super::{StoreError, Tx};

/// Of a host that is away.
pub(super) const WITH_ITS_HELLO: i64 = i64::MAX;
/// Runs at every turn; an index has what is awaited and nothing else.
pub(super) const DUE: &str =
    "SELECT activation, host FROM activation_hosts WHERE end_due <= $1 ORDER BY end_due LIMIT $2";

impl Tx {
    /// An activation is over: those of its hosts that have not told so have as long as this.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn await_end(&mut self, id: ActivationId, within: Span) -> Result<(), StoreError> {
        sqlx::query("UPDATE activation_hosts SET end_due = $2 WHERE activation = $1 AND end_told IS NULL")
            .bind(id.to_string())
            .bind(self.now().after(within).0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// A host has told of the end, or never had anything to end.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn end_told(&mut self, id: ActivationId, host: HostId) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE activation_hosts SET end_told = $3, end_due = NULL
             WHERE activation = $1 AND host = $2 AND end_told IS NULL",
        )
        .bind(id.to_string())
        .bind(host.to_string())
        .bind(self.now().0)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// Whether a host has told of an end, or never had anything to end.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn has_told_end(&mut self, id: ActivationId, host: HostId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(end_told) AS told FROM activation_hosts WHERE activation = $1 AND host = $2",
        )
        .bind(id.to_string())
        .bind(host.to_string())
        .fetch_one(self.ready().await?)
        .await?;
        Ok(Row("activation_hosts", &row).number::<u64>("told")? > 0)
    }

    /// Nothing is awaited any more of a host whose log is over.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn await_no_ends(&mut self, host: HostId) -> Result<(), StoreError> {
        sqlx::query("UPDATE activation_hosts SET end_due = NULL WHERE host = $1 AND end_due IS NOT NULL")
            .bind(host.to_string())
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// A host is there again: what it owes is due anew.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn await_ends_of(&mut self, host: HostId, within: Span) -> Result<(), StoreError> {
        let rows = sqlx::query(
            "UPDATE activation_hosts SET end_due = $2 WHERE host = $1 AND end_due IS NOT NULL RETURNING activation",
        )
        .bind(host.to_string())
        .bind(self.now().after(within).0)
        .fetch_all(self.ready().await?)
        .await?;
        for row in &rows {
            // Whoever sleeps until the next deadline has another one now.
            self.touch(Row("activation_hosts", row).parsed("activation")?);
        }
        Ok(())
    }

    /// What a host owes was signed just now: it is due anew.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(super) async fn await_end_of(
        &mut self,
        id: ActivationId,
        host: HostId,
        within: Span,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE activation_hosts SET end_due = $3
             WHERE activation = $1 AND host = $2 AND end_due IS NOT NULL",
        )
        .bind(id.to_string())
        .bind(host.to_string())
        .bind(self.now().after(within).0)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// A host that owes an end is away, or was not sent it for lack of a signature.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn await_hello(&mut self, id: ActivationId, host: HostId) -> Result<(), StoreError> {
        self.set_due(id, host, Some(WITH_ITS_HELLO)).await
    }

    /// It was told to people that a host owes an end: once is enough.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn end_missed(&mut self, id: ActivationId, host: HostId) -> Result<(), StoreError> {
        self.set_due(id, host, None).await
    }

    async fn set_due(&mut self, id: ActivationId, host: HostId, due: Option<i64>) -> Result<(), StoreError> {
        sqlx::query("UPDATE activation_hosts SET end_due = $3 WHERE activation = $1 AND host = $2")
            .bind(id.to_string())
            .bind(host.to_string())
            .bind(due)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Ends that should have been told of, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn ends_due(&mut self, most: u32) -> Result<Vec<(ActivationId, HostId)>, StoreError> {
        let rows =
            sqlx::query(DUE).bind(self.now().0).bind(i64::from(most)).fetch_all(self.ready().await?).await?;
        let both = |row| {
            let row = Row("activation_hosts", row);
            Ok((row.parsed("activation")?, row.parsed("host")?))
        };
        rows.iter().map(both).collect()
    }
}
