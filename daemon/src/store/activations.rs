//! Activations, from request to end.
//!
//! In: [`Activation`] as the core changed it. Out: the same. The columns are what is searched; the rest is one JSON text.

use elevate_protocol::id::{ActivationId, HostId, IdPrefix};
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;
use sqlx::any::AnyRow;

use super::activation::Activation;
use super::ends::WITH_ITS_HELLO;
use super::row::{Row, to_json};
use super::{StoreError, Tx};

pub(super) fn activation_of(row: &AnyRow) -> Result<Activation, StoreError> {
    Row("activations", row).json("body")
}

/// These run at every turn; each has an index of what lives, so that history costs them nothing.
pub(super) const LIVE_OF: &str =
    "SELECT body FROM activations WHERE person = $1 AND phase <> 'over' ORDER BY asked_at, id";
/// See [`LIVE_OF`].
pub(super) const LIVE_ON: &str = "SELECT body FROM activations WHERE person = $1 AND phase <> 'over' AND role = $2
    AND EXISTS (SELECT 1 FROM activation_hosts WHERE activation = activations.id AND host = $3) ORDER BY asked_at, id";
/// See [`LIVE_OF`].
pub(super) const BY_ID: &str =
    "SELECT body, (SELECT COUNT(*) FROM locks WHERE over_at IS NULL AND (ends_at IS NULL OR ends_at > $2)) AS locks
    FROM activations WHERE id = $1";
/// See [`LIVE_OF`]. The first condition is the index's own.
pub(super) const LIVE_IN: &str =
    "SELECT body FROM activations WHERE phase <> 'over' AND role = $1 ORDER BY asked_at, id";
/// See [`LIVE_IN`].
pub(super) const LIVE_AT: &str = "SELECT body FROM activations WHERE phase <> 'over' AND EXISTS (SELECT 1 FROM activation_hosts
    JOIN hosts ON hosts.id = host WHERE activation = activations.id AND hosts.name = $1) ORDER BY asked_at, id";
/// See [`LIVE_OF`].
pub(super) const OPEN_OF: &str =
    "SELECT COUNT(*) AS n FROM activations WHERE person = $1 AND phase <> 'over' AND phase <> 'active'";
/// See [`LIVE_OF`].
pub(super) const DUE: &str =
    "SELECT body FROM activations WHERE phase <> 'over' AND deadline <= $1 ORDER BY deadline LIMIT $2";
/// See [`LIVE_OF`].
pub(super) const NEXT_DUE: &str =
    "SELECT (SELECT MIN(deadline) FROM activations WHERE phase <> 'over') AS activation,
    (SELECT MIN(ends_at) FROM locks WHERE over_at IS NULL) AS unlock,
    (SELECT MIN(counts_at) FROM changes WHERE over_at IS NULL) AS change,
    (SELECT MIN(until) FROM user_cas WHERE over_at IS NULL) AS ca,
    (SELECT MIN(until) FROM host_cas WHERE over_at IS NULL) AS host_ca,
    (SELECT MIN(end_due) FROM activation_hosts WHERE end_due IS NOT NULL) AS untold";

/// Which activations of everybody.
const LIST_MAX: i64 = 1000;

