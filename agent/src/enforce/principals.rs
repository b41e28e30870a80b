//! The files that sshd's question is answered from: one per account, from all live grants that open it.
//!
//! In: [`Entry`]s by account. Out: `/run/elevate/principals/<account>`, each by rename, in a folder that only root and the program's
//! own group enter. Runs as: root. Spec: docs/grant-format.md "Principals". Threats A11, E10.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use elevate_protocol::name::Name;
use elevate_protocol::principals::{self, Entry};

use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Mode of the folder: root writes, the program's group passes.
const FOLDER_MODE: u32 = 0o750;
/// Mode of a file; the folder keeps others out.
const FILE_MODE: u32 = 0o644;

/// What opens each account.
pub(crate) type Wanted = BTreeMap<Name, Vec<Entry>>;

/// Makes the folder say exactly what is wanted; says what stood there that nobody had `written`. What cannot be written opens nothing.
///
/// # Errors
/// The first [`SafeError`]; the other accounts are seen to all the same.
pub(crate) fn install(
    paths: &Paths,
    group: u32,
    wanted: &Wanted,
    written: &Wanted,
) -> Result<Vec<String>, SafeError> {
    let mut first = Ok(());
    let mut note = |done: Result<(), SafeError>| {
        if first.is_ok() {
            first = done;
        }
    };
    // What goes goes first, and by its name: that needs no descriptor (threat R07).
    for account in written.keys().filter(|account| !wanted.contains_key(account)) {
        note(safe::remove(&file(paths, account)));
    }
    if let Err(error) = folder(paths, group) {
        drop(clear(paths, written));
        return Err(error);
    }
    let mut foreign = Vec::new();
    let names = safe::names(&paths.principals).unwrap_or_else(|error| {
        note(Err(error));
        Vec::new()
    });
    for name in names {
        let account = name.to_str().and_then(|name| name.parse::<Name>().ok());
        if account.as_ref().is_some_and(|account| wanted.contains_key(account)) {
            continue;
        }
        let path = paths.principals.join(&name);
        note(safe::remove(&path));
        if !is_draft(&name) && !account.is_some_and(|account| written.contains_key(&account)) {
            foreign.push(path.display().to_string());
        }
    }
    for (account, entries) in wanted {
        note(write(&file(paths, account), &principals::write(entries)));
    }
    first.map(|()| foreign)
}

/// Takes every file away: by name what is known to be there, and then whatever else is.
///
/// # Errors
/// The first [`SafeError`].
pub(crate) fn clear(paths: &Paths, written: &Wanted) -> Result<(), SafeError> {
    let mut first = Ok(());
    if std::fs::symlink_metadata(&paths.principals).is_ok_and(|meta| meta.is_dir()) {
        for account in written.keys() {
            first = first.and(safe::remove(&file(paths, account)));
        }
    }
    // An empty folder goes without a descriptor.
    if std::fs::remove_dir(&paths.principals).is_ok() {
        return first;
    }
    first.and(safe::remove(&paths.principals))
}

fn file(paths: &Paths, account: &Name) -> PathBuf {
    paths.principals.join(account.as_str())
}

/// What a write leaves that a crash cut off.
fn is_draft(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".new")
}

/// A file that cannot be written goes: what stands in it may be of a grant that has ended.
fn write(path: &Path, text: &str) -> Result<(), SafeError> {
    if safe::is_exactly(path, text, FILE_MODE) {
        return Ok(());
    }
    let written = safe::write(path, text, FILE_MODE, Durability::Memory);
    if written.is_err() {
        safe::remove(path)?;
    }
    written
}

fn folder(paths: &Paths, group: u32) -> Result<(), SafeError> {
    safe::folder(&paths.principals, FOLDER_MODE)?;
    let path = &paths.principals;
    let failed = |source: io::Error| SafeError::Io { what: "give to its group", path: path.clone(), source };
    if std::fs::symlink_metadata(path).map_err(failed)?.gid() != group {
        chown(path, None, Some(group)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::samples::NOW;
    use elevate_protocol::id::ActivationId;
    use elevate_protocol::ssh::SshOptions;

    fn wanted(accounts: &[(&str, &[u8])]) -> Wanted {
        let entry =
            |id: &u8| Entry::new(ActivationId::from_random([*id; 16]), (NOW, 1000), &SshOptions::default());
        let of = |(account, ids): &(&str, &[u8])| (account.parse().unwrap(), ids.iter().map(entry).collect());
        accounts.iter().map(of).collect()
    }

    fn names(paths: &Paths) -> Vec<String> {
        let names = safe::names(&paths.principals).unwrap();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn the_folder_says_what_is_wanted_and_what_nobody_wrote_is_told() {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(&paths.run).unwrap();
        let (none, two) = (Wanted::new(), wanted(&[("deploy", &[1, 2]), ("postgres", &[2])]));
        assert!(install(&paths, 7, &two, &none).unwrap().is_empty());
        assert_eq!(names(&paths), ["deploy", "postgres"]);
        let text = std::fs::read_to_string(paths.principals.join("deploy")).unwrap();
        assert_eq!(principals::read(&text).unwrap(), two[&"deploy".parse().unwrap()]);
        let meta = std::fs::symlink_metadata(&paths.principals).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o750, 0, 7));
        let one = wanted(&[("deploy", &[2])]);
        std::fs::write(paths.principals.join("root"), "planted").unwrap();
        std::fs::write(paths.principals.join("deploy"), "planted").unwrap();
        let foreign = install(&paths, 7, &one, &two).unwrap();
        assert_eq!(foreign, [paths.principals.join("root").display().to_string()]);
        assert_eq!(names(&paths), ["deploy"]);
        let text = std::fs::read_to_string(paths.principals.join("deploy")).unwrap();
        assert_eq!(principals::read(&text).unwrap(), one[&"deploy".parse().unwrap()]);
        clear(&paths, &one).unwrap();
        assert!(!paths.principals.exists());
        clear(&paths, &none).unwrap();
    }

    fn place() -> (tempfile::TempDir, Paths) {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(&paths.run).unwrap();
        (place, paths)
    }

    #[test]
    fn a_write_that_a_crash_cut_off_is_no_tampering() {
        let (_place, paths) = place();
        let one = wanted(&[("deploy", &[1])]);
        install(&paths, 7, &one, &one).unwrap();
        for draft in [".deploy.new", ".postgres.new"] {
            std::fs::write(paths.principals.join(draft), "cut off").unwrap();
        }
        assert!(install(&paths, 7, &one, &one).unwrap().is_empty());
        assert_eq!(names(&paths), ["deploy"]);
    }

    #[test]
    fn a11_a_link_in_the_folders_place_goes_and_is_not_followed() {
        let (_place, paths) = place();
        let before = wanted(&[("deploy", &[1]), ("postgres", &[1])]);
        install(&paths, 7, &before, &before).unwrap();
        std::fs::rename(&paths.principals, paths.run.join("aside")).unwrap();
        std::os::unix::fs::symlink("aside", &paths.principals).unwrap();
        assert!(install(&paths, 7, &before, &before).is_err());
        assert!(!paths.principals.exists(), "a link is no folder of ours");
        assert!(paths.run.join("aside/deploy").exists(), "and is not followed");
    }
}
