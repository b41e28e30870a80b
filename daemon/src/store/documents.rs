//! Each host's log of signed documents, and what the host said of each.
//!
//! In: signed bytes, acknowledgements. Out: [`StoredDocument`]s in order. Nothing is ever changed but the acknowledgement, and the
//! signature of a key that signs after the commit: set once.

use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::signed::SignedBody;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyRow;

use super::row::{Row, big};
use super::{StoreError, Tx};

/// A document, signed or waiting for it, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct StoredDocument {
    /// The host.
    pub(crate) host: HostId,
    /// The epoch.
    pub(crate) epoch: u32,
    /// Its place.
    pub(crate) seq: u64,
    /// What it is about, if it is about one.
    pub(crate) activation: Option<ActivationId>,
    /// Number of the key that signs it.
    pub(crate) signer: u64,
    /// The bytes.
    pub(crate) body: String,
    /// Their signature; none: the key has not been asked yet, or is away.
    pub(crate) signature: Option<String>,
    /// What the host's log is up to it and with it.
    pub(crate) head: Option<Digest>,
    /// When the host said what became of it.
    pub(crate) acked_at: Option<Timestamp>,
    /// Why the host refuses it, when it does.
    pub(crate) refused: Option<UntrustedText>,
}

impl StoredDocument {
    /// What a host is sent, once it is signed.
    #[must_use]
    pub(crate) fn signed(&self) -> Option<SignedBody> {
        let signature = self.signature.clone()?;
        Some(SignedBody { body: self.body.clone(), signature })
    }
}

pub(super) fn document_of(row: &AnyRow) -> Result<StoredDocument, StoreError> {
    let row = Row("documents", row);
    Ok(StoredDocument {
        host: row.parsed("host")?,
        epoch: row.number("epoch")?,
        seq: row.number("seq")?,
        activation: row.maybe_parsed("activation")?,
        signer: row.number("signer")?,
        body: row.text("body")?,
        signature: row.maybe_text("signature")?,
        head: row.maybe_parsed("head")?,
        acked_at: row.maybe_time("acked_at")?,
        refused: row.maybe_text("refused")?.map(|text| UntrustedText::lossy(&text)),
    })
}

impl Tx {
    /// Appends a document to its host's log. Its place was taken with [`Tx::next_places`] in this transaction.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_document(&mut self, document: &StoredDocument) -> Result<(), StoreError> {
        let values = [
            document.host.to_string().into(),
            i64::from(document.epoch).into(),
            big(document.seq).into(),
            document.activation.map(|id| id.to_string()).into(),
            big(document.signer).into(),
            document.body.as_str().into(),
            document.signature.clone().into(),
            self.now().0.into(),
            document.head.map(|head| head.to_string()).into(),
        ];
        self.later(
            "INSERT INTO documents (host, epoch, seq, activation, signer, body, signature, issued_at, head)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            values,
        )
        .await?;
        self.touch_host(document.host);
        Ok(())
    }

    /// A host's documents from a place on, in order, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn documents_from(
        &mut self,
        host: HostId,
        epoch: u32,
        from: u64,
        most: u32,
    ) -> Result<Vec<StoredDocument>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM documents WHERE host = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4",
        )
        .bind(host.to_string())
        .bind(i64::from(epoch))
        .bind(big(from))
        .bind(i64::from(most))
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(document_of).collect()
    }

    /// Every document of an activation, in the order of hosts and places.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn documents_of(&mut self, id: ActivationId) -> Result<Vec<StoredDocument>, StoreError> {
        let rows = sqlx::query("SELECT * FROM documents WHERE activation = $1 ORDER BY host, epoch, seq")
            .bind(id.to_string())
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter().map(document_of).collect()
    }

    /// Records what a host said of a document, and tells which activation it is of, if of one, and its signed bytes; none when it
    /// had said so before, or there is no such document.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn acknowledge(
        &mut self,
        host: HostId,
        (epoch, seq): (u32, u64),
        refused: Option<&UntrustedText>,
    ) -> Result<Option<(Option<ActivationId>, String)>, StoreError> {
        let row = sqlx::query(
            "UPDATE documents SET acked_at = $4, refused = $5
             WHERE host = $1 AND epoch = $2 AND seq = $3 AND acked_at IS NULL RETURNING activation, body",
        )
        .bind(host.to_string())
        .bind(i64::from(epoch))
        .bind(big(seq))
        .bind(self.now().0)
        .bind(refused.map(|text| text.raw().to_owned()))
        .fetch_optional(self.ready().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("documents", &row);
        let id = row.maybe_parsed("activation")?;
        if let Some(id) = id {
            self.touch(id);
        }
        Ok(Some((id, row.text("body")?)))
    }

    /// How many documents of its epoch a host has not acknowledged.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn behind(&mut self, host: HostId) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM documents WHERE host = $1 AND acked_at IS NULL
             AND epoch = (SELECT epoch FROM hosts WHERE id = $1)",
        )
        .bind(host.to_string())
        .fetch_one(self.ready().await?)
        .await?;
        Row("documents", &row).number("n")
    }

    /// What a host's log is up to a place; none: there is no such place.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn head(
        &mut self,
        host: HostId,
        (epoch, seq): (u32, u64),
    ) -> Result<Option<Digest>, StoreError> {
        let row = sqlx::query("SELECT head FROM documents WHERE host = $1 AND epoch = $2 AND seq = $3")
            .bind(host.to_string())
            .bind(i64::from(epoch))
            .bind(big(seq))
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Row("documents", &row).maybe_parsed("head")
    }

    /// The first place of a host's log that is not acknowledged; none: all are.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn first_unacknowledged(
        &mut self,
        host: HostId,
        epoch: u32,
    ) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query(
            "SELECT seq FROM documents WHERE host = $1 AND epoch = $2 AND acked_at IS NULL ORDER BY seq LIMIT 1",
        )
        .bind(host.to_string())
        .bind(i64::from(epoch))
        .fetch_optional(self.ready().await?)
        .await?;
        row.map(|row| Row("documents", &row).number("seq")).transpose()
    }
}
