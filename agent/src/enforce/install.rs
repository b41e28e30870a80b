//! Carries a plan out on the file system.
//!
//! In: [`Action`]s. Out: files below /run/elevate, each by rename. Runs as: root. Threats A10, A11, A13.

use std::collections::BTreeSet;
use std::path::PathBuf;

use elevate_protocol::id::ActivationId;

use super::plan::Action;
use crate::journal::{self, Level};
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
                let path = grant(paths, *uid, *id);
                if !safe::is_exactly(&path, text, GRANT_MODE) {
                    safe::write(&path, text, GRANT_MODE, Durability::Memory)?;
                }
            }
            Action::WriteDropIn { uid, text } => {
                let path = drop_in(paths, *uid);
                // Its inode changes only when its content does.
                if !safe::is_exactly(&path, text, DROP_IN_MODE) {
                    mark(paths, *uid);
                    safe::write(&path, text, DROP_IN_MODE, Durability::Memory)?;
                    mark(paths, *uid);
                }
            }
            Action::RemoveDropIn { uid } => remove_drop_in(paths, *uid)?,
            // The folder stays, empty: see `mark`.
            Action::RemoveGrant { uid, id } => safe::remove(&grant(paths, *uid, *id))?,
        }
    }
    Ok(())
}

/// Takes a drop-in away, when there is one.
///
/// # Errors
/// [`SafeError`] when it cannot be removed.
pub(crate) fn remove_drop_in(paths: &Paths, uid: u32) -> Result<(), SafeError> {
    let path = drop_in(paths, uid);
    if std::fs::symlink_metadata(&path).is_ok() {
        mark(paths, uid);
        safe::remove(&path)?;
        mark(paths, uid);
    }
    Ok(())
}

/// Makes now the time of a person's folder of grants: it tells the gate that rights changed while a sudo was held stopped
/// (threat S01). Before the rules change, or a sudo that goes on in between finds them gone and no trace of it; after, for one
/// that read them in between. A folder that cannot be marked keeps no rule in place: what removes the rule comes next.
fn mark(paths: &Paths, uid: u32) {
    let folder = grants(paths, uid);
    let marked = safe::folder(&folder, GRANTS_MODE).and_then(|_| safe::touch(&folder));
    if let Err(error) = marked {
        journal::log(Level::Error, &journal::chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::inotify::{AddWatchFlags as Seen, InitFlags, Inotify};

    use super::*;

    /// What the kernel saw of a step, in its order: changes of the drop-in, and marks of the folder of grants.
    fn seen(paths: &Paths, action: Action) -> Vec<&'static str> {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        watch.add_watch(&paths.sudoers, Seen::IN_DELETE | Seen::IN_MOVED_TO).unwrap();
        watch.add_watch(&grants(paths, 2000), Seen::IN_ATTRIB).unwrap();
        perform(paths, &[action]).unwrap();
        let events = watch.read_events().unwrap_or_default();
        let rules = |mask: Seen| mask.intersects(Seen::IN_DELETE | Seen::IN_MOVED_TO);
        events.iter().map(|event| if rules(event.mask) { "rules" } else { "mark" }).collect()
    }

    /// The gate of a sudo that goes on in the middle of a change must not see less than the change.
    #[test]
    fn s01_a_change_of_rules_is_marked_before_and_after() {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(&paths.sudoers).unwrap();
        std::fs::create_dir_all(grants(&paths, 2000)).unwrap();
        let write = |text: &str| Action::WriteDropIn { uid: 2000, text: text.to_owned() };
        let remove = || Action::RemoveDropIn { uid: 2000 };
        let marked = ["mark", "rules", "mark"];
        let settled = |seen: Vec<&'static str>| {
            // A folder made by the test has another mode than the agent's: setting it is a mark more.
            assert!(
                seen.ends_with(&marked) && seen.iter().filter(|what| **what == "rules").count() == 1,
                "{seen:?}"
            );
        };
        settled(seen(&paths, write("two rules\n")));
        settled(seen(&paths, write("one rule\n")));
        assert!(seen(&paths, write("one rule\n")).is_empty(), "what stays is not marked");
        settled(seen(&paths, remove()));
        assert!(seen(&paths, remove()).is_empty(), "nothing went");
    }
}
