//! The files that sshd's question is answered from: one per account, from all live grants that open it.
//!
//! In: [`Entry`]s by account. Out: `/run/elevate/principals/<account>`, each by rename, in a folder that only root and the program's
//! own group enter. Runs as: root. Spec: docs/grant-format.md "Principals". Threats A11, E10.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};

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

/// Makes the folder say exactly what is wanted; says what stood there that nobody had `written`.
///
/// # Errors
/// [`SafeError`]; what could not be changed ends by its own clocks.
pub(crate) fn install(
    paths: &Paths,
    group: u32,
    wanted: &Wanted,
    written: &Wanted,
) -> Result<Vec<String>, SafeError> {
    folder(paths, group)?;
    let mut foreign = Vec::new();
    // What goes goes first.
    for name in safe::names(&paths.principals)? {
        let account = name.to_str().and_then(|name| name.parse::<Name>().ok());
        if account.as_ref().is_some_and(|account| wanted.contains_key(account)) {
            continue;
        }
        let path = paths.principals.join(&name);
        safe::remove(&path)?;
        if !account.is_some_and(|account| written.contains_key(&account)) {
            foreign.push(path.display().to_string());
        }
    }
    for (account, entries) in wanted {
        let path = paths.principals.join(account.as_str());
        let text = principals::write(entries);
        if !safe::is_exactly(&path, &text, FILE_MODE) {
            safe::write(&path, &text, FILE_MODE, Durability::Memory)?;
        }
    }
    Ok(foreign)
}

/// Takes every file away.
///
/// # Errors
/// [`SafeError`].
pub(crate) fn clear(paths: &Paths) -> Result<(), SafeError> {
    safe::remove(&paths.principals)
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
        clear(&paths).unwrap();
        assert!(!paths.principals.exists());
    }
}
