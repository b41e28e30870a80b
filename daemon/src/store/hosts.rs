//! Hosts and their enrolment tokens.
//!
//! In: what enrolment and agents said. Out: [`HostRow`]. A host is its id; name and labels came with its token.

use std::collections::{BTreeMap, HashMap};

use elevate_protocol::digest::Digest;
use elevate_protocol::flavour::Enforcement;
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::host_ssh::HostName;
use elevate_protocol::id::HostId;
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyRow;

use super::row::{Row, big, to_json};
use super::{StoreError, Tx};

/// Most hosts in one statement: a text for each number of them is prepared once and remembered.
const PLACES_AT_ONCE: usize = 32;

/// An enrolled host.
#[derive(Debug, Clone)]
pub(crate) struct HostRow {
    /// What it is.
    pub(crate) id: HostId,
    /// What it is called.
    pub(crate) name: Name,
    /// Its labels.
    pub(crate) labels: BTreeMap<Name, Name>,
    /// Names that an administrator gave it beside its own.
    pub(crate) names: Vec<HostName>,
    /// `SHA256:` fingerprint of its link key.
    pub(crate) link_fingerprint: String,
    /// The link key, one OpenSSH line.
    pub(crate) link_key: String,
    /// The vouch key, one OpenSSH line.
    pub(crate) vouch_key: String,
    /// When it enrolled.
    pub(crate) enrolled_at: Timestamp,
    /// The epoch of its log.
    pub(crate) epoch: u32,
    /// Place of the last document of its log.
    pub(crate) issued: u64,
    /// Number of the last report that is recorded.
    pub(crate) reported: u64,
    /// When it was last heard of.
    pub(crate) seen_at: Option<Timestamp>,
    /// What enforces there; none: it has not said yet.
    pub(crate) sudo: Option<Enforcement>,
    /// Whether certificates open accounts there; none: it has not said yet.
    pub(crate) ssh: Option<SshEnforcement>,
    /// It may have documents that are not known here: root has gone on with an older database, and has not heard of this host since.
    pub(crate) excused: bool,
}

/// The next place of a host's log.
#[derive(Debug, Clone)]
pub(crate) struct NextPlace {
    /// The epoch.
    pub(crate) epoch: u32,
    /// The place.
    pub(crate) seq: u64,
    /// What the log is up to here; none: nothing yet.
    pub(crate) before: Option<Digest>,
    /// Number and public half of the key that signs.
    pub(crate) key: (u64, String),
}

fn host_of(row: &AnyRow) -> Result<HostRow, StoreError> {
    let row = Row("hosts", row);
    let sudo = row.maybe_text("sudo")?.map(|_| row.json("sudo")).transpose()?;
    let ssh = row.maybe_text("ssh")?.map(|_| row.json("ssh")).transpose()?;
    Ok(HostRow {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        labels: row.json("labels")?,
        names: row.json("names")?,
        link_fingerprint: row.text("link_fingerprint")?,
        link_key: row.text("link_key")?,
        vouch_key: row.text("vouch_key")?,
        enrolled_at: row.time("enrolled_at")?,
        epoch: row.number("epoch")?,
        issued: row.number("issued")?,
        reported: row.number("reported")?,
        seen_at: row.maybe_time("seen_at")?,
        sudo,
        ssh,
        excused: row.maybe_time("excused")?.is_some(),
    })
}