impl Tx {
    /// A new activation with its hosts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_activation(&mut self, activation: &Activation) -> Result<(), StoreError> {
        let (phase, deadline) = activation.phase();
        let values = [
            activation.id.to_string().into(),
            activation.person.as_str().into(),
            activation.role.as_str().into(),
            phase.into(),
            deadline.map(|at| at.0).into(),
            activation.asked_at.0.into(),
            to_json("an activation", activation)?.into(),
        ];
        self.later(
            "INSERT INTO activations (id, person, role, phase, deadline, asked_at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            values,
        )
        .await?;
        for (position, host) in activation.hosts.iter().enumerate() {
            let values = [
                activation.id.to_string().into(),
                host.id.to_string().into(),
                i64::try_from(position).unwrap_or(i64::MAX).into(),
                i64::from(host.uid).into(),
            ];
            self.later(
                "INSERT INTO activation_hosts (activation, host, position, uid) VALUES ($1, $2, $3, $4)",
                values,
            )
            .await?;
        }
        self.seen.makes(activation.id);
        self.touch(activation.id);
        Ok(())
    }

    /// Writes an activation as it now is.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn update_activation(&mut self, activation: &Activation) -> Result<(), StoreError> {
        let (phase, deadline) = activation.phase();
        let values = [
            activation.id.to_string().into(),
            phase.into(),
            deadline.map(|at| at.0).into(),
            to_json("an activation", activation)?.into(),
        ];
        self.later("UPDATE activations SET phase = $2, deadline = $3, body = $4 WHERE id = $1", values)
            .await?;
        self.touch(activation.id);
        Ok(())
    }

    /// An activation by id. On the same way to the database it is seen whether nothing at all is locked, which is what whoever asks
    /// for one wants to know next.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn activation(&mut self, id: ActivationId) -> Result<Option<Activation>, StoreError> {
        let rows = self.ask(BY_ID, [id.to_string().into(), self.now().0.into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if Row("activations", row).number::<u64>("locks")? == 0 {
            self.seen.saw_locks(&[]);
        }
        activation_of(row).map(Some)
    }

    /// Person and role of an activation, when it is one of this host.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn whose(
        &mut self,
        id: ActivationId,
        host: HostId,
    ) -> Result<Option<(Name, Name)>, StoreError> {
        let row = sqlx::query(
            "SELECT person, role FROM activations WHERE id = $1
             AND EXISTS (SELECT 1 FROM activation_hosts WHERE activation = $1 AND host = $2)",
        )
        .bind(id.to_string())
        .bind(host.to_string())
        .fetch_optional(self.ready().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Row("activations", &row);
        Ok(Some((row.parsed("person")?, row.parsed("role")?)))
    }

    /// The activations that a prefix names, at most two: one is an answer, two are none.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn activations_named(
        &mut self,
        prefix: &IdPrefix,
    ) -> Result<Vec<Activation>, StoreError> {
        // The letters of a prefix are sorted as text the way they are counted: digits before letters, in ASCII.
        let rows = sqlx::query("SELECT body FROM activations WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 2")
            .bind(prefix.letters())
            .bind(format!("{}~", prefix.letters()))
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter().map(activation_of).collect()
    }

    /// The neighbours of an id in the order of ids: what a short form has to differ from.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn neighbours(&mut self, id: ActivationId) -> Result<Vec<ActivationId>, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT MAX(id) FROM activations WHERE id < $1) AS before,
                    (SELECT MIN(id) FROM activations WHERE id > $1) AS after",
        )
        .bind(id.to_string())
        .fetch_one(self.ready().await?)
        .await?;
        let row = Row("activations", &row);
        Ok([row.maybe_parsed("before")?, row.maybe_parsed("after")?].into_iter().flatten().collect())
    }

    /// A person's activations, the latest first.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn activations_of(&mut self, person: &Name) -> Result<Vec<Activation>, StoreError> {
        let rows =
            sqlx::query("SELECT body FROM activations WHERE person = $1 ORDER BY asked_at DESC, id LIMIT $2")
                .bind(person.as_str())
                .bind(LIST_MAX)
                .fetch_all(self.ready().await?)
                .await?;
        rows.iter().map(activation_of).collect()
    }

    /// What a person has asked for since a moment, newest first.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn asked_since(
        &mut self,
        person: &Name,
        since: Timestamp,
    ) -> Result<Vec<Activation>, StoreError> {
        let rows = sqlx::query(
            "SELECT body FROM activations WHERE person = $1 AND asked_at >= $2 ORDER BY asked_at DESC, id LIMIT $3",
        )
        .bind(person.as_str())
        .bind(since.0)
        .bind(LIST_MAX)
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(activation_of).collect()
    }

    /// A person's open requests and active grants.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn live_of(&mut self, person: &Name) -> Result<Vec<Activation>, StoreError> {
        self.live(LIVE_OF, person).await
    }

    /// Everybody's open requests and active grants of a role.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn live_in(&mut self, role: &Name) -> Result<Vec<Activation>, StoreError> {
        self.live(LIVE_IN, role).await
    }

    /// Everybody's open requests and active grants at a host.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn live_at(&mut self, host: &Name) -> Result<Vec<Activation>, StoreError> {
        self.live(LIVE_AT, host).await
    }

    async fn live(&mut self, query: &'static str, of: &Name) -> Result<Vec<Activation>, StoreError> {
        let rows = self.ask(query, [of.as_str().into()]).await?;
        rows.iter().map(activation_of).collect()
    }

    /// Those of [`Tx::live_of`] for a role that are on a host.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn live_on(
        &mut self,
        person: &Name,
        role: &Name,
        host: HostId,
    ) -> Result<Vec<Activation>, StoreError> {
        let values = [person.as_str().into(), role.as_str().into(), host.to_string().into()];
        let rows = self.ask(LIVE_ON, values).await?;
        rows.iter().map(activation_of).collect()
    }

    /// How many open requests a person has.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn open_of(&mut self, person: &Name) -> Result<usize, StoreError> {
        let row = sqlx::query(OPEN_OF).bind(person.as_str()).fetch_one(self.ready().await?).await?;
        Row("activations", &row).number("n")
    }

    /// Everybody's activations in a phase: `pending`, `approved`, `active`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn in_phase(&mut self, phase: &'static str) -> Result<Vec<Activation>, StoreError> {
        let rows = sqlx::query(
            // Twice about the phase: the first part is the index's own.
            "SELECT body FROM activations WHERE phase <> 'over' AND phase = $1 ORDER BY asked_at, id",
        )
        .bind(phase)
        .fetch_all(self.ready().await?)
        .await?;
        rows.iter().map(activation_of).collect()
    }

    /// Activations whose deadline has come, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn due(&mut self, most: u32) -> Result<Vec<Activation>, StoreError> {
        let rows =
            sqlx::query(DUE).bind(self.now().0).bind(i64::from(most)).fetch_all(self.ready().await?).await?;
        rows.iter().map(activation_of).collect()
    }

    /// The next moment at which something is due: an activation, the end of a lock, a change that waits, the end of a replaced key
    /// for certificates, an end that no host has told of.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn next_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query(NEXT_DUE).fetch_one(self.ready().await?).await?;
        let row = Row("activations", &row);
        let untold = row.maybe_time("untold")?.filter(|at| at.0 != WITH_ITS_HELLO);
        let mut next = untold;
        for column in ["activation", "unlock", "change", "ca", "host_ca"] {
            next = next.into_iter().chain(row.maybe_time(column)?).min();
        }
        Ok(next)
    }
}
