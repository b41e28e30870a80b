//! What each person has in force here, for their own eyes: one small file that `elevate status --prompt` reads without asking anybody.
//!
//! In: grants in force. Out: `/run/elevate/mine/u<uid>`, the person's own to read and nobody else's. Nothing is decided by these files:
//! one that cannot be written is logged and no more. Spec: docs/architecture.md "On the host".

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::lchown;
use std::path::PathBuf;

use super::grants::Account;
use super::state::Agent;
use crate::journal::{self, Level};
use crate::safe::{self, Durability};

/// A line `ROLE SECONDS` for each grant, by uid: the role, and its first second that is too late.
pub(crate) type Mine = BTreeMap<u32, String>;

impl Agent {
    /// Writes what is different since the last time.
    pub(crate) fn tell_people(&mut self) {
        let mine = self.mine_now();
        let before = match self.mine.take() {
            Some(before) => before,
            None => self.forget_all(),
        };
        for uid in before.keys().filter(|uid| !mine.contains_key(uid)) {
            log(safe::remove(&self.of(*uid)).map_err(|error| journal::chain(&error)));
        }
        for (uid, text) in mine.iter().filter(|(uid, text)| before.get(uid) != Some(text)) {
            log(self.give(*uid, text));
        }
        self.mine = Some(mine);
    }

    fn mine_now(&self) -> Mine {
        let mut mine = Mine::new();
        if self.enforcement.is_err() {
            return mine;
        }
        for standing in self.grants.values().filter(|standing| standing.account == Account::Confirmed) {
            let grant = standing.held.verified.grant();
            let lines = mine.entry(grant.uid).or_default();
            // Writing to a String does not fail.
            writeln!(lines, "{} {}", grant.role, standing.held.verified.not_after().0).unwrap_or_default();
        }
        mine
    }

    fn of(&self, uid: u32) -> PathBuf {
        self.paths.mine.join(format!("u{uid}"))
    }

    /// The folder is root's, so that nobody else can put a name into it between the two steps.
    fn give(&self, uid: u32, text: &str) -> Result<(), String> {
        let path = self.of(uid);
        safe::write(&path, text, 0o400, Durability::Memory).map_err(|error| journal::chain(&error))?;
        lchown(&path, Some(uid), None)
            .map_err(|error| format!("cannot give {} away: {error}", path.display()))
    }

    /// What an agent before this one has left.
    fn forget_all(&self) -> Mine {
        let names = safe::names(&self.paths.mine).unwrap_or_default();
        for name in names {
            log(safe::remove(&self.paths.mine.join(name)).map_err(|error| journal::chain(&error)));
        }
        Mine::new()
    }
}

fn log(done: Result<(), String>) {
    if let Err(why) = done {
        journal::log(Level::Error, &why);
    }
}
