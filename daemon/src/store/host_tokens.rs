//! Invitations for hosts, and those that wait because they would take the place of a host that is there.
//!
//! In: digests of tokens. Out: [`HostToken`]s. The token itself is not kept (threats H02, H03).

use std::collections::BTreeMap;

use elevate_audit::Actor;
use elevate_protocol::digest::Digest;
use elevate_protocol::host_ssh::HostName;
use elevate_protocol::name::Name;
use elevate_protocol::time::{Span, Timestamp};
use sqlx::any::AnyRow;

use super::row::{Row, to_json};
use super::{StoreError, Tx};

/// An invitation for a host.
#[derive(Debug, Clone)]
pub(crate) struct HostToken {
    /// Digest of the token; the token itself is not kept.
    pub(crate) hash: Digest,
    /// The name it gives.
    pub(crate) name: Name,
    /// The labels it gives.
    pub(crate) labels: BTreeMap<Name, Name>,
    /// Names that it gives beside that one.
    pub(crate) names: Vec<HostName>,
    /// First second in which it is worth nothing.
    pub(crate) valid_until: Timestamp,
    /// When it was used.
    pub(crate) used_at: Option<Timestamp>,
    /// Who made it.
    pub(crate) by: Actor,
    /// Set where it is to take the place of a host, by one person's word.
    pub(crate) waits: Option<Waits>,
}

/// What an invitation waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Since when.
    pub(crate) since: Timestamp,
    /// When it counts by itself; none: by an administrator's word only.
    pub(crate) counts_at: Option<Timestamp>,
    /// When a second administrator said so.
    pub(crate) confirmed_at: Option<Timestamp>,
    /// How long it is valid from then on.
    pub(crate) valid: Span,
}

impl Waits {
    /// Whether it still does.
    #[must_use]
    pub(crate) fn waits(&self, now: Timestamp) -> bool {
        self.confirmed_at.is_none() && self.counts_at.is_none_or(|at| now < at)
    }
}

fn token_of(row: &AnyRow) -> Result<HostToken, StoreError> {
    let row = Row("host_tokens", row);
    let waits = match row.maybe_time("waits_since")? {
        None => None,
        Some(since) => Some(Waits {
            since,
            counts_at: row.maybe_time("counts_at")?,
            confirmed_at: row.maybe_time("confirmed_at")?,
            valid: Span(row.number("valid_for")?),
        }),
    };
    Ok(HostToken {
        hash: row.parsed("hash")?,
        name: row.parsed("name")?,
        labels: row.json("labels")?,
        names: row.json("names")?,
        valid_until: row.time("valid_until")?,
        used_at: row.maybe_time("used_at")?,
        by: row.json("made_by")?,
        waits,
    })
}

impl Tx {
    /// A new token.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_host_token(&mut self, token: &HostToken) -> Result<(), StoreError> {
        let waits = token.waits.as_ref();
        sqlx::query(
            "INSERT INTO host_tokens (hash, name, labels, valid_until, made_by, waits_since, counts_at, valid_for, names)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(token.hash.to_string())
        .bind(token.name.as_str())
        .bind(to_json("labels", &token.labels)?)
        .bind(token.valid_until.0)
        .bind(to_json("who invited", &token.by)?)
        .bind(waits.map(|waits| waits.since.0))
        .bind(waits.and_then(|waits| waits.counts_at).map(|at| at.0))
        .bind(waits.map(|waits| i64::from(waits.valid.0)))
        .bind(to_json("names", &token.names)?)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// The token with this digest.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn host_token(&mut self, hash: Digest) -> Result<Option<HostToken>, StoreError> {
        let row = sqlx::query("SELECT * FROM host_tokens WHERE hash = $1")
            .bind(hash.to_string())
            .fetch_optional(self.ready().await?)
            .await?;
        row.as_ref().map(token_of).transpose()
    }

    /// Invitations that could be used, once they count, and are to take the place of a host: at most one for each.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn replacements(&mut self) -> Result<Vec<HostToken>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM host_tokens WHERE waits_since IS NOT NULL AND used_at IS NULL AND valid_until > $1",
        )
        .bind(self.now().0)
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(token_of).collect()
    }

    /// A second administrator's word: the token counts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn confirm_host_token(
        &mut self,
        hash: Digest,
        valid_until: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE host_tokens SET confirmed_at = $2, valid_until = $3 WHERE hash = $1")
            .bind(hash.to_string())
            .bind(self.now().0)
            .bind(valid_until.0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// A token that waits counts by an administrator's word only from now on.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn hold_host_token(&mut self, hash: Digest) -> Result<(), StoreError> {
        sqlx::query("UPDATE host_tokens SET counts_at = NULL WHERE hash = $1 AND confirmed_at IS NULL")
            .bind(hash.to_string())
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Burns a token; false when it was burnt before.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn burn_host_token(&mut self, hash: Digest) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE host_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL")
            .bind(hash.to_string())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
