//! The networked half of enrolment: `elevate-link enroll`, as its own account, without this process's rights.
//!
//! In: an [`EnrolTask`]. Out: who this host is and whom it trusts, checked. Spec: docs/wire.md "Enrolment".

use std::path::Path;
use std::time::Duration;

use elevate_protocol::message::enrol::{EnrolReply, EnrolTask, Enrolled};
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{TrustedKeys, VerifyError};
use elevate_protocol::text::escape;

use crate::child::ChildError;

use super::program::{self, As};

/// How long the daemon may take, the connection included.
const DEADLINE: Duration = Duration::from_secs(90);
/// Longest text of the link that is shown, in characters.
const SHOWN_MAX: usize = 500;

/// Why the daemon did not enrol this host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The task has no JSON form.
    #[error("the enrolment request cannot be written")]
    Task {
        /// Why.
        source: serde_json::Error,
    },
    /// The program.
    #[error("elevate-link did not answer")]
    Run {
        /// Why.
        source: ChildError,
    },
    /// It ended without the daemon's answer.
    #[error("elevate-link could not ask the daemon: {said}")]
    Failed {
        /// What it said.
        said: String,
    },
    /// The daemon refused.
    #[error("the daemon refused: {message}")]
    Refused {
        /// Its sentence.
        message: String,
    },
    /// Keys that cannot be used.
    #[error("the daemon sent signers of grants that are not valid")]
    Signers {
        /// Why.
        source: VerifyError,
    },
}

/// Asks the daemon. The answer came through an unprivileged process: it is parsed here again, and trusted as far as the pinned
/// fingerprint of the paste string goes.
///
/// # Errors
/// A [`LinkError`]; the token may then be used up.
pub(crate) fn enrol(link: &Path, account: As, task: &EnrolTask) -> Result<Enrolled, LinkError> {
    let text = Secret::new(serde_json::to_string(task).map_err(|source| LinkError::Task { source })?);
    let answer = program::run(link, &["enroll"], account, text.expose(), DEADLINE)
        .map_err(|source| LinkError::Run { source })?;
    match answer.stdout.lines().next().map(serde_json::from_str) {
        Some(Ok(EnrolReply::Enrolled(enrolled))) if answer.code == Some(0) => {
            TrustedKeys::from_signers(&enrolled.grant_signers)
                .map_err(|source| LinkError::Signers { source })?;
            Ok(enrolled)
        }
        Some(Ok(EnrolReply::Refused(refusal))) => {
            Err(LinkError::Refused { message: shown(&refusal.message) })
        }
        Some(Ok(EnrolReply::Enrolled(_)) | Err(_)) | None => {
            Err(LinkError::Failed { said: shown(&answer.stderr) })
        }
    }
}

fn shown(text: &str) -> String {
    let text = text.trim().strip_prefix("elevate-link: error: ").unwrap_or(text.trim());
    escape(&text.chars().take(SHOWN_MAX).collect::<String>())
}
