//! The keys that sign SSH certificates, of people and of hosts, and every certificate by its serial.
//!
//! In: rows. Out: rows. A serial is given once by each of both, over restarts and restores of a backup.

use std::collections::BTreeSet;

use elevate_protocol::document::BACKDATE;
use elevate_protocol::host_ssh::HOST_LIFE;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::krl::REVOKED_HOSTS_MAX;
use elevate_protocol::time::{Span, Timestamp};
use sqlx::AssertSqlSafe;

use super::later::Value;
use super::row::{Row, big};
use super::{StoreError, Tx};

/// Certificates that are looked at in one query.
const AT_ONCE: i64 = 1024;
/// In `meta`: the least serial after a restore.
const FROM: &str = "serials_from";
/// More than were ever given between a backup and its restore.
const GAP: u64 = 1 << 32;

/// For whom certificates are signed: each has keys, certificates and serials of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// People, under grants.
    People,
    /// Hosts.
    Hosts,
}

impl Authority {
    /// Its keys.
    pub(super) fn keys(self) -> &'static str {
        match self {
            Self::People => "user_cas",
            Self::Hosts => "host_cas",
        }
    }

    /// Its certificates.
    fn certificates(self) -> &'static str {
        match self {
            Self::People => "certificates",
            Self::Hosts => "host_certificates",
        }
    }
}

/// A key that signs certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaRow {
    /// Counts up from 1.
    pub(crate) number: u64,
    /// The public key in OpenSSH's form, without a comment.
    pub(crate) public: String,
    /// A file of the keys' folder, or `agent:SOCKET`.
    pub(crate) place: String,
    /// When it began to sign.
    pub(crate) since: Timestamp,
    /// Set once it was replaced: until then hosts or people trust it.
    pub(crate) until: Option<Timestamp>,
    /// Whether they were told that they do so no longer.
    pub(crate) over: bool,
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

impl CertificateRow {
    /// Its columns, as they stand above: `$1` to `$5`.
    pub(super) fn values(&self) -> [Value; 5] {
        [
            big(self.serial).into(),
            big(self.ca).into(),
            self.activation.to_string().into(),
            self.fingerprint.clone().into(),
            self.valid_before.0.into(),
        ]
    }
}

/// A certificate of a host that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostCertificateRow {
    /// Its serial.
    pub(crate) serial: u64,
    /// Number of the key that signed it.
    pub(crate) ca: u64,
    /// The host that it is for.
    pub(crate) host: HostId,
    /// Fingerprint of the host's key.
    pub(crate) fingerprint: String,
    /// First second that is too late.
    pub(crate) valid_before: Timestamp,
}

