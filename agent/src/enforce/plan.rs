//! What has to change on the host so that exactly the live grants of one uid are in force. Pure.
//!
//! In: the live grants of a uid and what is installed. Out: [`Action`]s in the order that never widens anything:
//! a rule appears after the grant that proves it, and goes before it.

use std::collections::BTreeSet;

use elevate_protocol::date::DateError;
use elevate_protocol::id::ActivationId;
use elevate_protocol::signed::LiveGrant;

use super::reader::{self, ReadError};
use super::render;
use crate::flavour::Dialect;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Put a grant file in place for the PAM gate.
    WriteGrant {
        /// Whose.
        uid: u32,
        /// Which.
        id: ActivationId,
        /// Its signed text.
        text: String,
    },
    /// Put the drop-in in place.
    WriteDropIn {
        /// Whose.
        uid: u32,
        /// Its text.
        text: String,
    },
    /// Take the drop-in away.
    RemoveDropIn {
        /// Whose.
        uid: u32,
    },
    /// Take a grant file away.
    RemoveGrant {
        /// Whose.
        uid: u32,
        /// Which.
        id: ActivationId,
    },
}

/// A grant in force and the text that proves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InForce<'a> {
    /// The proof that it is live.
    pub(crate) live: LiveGrant<'a>,
    /// Everything signed about it.
    pub(crate) text: &'a str,
}

/// Why nothing can be rendered for a uid; its rules are then taken away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// An end that sudoers cannot write.
    #[error("the end of a grant cannot be written")]
    Date {
        /// Which.
        source: DateError,
    },
    /// The rendered text does not say what the grants say.
    #[error("the rendered drop-in was refused by its reader")]
    ReadBack {
        /// Why.
        source: ReadError,
    },
}

/// The steps for one uid. `installed` are the grant files that are there.
///
/// # Errors
/// [`PlanError`] when the drop-in cannot be rendered or does not read back as the grants.
pub(crate) fn plan(
    dialect: Dialect,
    uid: u32,
    in_force: &[InForce<'_>],
    installed: &BTreeSet<ActivationId>,
) -> Result<Vec<Action>, PlanError> {
    let live: Vec<LiveGrant<'_>> = in_force.iter().map(|grant| grant.live).collect();
    let mut actions = Vec::new();
    if live.is_empty() {
        actions.push(Action::RemoveDropIn { uid });
    } else {
        let text = render::drop_in(dialect, uid, &live).map_err(|source| PlanError::Date { source })?;
        reader::prove(dialect, &text, uid, &live).map_err(|source| PlanError::ReadBack { source })?;
        actions.extend(in_force.iter().map(|grant| Action::WriteGrant {
            uid,
            id: grant.live.grant().id,
            text: grant.text.to_owned(),
        }));
        actions.push(Action::WriteDropIn { uid, text });
    }
    let stays = |id: &ActivationId| live.iter().any(|grant| grant.grant().id == *id);
    actions.extend(installed.iter().filter(|id| !stays(id)).map(|id| Action::RemoveGrant { uid, id: *id }));
    Ok(actions)
}
