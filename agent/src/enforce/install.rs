//! Carries a plan out on the file system.
//!
//! In: [`Action`]s. Out: files below /run/elevate, each by rename. Runs as: root. Threats A10, A11, A13.

use std::collections::BTreeSet;
use std::path::PathBuf;

use elevate_protocol::id::ActivationId;

use super::plan::Action;
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Mode of a drop-in: what sudo and `visudo -c` want.
pub(crate) const DROP_IN_MODE: u32 = 0o440;
/// Mode of a grant file.
pub(crate) const GRANT_MODE: u32 = 0o400;
/// Mode of a person's folder of grant files.
pub(crate) const GRANTS_MODE: u32 = 0o700;

/// Where the drop-in of a uid stands. Made of a number alone: no login, no text of anybody.
#[must_use]
pub(crate) fn drop_in(paths: &Paths, uid: u32) -> PathBuf {
    paths.sudoers.join(format!("u{uid}"))
}

/// Where the grant files of a uid stand.
#[must_use]
pub(crate) fn grants(paths: &Paths, uid: u32) -> PathBuf {
    paths.grants.join(format!("u{uid}"))
}

/// Where one grant file stands.
#[must_use]
pub(crate) fn grant(paths: &Paths, uid: u32, id: ActivationId) -> PathBuf {
    grants(paths, uid).join(format!("{id}.grant"))
}

/// The uid that a name of ours stands for: `u2000`, in its one form.
#[must_use]
pub(crate) fn uid_of(name: &str) -> Option<u32> {
    let uid: u32 = name.strip_prefix('u')?.parse().ok()?;
    (name == format!("u{uid}")).then_some(uid)
}

/// The grant files that are there for a uid.
#[must_use]
pub(crate) fn installed(paths: &Paths, uid: u32) -> BTreeSet<ActivationId> {
    let names = safe::names(&grants(paths, uid)).unwrap_or_default();
    names.iter().filter_map(|name| name.to_str()?.strip_suffix(".grant")?.parse().ok()).collect()
}

/// Does one step after the other; stops at the first that fails.
///
/// # Errors
/// [`SafeError`] of the step that failed. A rule is then never in place without its grant file.
pub(crate) fn perform(paths: &Paths, actions: &[Action]) -> Result<(), SafeError> {
    for action in actions {
        match action {
            Action::WriteGrant { uid, id, text } => {
                safe::folder(&grants(paths, *uid), GRANTS_MODE)?;
                put(&grant(paths, *uid, *id), text, GRANT_MODE)?;
            }
            Action::WriteDropIn { uid, text } => put(&drop_in(paths, *uid), text, DROP_IN_MODE)?,
            Action::RemoveDropIn { uid } => safe::remove(&drop_in(paths, *uid))?,
            Action::RemoveGrant { uid, id } => {
                // The folder stays, empty: its time tells the gate that rights changed while a sudo was held stopped.
                safe::remove(&grant(paths, *uid, *id))?;
            }
        }
    }
    Ok(())
}

/// Writes only what differs, so that a drop-in's inode changes only when its content does.
fn put(path: &std::path::Path, text: &str, mode: u32) -> Result<(), SafeError> {
    if safe::is_exactly(path, text, mode) {
        return Ok(());
    }
    safe::write(path, text, mode, Durability::Memory)
}
