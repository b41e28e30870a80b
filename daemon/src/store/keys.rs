//! The grant keys that signed or sign for this cluster, and where each lives. The private halves are elsewhere.
//!
//! In: rows. Out: [`GrantKeyRow`]s, oldest first; exactly one has no end.

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::admin::Signs;
use elevate_protocol::time::{Span, Timestamp};
use sqlx::AssertSqlSafe;

use super::certificates::Authority;
use super::documents::{StoredDocument, document_of};
use super::row::{Row, big};
use super::{StoreError, Tx};

/// A grant key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantKeyRow {
    /// The public key in OpenSSH's form, without a comment.
    pub(crate) public: String,
    /// Counts up from 1.
    pub(crate) number: u64,
    /// Documents that it has yet to sign.
    pub(crate) waiting: u64,
    /// A file of the keys' folder, or `agent:SOCKET`.
    pub(crate) place: String,
    /// When it began to sign.
    pub(crate) since: Timestamp,
    /// Set once it was replaced: from when on nothing that it signed is believed.
    pub(crate) until: Option<Timestamp>,
}

impl Tx {
    /// All of them.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn grant_keys(&mut self) -> Result<Vec<GrantKeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT number, public, place, since, until,
                    (SELECT COUNT(*) FROM documents WHERE signer = number AND signature IS NULL) AS waiting
             FROM grant_keys ORDER BY number",
        )
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Row("grant_keys", row);
                Ok(GrantKeyRow {
                    number: row.number("number")?,
                    waiting: row.number("waiting")?,
                    public: row.text("public")?,
                    place: row.text("place")?,
                    since: row.time("since")?,
                    until: row.maybe_time("until")?,
                })
            })
            .collect()
    }

    /// Number and public half of the key that signs.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn signing_key(&mut self) -> Result<Option<(u64, String)>, StoreError> {
        let row = sqlx::query("SELECT number, public FROM grant_keys WHERE until IS NULL")
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("grant_keys", &row);
        Ok(Some((row.number("number")?, row.text("public")?)))
    }

    /// Keys, by number and public half, that have documents to sign.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn keys_awaited(&mut self) -> Result<Vec<(u64, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT number, public FROM grant_keys
             WHERE number IN (SELECT signer FROM documents WHERE signature IS NULL) ORDER BY number",
        )
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Row("grant_keys", row);
                Ok((row.number("number")?, row.text("public")?))
            })
            .collect()
    }

    /// Documents that a key has yet to sign, the oldest first, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn unsigned(
        &mut self,
        signer: u64,
        most: u32,
    ) -> Result<Vec<StoredDocument>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM documents WHERE signer = $1 AND signature IS NULL
             ORDER BY issued_at, host, epoch, seq LIMIT $2",
        )
        .bind(big(signer))
        .bind(i64::from(most))
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(document_of).collect()
    }

    /// Puts its signature to a document that waited for it. Where it is an end, its host has so long to tell of it.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn put_signature(
        &mut self,
        document: &StoredDocument,
        (signature, end_within): (&str, Span),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE documents SET signature = $4
             WHERE host = $1 AND epoch = $2 AND seq = $3 AND signature IS NULL",
        )
        .bind(document.host.to_string())
        .bind(i64::from(document.epoch))
        .bind(big(document.seq))
        .bind(signature)
        .execute(self.ready().await?)
        .await?;
        self.touch_host(document.host);
        if let Some(id) = document.activation {
            self.await_end_of(id, document.host, end_within).await?;
            self.touch(id);
        }
        Ok(())
    }

    /// Whether a document of an activation waits for its signature before a host is sent it.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn is_unsigned(&mut self, id: ActivationId, host: HostId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT seq FROM documents WHERE activation = $1 AND host = $2 AND signature IS NULL LIMIT 1",
        )
        .bind(id.to_string())
        .bind(host.to_string())
        .fetch_optional(self.ready().await?)
        .await?;
        Ok(row.is_some())
    }

    /// A key is somewhere else.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn move_key(
        &mut self,
        signs: Signs,
        (public, place): (&str, &str),
    ) -> Result<(), StoreError> {
        let table = match signs {
            Signs::Grants => "grant_keys",
            Signs::SshUserCa => Authority::People.keys(),
            Signs::SshHostCa => Authority::Hosts.keys(),
        };
        sqlx::query(AssertSqlSafe(format!("UPDATE {table} SET place = $2 WHERE public = $1")))
            .bind(public)
            .bind(place)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Ends the key that signs, if there is one, and begins another.
    ///
    /// # Errors
    /// A [`StoreError`]; a key that signed before is one.
    pub(crate) async fn replace_grant_key(
        &mut self,
        until: Timestamp,
        (public, place): (&str, &str),
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE grant_keys SET until = $1 WHERE until IS NULL")
            .bind(until.0)
            .execute(self.ready().await?)
            .await?;
        sqlx::query(
            "INSERT INTO grant_keys (number, public, place, since)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3 FROM grant_keys",
        )
        .bind(public)
        .bind(place)
        .bind(self.now().0)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }
}