impl Tx {
    /// The keys that sign certificates or did, oldest first; the last one signs.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn cas(&mut self, of: Authority) -> Result<Vec<CaRow>, StoreError> {
        let table = of.keys();
        let statement =
            format!("SELECT number, public, place, since, until, over_at FROM {table} ORDER BY number");
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(self.ready().await?).await?;
        rows.iter()
            .map(|row| {
                let row = Row(table, row);
                Ok(CaRow {
                    number: row.number("number")?,
                    public: row.text("public")?,
                    place: row.text("place")?,
                    since: row.time("since")?,
                    until: row.maybe_time("until")?,
                    over: row.maybe_time("over_at")?.is_some(),
                })
            })
            .collect()
    }

    /// Ends the key that signs certificates, if there is one, and begins another. Its number.
    ///
    /// # Errors
    /// A [`StoreError`]; a key that signed before is one.
    pub(crate) async fn replace_ca(
        &mut self,
        of: Authority,
        until: Timestamp,
        (public, place): (&str, &str),
    ) -> Result<u64, StoreError> {
        let table = of.keys();
        sqlx::query(AssertSqlSafe(format!("UPDATE {table} SET until = $1 WHERE until IS NULL")))
            .bind(until.0)
            .execute(self.ready().await?)
            .await?;
        let row = sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO {table} (number, public, place, since)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3 FROM {table} RETURNING number"
        )))
        .bind(public)
        .bind(place)
        .bind(self.now().0)
        .fetch_one(self.ready().await?)
        .await?;
        self.touch_cas();
        Row(table, &row).number("number")
    }

    /// Ends the trust in replaced keys whose time is over. Their numbers and public halves.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn end_cas(&mut self, of: Authority) -> Result<Vec<(u64, String)>, StoreError> {
        let table = of.keys();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "UPDATE {table} SET over_at = $1 WHERE until <= $1 AND over_at IS NULL RETURNING number, public"
        )))
        .bind(self.now().0)
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Row(table, row);
                Ok((row.number("number")?, row.text("public")?))
            })
            .collect()
    }

    /// Whether a host of a grant has yet to hear of a change of keys.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn has_unheard_keys(&mut self, grant: ActivationId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT documents.seq FROM activation_hosts JOIN hosts ON hosts.id = activation_hosts.host
             JOIN documents ON documents.host = hosts.id AND documents.epoch = hosts.epoch AND documents.acked_at IS NULL
             WHERE activation_hosts.activation = $1 AND documents.activation IS NULL LIMIT 1",
        )
        .bind(grant.to_string())
        .fetch_optional(self.ready().await?)
        .await?;
        Ok(row.is_some())
    }

    /// The first serial that nobody was given.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn next_serial(&mut self, of: Authority) -> Result<u64, StoreError> {
        let table = of.certificates();
        let statement = format!("SELECT COALESCE(MAX(serial), 0) + 1 AS next FROM {table}");
        let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(self.ready().await?).await?;
        let next: u64 = Row(table, &row).number("next")?;
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
        let (people, hosts) =
            (self.next_serial(Authority::People).await?, self.next_serial(Authority::Hosts).await?);
        let from = people.max(hosts).saturating_add(GAP);
        self.set_meta(FROM, &from.to_string()).await?;
        Ok(from)
    }

    /// Grants that are over, and one of whose certificates lives still. None is valid for longer than `life`, so that what was signed before
    /// one that has been over for as long is over too.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn revoked(&mut self, life: Span) -> Result<BTreeSet<ActivationId>, StoreError> {
        let (now, mut before, mut found) = (self.now(), i64::MAX, BTreeSet::new());
        loop {
            let rows = sqlx::query(
                "SELECT certificates.serial, certificates.activation, certificates.valid_before, activations.phase
                 FROM certificates JOIN activations ON activations.id = certificates.activation
                 WHERE certificates.serial < $1 ORDER BY certificates.serial DESC LIMIT $2",
            )
            .bind(before)
            .bind(AT_ONCE)
            .fetch_all(self.ready().await?)
            .await?;
            for row in &rows {
                let row = Row("certificates", row);
                let valid_before = row.time("valid_before")?;
                if valid_before.after(life) <= now {
                    return Ok(found);
                }
                if valid_before > now && row.text("phase")? == "over" {
                    found.insert(row.parsed("activation")?);
                }
                before = big(row.number("serial")?);
            }
            if rows.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Keeps a certificate; a serial that was given already is an error.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_certificate(&mut self, one: &CertificateRow) -> Result<(), StoreError> {
        self.later(
            "INSERT INTO certificates (serial, ca, activation, fingerprint, valid_before) VALUES ($1, $2, $3, $4, $5)",
            one.values(),
        )
        .await
    }

    /// Keeps a certificate of a host; a serial that was given already is an error. Those of the host that are over by now are forgotten:
    /// the log has them.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_host_certificate(
        &mut self,
        one: &HostCertificateRow,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO host_certificates (serial, ca, host, fingerprint, valid_before) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(big(one.serial))
        .bind(big(one.ca))
        .bind(one.host.to_string())
        .bind(one.fingerprint.as_str())
        .bind(one.valid_before.0)
        .execute(self.ready().await?)
        .await?;
        sqlx::query("DELETE FROM host_certificates WHERE host = $1 AND valid_before <= $2 AND serial < $3")
            .bind(one.host.to_string())
            .bind(self.now().0)
            .bind(big(one.serial))
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Until when the certificate is valid that a host got last; none: it got none.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn certified_until(&mut self, host: HostId) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query("SELECT MAX(valid_before) AS until FROM host_certificates WHERE host = $1")
            .bind(host.to_string())
            .fetch_one(self.ready().await?)
            .await?;
        Row("host_certificates", &row).maybe_time("until")
    }

    /// Hosts that others have taken the place of, and of which a certificate may be valid still. Of more than are ever told the latest.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn revoked_hosts(&mut self) -> Result<Vec<HostId>, StoreError> {
        // By clocks that are a little behind, too.
        let since = self.now().before(BACKDATE);
        let rows = sqlx::query(
            "SELECT id FROM hosts WHERE retired_at IS NOT NULL AND retired_at > $1
             AND EXISTS (SELECT 1 FROM host_certificates WHERE host = hosts.id AND valid_before > $2)
             ORDER BY retired_at DESC, id LIMIT $3",
        )
        .bind(since.before(HOST_LIFE).0)
        .bind(since.0)
        .bind(i64::try_from(REVOKED_HOSTS_MAX).unwrap_or(i64::MAX))
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(|row| Row("hosts", row).parsed("id")).collect()
    }
}
