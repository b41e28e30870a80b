//! Finds everything below /run/elevate that the live grants do not account for, and removes it.
//!
//! In: the drop-ins and grant files that should be there. Out: what was found and removed. Threats A11, A17.
//! What is missing is put back by the next plan of its uid; here things only go.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use elevate_protocol::id::ActivationId;
use elevate_protocol::text::escape;

use super::{install, reader};
use crate::paths::Paths;
use crate::safe::{self, SafeError};

/// What should stand for one uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The drop-in's text.
    pub(crate) drop_in: String,
    /// The grant files' texts.
    pub(crate) grants: BTreeMap<ActivationId, String>,
}

/// Something that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What a grant that is over left behind while nobody was there to sweep it.
    Swept(String),
    /// What none of us put there.
    Foreign(String),
}

/// Removes everything that is not wanted. `known` are grants that were in this host's log: their rests are swept
/// without alarm.
///
/// # Errors
/// [`SafeError`] when a folder cannot be listed or a file cannot be removed.
pub(crate) fn reconcile(
    paths: &Paths,
    wanted: &BTreeMap<u32, Wanted>,
    known: &BTreeSet<ActivationId>,
) -> Result<Vec<Finding>, SafeError> {
    let mut findings = Vec::new();
    for name in safe::names(&paths.sudoers)? {
        let path = paths.sudoers.join(&name);
        let want = uid_of(&name).and_then(|uid| wanted.get(&uid)).map(|wanted| wanted.drop_in.as_str());
        if want.is_some_and(|text| safe::is_exactly(&path, text, install::DROP_IN_MODE)) {
            continue;
        }
        let ours = uid_of(&name).is_some_and(|uid| is_rest(&path, uid, known));
        match uid_of(&name) {
            Some(uid) => install::remove_drop_in(paths, uid)?,
            None => safe::remove(&path)?,
        }
        findings.push(finding(&path, ours));
    }
    for name in safe::names(&paths.grants)? {
        let folder = paths.grants.join(&name);
        let want = uid_of(&name).and_then(|uid| wanted.get(&uid));
        if uid_of(&name).is_none() || !is_folder(&folder) {
            safe::remove(&folder)?;
            findings.push(finding(&folder, false));
            continue;
        }
        // An account's folder stays, perhaps empty: see install::perform.
        safe::folder(&folder, install::GRANTS_MODE)?;
        for inner in safe::names(&folder)? {
            let path = folder.join(&inner);
            let id = id_of(&inner);
            let text = id.and_then(|id| want.and_then(|wanted| wanted.grants.get(&id)));
            if !text.is_some_and(|text| safe::is_exactly(&path, text, install::GRANT_MODE)) {
                safe::remove(&path)?;
                findings.push(finding(&path, id.is_some_and(|id| known.contains(&id))));
            }
        }
    }
    Ok(findings)
}

fn finding(path: &Path, ours: bool) -> Finding {
    let shown = escape(&path.display().to_string());
    if ours { Finding::Swept(shown) } else { Finding::Foreign(shown) }
}

fn uid_of(name: &OsStr) -> Option<u32> {
    install::uid_of(name.to_str()?)
}

fn id_of(name: &OsStr) -> Option<ActivationId> {
    name.to_str()?.strip_suffix(".grant")?.parse().ok()
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// A drop-in in our form, for this uid, of grants that this host knew.
fn is_rest(path: &Path, uid: u32, known: &BTreeSet<ActivationId>) -> bool {
    let read = safe::read(path, 1024 * 1024).ok().and_then(|text| reader::read(&text).ok());
    read.is_some_and(|found| found.ids.is_subset(known) && found.rules.iter().all(|rule| rule.uid == uid))
}
