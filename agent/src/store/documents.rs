//! The grants that this host holds: one file per grant, everything signed about it, oldest first.
//!
//! In: signed documents. Out: [`Held`] grants, verified again at each start. Spec: docs/grant-format.md "Files".

use std::collections::BTreeMap;
use std::path::PathBuf;

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::signed::{SignedGrant, TrustedKeys, VerifiedGrant, VerifyError};
use elevate_protocol::text::escape;

use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Longest grant file: 256 documents, of which only the first is long.
const FILE_MAX: u64 = 2 * 1024 * 1024;
/// Most grants at a time.
pub(crate) const HELD_MAX: usize = 4096;

/// A grant whose signatures, host and order were checked, and the bytes that prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// What was signed.
    pub(crate) signed: SignedGrant,
    /// What it says.
    pub(crate) verified: VerifiedGrant,
}

impl Held {
    /// Verifies.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub(crate) fn verify(
        signed: SignedGrant,
        keys: &TrustedKeys,
        host: &HostId,
    ) -> Result<Self, VerifyError> {
        let verified = signed.verify(keys, host)?;
        Ok(Self { signed, verified })
    }
}

fn path(paths: &Paths, id: ActivationId) -> PathBuf {
    paths.log.join(format!("{id}.grant"))
}

/// Makes a grant durable.
///
/// # Errors
/// [`SafeError`]; the old file then still stands.
pub(crate) fn save(paths: &Paths, held: &Held) -> Result<(), SafeError> {
    safe::write(&path(paths, held.verified.grant().id), &held.signed.to_text(), 0o600, Durability::Disk)
}

/// Forgets a grant.
///
/// # Errors
/// [`SafeError`].
pub(crate) fn forget(paths: &Paths, id: ActivationId) -> Result<(), SafeError> {
    safe::remove(&path(paths, id))?;
    safe::sync_parent(&path(paths, id))
}

/// What a start finds.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Grants that verify.
    pub(crate) held: BTreeMap<ActivationId, Held>,
    /// What was removed, and why.
    pub(crate) removed: Vec<String>,
}

/// Reads and verifies every grant again. A file that does not verify counts as absent and is removed.
///
/// # Errors
/// [`SafeError`] when the folder itself cannot be used.
pub(crate) fn load(paths: &Paths, keys: &TrustedKeys, host: &HostId) -> Result<Loaded, SafeError> {
    let mut loaded = Loaded::default();
    for name in safe::names(&paths.log)? {
        let path = paths.log.join(&name);
        let shown = escape(&name.to_string_lossy());
        let id = name.to_str().and_then(|name| name.strip_suffix(".grant")).and_then(|id| id.parse().ok());
        // The draft of a write that a crash cut off was never relied on.
        if id.is_none() && shown.starts_with('.') && shown.ends_with(".new") {
            safe::remove(&path)?;
            continue;
        }
        let held =
            safe::read(&path, FILE_MAX).map_err(|error| crate::journal::chain(&error)).and_then(|text| {
                SignedGrant::from_text(&text)
                    .and_then(|signed| Held::verify(signed, keys, host))
                    .map_err(|error| error.to_string())
            });
        match (id, held) {
            (Some(id), Ok(held)) if held.verified.grant().id == id => {
                loaded.held.insert(id, held);
            }
            (_, Err(why)) => {
                safe::remove(&path)?;
                loaded.removed.push(format!("removed {shown} from the log: {why}"));
            }
            (_, Ok(_)) => {
                safe::remove(&path)?;
                loaded.removed.push(format!("removed {shown} from the log: its name is not its grant's"));
            }
        }
    }
    Ok(loaded)
}
