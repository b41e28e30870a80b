//! Activations and their approvals, from request to end.
//!
//! In: [`Activation`] as the core changed it. Out: the same. The columns are what is searched; the rest is one JSON text.

use elevate_policy::{FactorProof, RecordedApproval, RecordedDenial, RoleDigest};
use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ActivationId, HostId, IdPrefix};
use elevate_protocol::message::view::State;
use elevate_protocol::name::{Login, Name};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::row::{Row, to_json};
use super::{StoreError, Tx};

/// One activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// Its id.
    pub(crate) id: ActivationId,
    /// Who asked.
    pub(crate) person: Name,
    /// What hosts call the person.
    pub(crate) login: Login,
    /// The role.
    pub(crate) role: Name,
    /// Where, by id, with the uid there.
    pub(crate) hosts: Vec<HostPart>,
    /// How long was asked; none: the role's default.
    pub(crate) asked: Option<Span>,
    /// How long it is to be, as the latest decision said.
    pub(crate) duration: Span,
    /// Why.
    pub(crate) reason: Option<UntrustedText>,
    /// The change number.
    pub(crate) ticket: Option<UntrustedText>,
    /// When it was asked.
    pub(crate) asked_at: Timestamp,
    /// When it lapses.
    pub(crate) lapses_at: Timestamp,
    /// `web1` or an address.
    pub(crate) from: UntrustedText,
    /// Digest of the request.
    pub(crate) digest: Digest,
    /// Digest of role and eligibility when it was asked.
    pub(crate) role_digest: RoleDigest,
    /// When a factor was last checked for it.
    pub(crate) factor_at: Option<Timestamp>,
    /// What that factor was bound to.
    pub(crate) factor_for: Option<Digest>,
    /// Who denied it, when and why.
    pub(crate) denied: Option<Denied>,
    /// Where it stands.
    pub(crate) state: State,
    /// When the grant began.
    pub(crate) starts_at: Option<Timestamp>,
    /// First second after the grant.
    pub(crate) ends_at: Option<Timestamp>,
    /// The latest end that extensions can reach.
    pub(crate) ends_at_most: Option<Timestamp>,
    /// Digest of role and eligibility that the grant was made with.
    pub(crate) granted_digest: Option<RoleDigest>,
    /// How many times it was extended.
    pub(crate) extensions: u32,
    /// Revision of its latest document; 0: none.
    pub(crate) revision: u32,
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Denied {
    /// Who.
    pub(crate) by: Name,
    /// When.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) reason: UntrustedText,
}

/// One host of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostPart {
    /// What it is.
    pub(crate) id: HostId,
    /// What it was called.
    pub(crate) name: Name,
    /// The person's uid there.
    pub(crate) uid: u32,
}

impl Activation {
    /// The factor as the policy looks at it.
    #[must_use]
    pub(crate) fn factor(&self) -> Option<FactorProof> {
        Some(FactorProof { checked_at: self.factor_at?, bound_to: self.factor_for? })
    }

    /// The denial as the policy looks at it.
    #[must_use]
    pub(crate) fn denial(&self) -> Option<RecordedDenial> {
        let Denied { by, at, reason } = self.denied.clone()?;
        Some(RecordedDenial { by, at, reason })
    }

    /// Whether it waits for others or for its person.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Approved)
    }

    /// Whether a grant is in force as far as the daemon knows.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// The column that is searched, and the moment at which the daemon has to do something about it.
    fn phase(&self) -> (&'static str, Option<Timestamp>) {
        match &self.state {
            State::Pending => ("pending", Some(self.lapses_at)),
            State::Approved => ("approved", Some(self.lapses_at)),
            State::Active => ("active", self.ends_at),
            State::Denied { .. }
            | State::Withdrawn
            | State::Lapsed
            | State::Refused { .. }
            | State::Ended { .. } => ("over", None),
        }
    }
}

fn activation_of(row: &AnyRow) -> Result<Activation, StoreError> {
    Row("activations", row).json("body")
}

/// These three run at every turn; each has an index of what lives, so that history costs them nothing.
pub(super) const LIVE_OF: &str =
    "SELECT body FROM activations WHERE person = $1 AND phase <> 'over' ORDER BY asked_at, id";
/// See [`LIVE_OF`].
pub(super) const DUE: &str =
    "SELECT body FROM activations WHERE phase <> 'over' AND deadline <= $1 ORDER BY deadline LIMIT $2";
/// See [`LIVE_OF`].
pub(super) const NEXT_DEADLINE: &str = "SELECT MIN(deadline) AS at FROM activations WHERE phase <> 'over'";

