//! What a person has, with everything beside it that a certificate under it is decided on, in one way to the database.
//!
//! In: a person. Out: [`Standing`]s; with them [`AsSeen`], by which a change is refused unless the grant is still what was seen and
//! nothing is locked. Spec: docs/decisions/0045.

use elevate_protocol::id::ActivationId;
use elevate_protocol::name::Name;
use sqlx::error::ErrorKind;

use super::activations::activation_of;
use super::certificates::CertificateRow;
use super::row::Row;
use super::{Activation, StoreError, Tx};

/// As [`super::activations::LIVE_OF`].
pub(super) const STANDING_OF: &str =
    "SELECT body, (SELECT COUNT(*) FROM locks WHERE over_at IS NULL AND (ends_at IS NULL OR ends_at > $2)) AS locks,
        (SELECT MAX(id) FROM activations AS other WHERE other.id < activations.id) AS before,
        (SELECT MIN(id) FROM activations AS other WHERE other.id > activations.id) AS after
    FROM activations WHERE person = $1 AND phase <> 'over' ORDER BY asked_at, id";

/// An open request or an active grant.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// What it is.
    pub(crate) activation: Activation,
    /// Those beside it in the order of ids: what a short form has to differ from.
    pub(crate) neighbours: Vec<ActivationId>,
    /// The row; none: something was locked, and whether it bars this one is to be asked.
    pub(crate) seen: Option<AsSeen>,
}

/// The row of an activation while nothing at all was locked. Whoever judged it has judged it still where the row is the same.
#[derive(Debug, Clone)]
pub(crate) struct AsSeen(String);

impl Tx {
    /// A person's open requests and active grants, and whether nothing at all is locked.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn standing_of(&mut self, person: &Name) -> Result<Vec<Standing>, StoreError> {
        let rows = self.ask(STANDING_OF, [person.as_str().into(), self.now().0.into()]).await?;
        let mut found = Vec::new();
        for row in &rows {
            let activation = activation_of(row)?;
            let row = Row("activations", row);
            let free = row.number::<u64>("locks")? == 0;
            if free {
                self.seen.saw_locks(&[]);
            }
            let neighbours = [row.maybe_parsed("before")?, row.maybe_parsed("after")?];
            let seen = free.then_some(AsSeen(row.text("body")?));
            found.push(Standing { activation, neighbours: neighbours.into_iter().flatten().collect(), seen });
        }
        Ok(found)
    }

    /// Keeps a certificate under a grant, as long as that is what was seen and nothing is locked. Else the change fails, with an error
    /// that [`StoreError::is_otherwise`] knows; so does one with a serial that was given already, with another.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn insert_certificate_under(
        &mut self,
        seen: &AsSeen,
        one: &CertificateRow,
    ) -> Result<(), StoreError> {
        let judged = [seen.0.clone().into(), self.now().0.into()];
        // No certificate is of no grant: the column takes no NULL.
        self.later(
            "INSERT INTO certificates (serial, ca, activation, fingerprint, valid_before) VALUES ($1, $2,
                (SELECT id FROM activations WHERE id = $3 AND body = $6 AND NOT EXISTS
                    (SELECT 1 FROM locks WHERE over_at IS NULL AND (ends_at IS NULL OR ends_at > $7))), $4, $5)",
            one.values().into_iter().chain(judged),
        )
        .await
    }
}

impl StoreError {
    /// Whether a change was refused since what it is under is not what was seen.
    pub(crate) fn is_otherwise(&self) -> bool {
        let Self::Database { source } = self else { return false };
        source.as_database_error().is_some_and(|error| error.kind() == ErrorKind::NotNullViolation)
    }
}
