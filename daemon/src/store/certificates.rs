//! The keys that sign people's SSH certificates, and every certificate by its serial.
//!
//! In: rows. Out: rows. A serial is given once, over restarts and restores of a backup.

use elevate_protocol::id::ActivationId;
use elevate_protocol::time::Timestamp;

use super::row::{Row, big};
use super::{StoreError, Tx};

/// In `meta`: the least serial after a restore.
const FROM: &str = "serials_from";
/// More than were ever given between a backup and its restore.
const GAP: u64 = 1 << 32;

/// A key that signs certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserCaRow {
    /// Counts up from 1.
    pub(crate) number: u64,
    /// The public key in OpenSSH's form, without a comment.
    pub(crate) public: String,
    /// A file of the keys' folder, or `agent:SOCKET`.
    pub(crate) place: String,
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateRow {
    /// Its serial.
    pub(crate) serial: u64,
    /// Number of the key that signed it.
    pub(crate) ca: u64,
    /// The grant that it is for.
    pub(crate) activation: ActivationId,
    /// Fingerprint of the person's key.
    pub(crate) fingerprint: String,
    /// First second that is too late.
    pub(crate) valid_before: Timestamp,
}

impl Tx {
    /// The key that signs certificates now; none: there never was one.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn user_ca(&mut self) -> Result<Option<UserCaRow>, StoreError> {
        let row = sqlx::query("SELECT number, public, place FROM user_cas WHERE until IS NULL")
            .fetch_optional(self.ready().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("user_cas", &row);
        let (public, place) = (row.text("public")?, row.text("place")?);
        Ok(Some(UserCaRow { number: row.number("number")?, public, place }))
    }

    /// The first key that signs certificates.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_user_ca(&mut self, ca: &UserCaRow) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO user_cas (number, public, place, since) VALUES ($1, $2, $3, $4)")
            .bind(big(ca.number))
            .bind(&ca.public)
            .bind(&ca.place)
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// The first serial that nobody was given.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn next_serial(&mut self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COALESCE(MAX(serial), 0) + 1 AS next FROM certificates")
            .fetch_one(self.ready().await?)
            .await?;
        let next: u64 = Row("certificates", &row).number("next")?;
        let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(FROM)
            .fetch_optional(self.ready().await?)
            .await?;
        let from = row.map(|row| Row("meta", &row).parsed::<u64>("value")).transpose()?;
        Ok(next.max(from.unwrap_or_default()))
    }

    /// After a restore: serials that were given since the backup are never given again.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn skip_serials(&mut self) -> Result<u64, StoreError> {
        let from = self.next_serial().await?.saturating_add(GAP);
        self.set_meta(FROM, &from.to_string()).await?;
        Ok(from)
    }

    /// Keeps a certificate; a serial that was given already is an error.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_certificate(&mut self, one: &CertificateRow) -> Result<(), StoreError> {
        let values = [
            big(one.serial).into(),
            big(one.ca).into(),
            one.activation.to_string().into(),
            one.fingerprint.clone().into(),
            one.valid_before.0.into(),
        ];
        self.later(
            "INSERT INTO certificates (serial, ca, activation, fingerprint, valid_before) VALUES ($1, $2, $3, $4, $5)",
            values,
        )
        .await
    }
}