impl Tx {
    /// Every host, by name.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn hosts(&mut self) -> Result<Vec<HostRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM hosts WHERE retired_at IS NULL ORDER BY name")
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter().map(host_of).collect()
    }

    /// A host by id.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn host(&mut self, id: HostId) -> Result<Option<HostRow>, StoreError> {
        if let Some(host) = self.seen.host(id) {
            return Ok(Some(host.clone()));
        }
        let question = "SELECT * FROM hosts WHERE id = $1 AND retired_at IS NULL";
        let host = self.ask(question, [id.to_string().into()]).await?.first().map(host_of).transpose()?;
        host.iter().for_each(|host| self.seen.saw_host(host));
        Ok(host)
    }

    /// Those that have this name or this link key.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn hosts_alike(
        &mut self,
        name: &Name,
        link_fingerprint: &str,
    ) -> Result<Vec<HostId>, StoreError> {
        let mut found = Vec::new();
        for (query, value) in [
            ("SELECT id FROM hosts WHERE name = $1 AND retired_at IS NULL", name.as_str()),
            ("SELECT id FROM hosts WHERE link_fingerprint = $1 AND retired_at IS NULL", link_fingerprint),
        ] {
            let row = sqlx::query(query).bind(value.to_owned()).fetch_optional(self.ready().await?).await?;
            let id = row.map(|row| Row("hosts", &row).parsed::<HostId>("id")).transpose()?;
            found.extend(id.filter(|id| !found.contains(id)));
        }
        Ok(found)
    }

    /// A host by name.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn host_named(&mut self, name: &Name) -> Result<Option<HostRow>, StoreError> {
        if let Some(host) = self.seen.host_named(name) {
            return Ok(Some(host.clone()));
        }
        let row = sqlx::query("SELECT * FROM hosts WHERE name = $1 AND retired_at IS NULL")
            .bind(name.as_str())
            .fetch_optional(self.ready().await?)
            .await?;
        let host = row.as_ref().map(host_of).transpose()?;
        host.iter().for_each(|host| self.seen.saw_host(host));
        Ok(host)
    }

    /// A new host.
    ///
    /// # Errors
    /// A [`StoreError`]; name and link key are unique.
    pub(crate) async fn insert_host(&mut self, host: &HostRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO hosts (id, name, labels, link_fingerprint, link_key, vouch_key, enrolled_at, epoch, issued, reported, names)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(host.id.to_string())
        .bind(host.name.as_str())
        .bind(to_json("labels", &host.labels)?)
        .bind(host.link_fingerprint.as_str())
        .bind(host.link_key.as_str())
        .bind(host.vouch_key.as_str())
        .bind(host.enrolled_at.0)
        .bind(i64::from(host.epoch))
        .bind(big(host.issued))
        .bind(big(host.reported))
        .bind(to_json("names", &host.names)?)
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// Other labels for a host.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_labels(
        &mut self,
        id: HostId,
        labels: &BTreeMap<Name, Name>,
    ) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET labels = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(to_json("labels", labels)?)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Other names beside its own.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_names(&mut self, id: HostId, names: &[HostName]) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET names = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(to_json("names", &names)?)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// A host that enrolled anew gives its name and link key to its successor.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn retire_host(&mut self, id: HostId) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET retired_at = $2 WHERE id = $1 AND retired_at IS NULL")
            .bind(id.to_string())
            .bind(self.now().0)
            .execute(self.ready().await?)
            .await?;
        self.await_no_ends(id).await
    }

    /// Notes that a host was heard of, and what enforces there where it said so.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn host_seen(
        &mut self,
        id: HostId,
        sudo: Option<&Enforcement>,
    ) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET seen_at = $2, sudo = COALESCE($3, sudo) WHERE id = $1")
            .bind(id.to_string())
            .bind(self.now().0)
            .bind(sudo.map(|sudo| to_json("sudo", sudo)).transpose()?)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Notes whether certificates open accounts there.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn host_ssh(&mut self, id: HostId, ssh: &SshEnforcement) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET ssh = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(to_json("ssh", ssh)?)
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Takes the next place in the log of each of these hosts, in their order. Several are asked for at once: the database is a
    /// thread away, and the one writer is held meanwhile.
    ///
    /// # Errors
    /// A [`StoreError`]; also when one of them does not exist.
    pub(crate) async fn next_places(&mut self, ids: &[HostId]) -> Result<Vec<NextPlace>, StoreError> {
        let mut places = Vec::with_capacity(ids.len());
        for some in ids.chunks(PLACES_AT_ONCE) {
            let marks: Vec<String> = (1..=some.len()).map(|number| format!("${number}")).collect();
            let statement = format!(
                "UPDATE hosts SET issued = issued + 1 WHERE id IN ({}) RETURNING id, epoch, issued,
                 (SELECT head FROM documents
                  WHERE host = hosts.id AND epoch = hosts.epoch AND seq = hosts.issued - 1) AS head,
                 (SELECT number FROM grant_keys WHERE until IS NULL) AS number,
                 (SELECT public FROM grant_keys WHERE until IS NULL) AS public",
                marks.join(", "),
            );
            some.iter().for_each(|id| self.seen.forget_host(*id));
            let rows = self.ask(&statement, some.iter().map(|id| id.to_string().into())).await?;
            let mut found = rows.iter().map(next_place).collect::<Result<HashMap<HostId, _>, _>>()?;
            for id in some {
                places.push(found.remove(id).ok_or(sqlx::Error::RowNotFound)?);
            }
        }
        Ok(places)
    }

    /// Begins a new epoch of a host's log: the documents before it are nothing to the host any more.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn begin_epoch(&mut self, id: HostId, epoch: u32) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        sqlx::query("UPDATE hosts SET epoch = $2, issued = 0, excused = NULL WHERE id = $1")
            .bind(id.to_string())
            .bind(i64::from(epoch))
            .execute(self.ready().await?)
            .await?;
        Ok(())
    }

    /// Number of the last report of a host that is recorded.
    ///
    /// # Errors
    /// A [`StoreError`]; also when there is no such host.
    pub(crate) async fn reported(&mut self, id: HostId) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT reported FROM hosts WHERE id = $1")
            .bind(id.to_string())
            .fetch_one(self.ready().await?)
            .await?;
        Row("hosts", &row).number("reported")
    }

    /// Moves it up.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_reported(&mut self, id: HostId, number: u64) -> Result<(), StoreError> {
        self.seen.forget_host(id);
        let values = [id.to_string().into(), big(number).into()];
        self.later("UPDATE hosts SET reported = $2 WHERE id = $1 AND reported < $2", values).await
    }
}

fn next_place(row: &AnyRow) -> Result<(HostId, NextPlace), StoreError> {
    let row = Row("hosts", row);
    let place = NextPlace {
        epoch: row.number("epoch")?,
        seq: row.number("issued")?,
        before: row.maybe_parsed("head")?,
        key: (row.number("number")?, row.text("public")?),
    };
    Ok((row.parsed("id")?, place))
}
