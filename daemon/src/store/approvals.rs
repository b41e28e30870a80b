//! Approvals of activations.
//!
//! In: what an approver said yes to. Out: the same, one for each person. Who counts is the policy's to decide.

use elevate_policy::{RecordedApproval, RoleDigest};
use elevate_protocol::id::ActivationId;
use elevate_protocol::text::UntrustedText;

use super::row::Row;
use super::{StoreError, Tx};

impl Tx {
    /// Every approval of an activation, in order.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn approvals(
        &mut self,
        id: ActivationId,
    ) -> Result<Vec<(RecordedApproval, Option<UntrustedText>)>, StoreError> {
        if self.seen.is_unapproved(id) {
            return Ok(Vec::new());
        }
        let question = "SELECT * FROM approvals WHERE activation = $1 ORDER BY at, person";
        let rows = self.ask(question, [id.to_string().into()]).await?;
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
        self.seen.forget_approvals();
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
        .execute(self.ready().await?)
        .await?;
        self.touch(id);
        Ok(())
    }
}