/// Which activations of everybody.
const LIST_MAX: i64 = 1000;

impl Tx {
    /// A new activation with its hosts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_activation(&mut self, activation: &Activation) -> Result<(), StoreError> {
        let (phase, deadline) = activation.phase();
        sqlx::query(
            "INSERT INTO activations (id, person, role, phase, deadline, asked_at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(activation.id.to_string())
        .bind(activation.person.as_str())
        .bind(activation.role.as_str())
        .bind(phase)
        .bind(deadline.map(|at| at.0))
        .bind(activation.asked_at.0)
        .bind(to_json("an activation", activation)?)
        .execute(&mut *self.inner)
        .await?;
        for (position, host) in activation.hosts.iter().enumerate() {
            sqlx::query(
                "INSERT INTO activation_hosts (activation, host, position, uid) VALUES ($1, $2, $3, $4)",
            )
            .bind(activation.id.to_string())
            .bind(host.id.to_string())
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(i64::from(host.uid))
            .execute(&mut *self.inner)
            .await?;
        }
        self.touch(activation.id);
        Ok(())
    }

    /// Writes an activation as it now is.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn update_activation(&mut self, activation: &Activation) -> Result<(), StoreError> {
        let (phase, deadline) = activation.phase();
        sqlx::query("UPDATE activations SET phase = $2, deadline = $3, body = $4 WHERE id = $1")
            .bind(activation.id.to_string())
            .bind(phase)
            .bind(deadline.map(|at| at.0))
            .bind(to_json("an activation", activation)?)
            .execute(&mut *self.inner)
            .await?;
        self.touch(activation.id);
        Ok(())
    }

    /// An activation by id.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn activation(&mut self, id: ActivationId) -> Result<Option<Activation>, StoreError> {
        let row = sqlx::query("SELECT body FROM activations WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        row.as_ref().map(activation_of).transpose()
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
        .fetch_optional(&mut *self.inner)
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
            .fetch_all(&mut *self.inner)
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
        .fetch_one(&mut *self.inner)
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
                .fetch_all(&mut *self.inner)
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
        .fetch_all(&mut *self.inner)
        .await?;
        rows.iter().map(activation_of).collect()
    }

    /// A person's open requests and active grants.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn live_of(&mut self, person: &Name) -> Result<Vec<Activation>, StoreError> {
        let rows = sqlx::query(LIVE_OF).bind(person.as_str()).fetch_all(&mut *self.inner).await?;
        rows.iter().map(activation_of).collect()
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
        .fetch_all(&mut *self.inner)
        .await?;
        rows.iter().map(activation_of).collect()
    }

    /// Activations whose deadline has come, at most `most`.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn due(&mut self, most: u32) -> Result<Vec<Activation>, StoreError> {
        let rows =
            sqlx::query(DUE).bind(self.now().0).bind(i64::from(most)).fetch_all(&mut *self.inner).await?;
        rows.iter().map(activation_of).collect()
    }

    /// The next moment at which something is due.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn next_deadline(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query(NEXT_DEADLINE).fetch_one(&mut *self.inner).await?;
        Row("activations", &row).maybe_time("at")
    }

    /// Every approval of an activation, in order.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn approvals(
        &mut self,
        id: ActivationId,
    ) -> Result<Vec<(RecordedApproval, Option<UntrustedText>)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM approvals WHERE activation = $1 ORDER BY at, person")
            .bind(id.to_string())
            .fetch_all(&mut *self.inner)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Row("approvals", row);
                let approval = RecordedApproval {
                    approver: row.parsed("person")?,
                    at: row.time("at")?,
                    request: row.parsed("request_digest")?,
                    role: RoleDigest::recorded(row.parsed("role_digest")?),
                };
                Ok((approval, row.maybe_text("reason")?.map(|text| UntrustedText::lossy(&text))))
            })
            .collect()
    }

    /// Records an approval; a later one of the same person replaces the earlier, which stays in the log.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_approval(
        &mut self,
        id: ActivationId,
        approval: &RecordedApproval,
        reason: Option<&UntrustedText>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO approvals (activation, person, at, request_digest, role_digest, reason)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (activation, person) DO UPDATE SET at = excluded.at, request_digest = excluded.request_digest,
                 role_digest = excluded.role_digest, reason = excluded.reason",
        )
        .bind(id.to_string())
        .bind(approval.approver.as_str())
        .bind(approval.at.0)
        .bind(approval.request.to_string())
        .bind(approval.role.digest().to_string())
        .bind(reason.map(|text| text.raw().to_owned()))
        .execute(&mut *self.inner)
        .await?;
        self.touch(id);
        Ok(())
    }
}
