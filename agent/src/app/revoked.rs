//! Keeps sshd's list of revoked certificates: those of grants that ended before their time, for as long as such a certificate may live.
//!
//! In: ends, looks at the file. Out: a new list, made by a thread, since ssh-keygen tries it. What cannot be made is told, and the list of
//! before stays. Threat X-l; docs/decisions/0041.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::thread;

use elevate_protocol::id::ActivationId;
use elevate_protocol::krl::{Krl, REVOKED_MAX};
use elevate_protocol::time::Span;
use serde::{Deserialize, Serialize};

use super::grants::Standing;
use super::message::Message;
use super::state::Agent;
use crate::clock::{self, Boot, Moment};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::revoked;
use crate::safe::{self, Durability};
use crate::sshd;

/// How long after its end a certificate of a grant may live: a quarter of an hour, and clocks that differ.
const KEPT: Span = Span(20 * 60);
/// How far clocks may differ.
const SKEW: Span = Span(5 * 60);
/// How long who shows a certificate of a grant that has ended is told of, if nobody does.
const HEARD: Span = Span::MINUTE;
/// Longest file of those that ended.
const ENDED_MAX: u64 = 1024 * 1024;
/// Between two tries.
const AGAIN: Span = Span(2);

/// A file as it was when it was last looked at: another one, or one that was changed, differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    changed: (i64, i64),
    length: u64,
}

impl Seen {
    fn of(paths: &Paths) -> Option<Self> {
        let meta = std::fs::symlink_metadata(&paths.revoked).ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { file: (meta.dev(), meta.ino()), changed, length: meta.len() })
    }
}

/// A grant that has ended before its time, on CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Ended {
    /// When none of its certificates lives any more.
    until: Boot,
    /// From when on it is to stand in the list: sshd asks nobody about a certificate that does, so nobody would hear who shows it.
    from: Boot,
}

/// What is written down of those for an agent that starts again.
type Kept = BTreeMap<ActivationId, Ended>;

/// The list as far as the agent knows.
#[derive(Debug)]
pub(crate) struct Revoked {
    ended: Kept,
    /// Whether sshd is told to read it.
    is_named: bool,
    /// What stands there.
    placed: Option<(Seen, Krl)>,
    /// The latest version that was ever seen.
    version: u64,
    /// Whether a thread makes one.
    is_making: bool,
    /// Why there is no new one.
    failed: Option<String>,
    /// When it is tried again.
    again: Boot,
}

impl Revoked {
    /// What an agent before this one has left. All of it is to be in the list at once: nobody knows what was told meanwhile.
    #[must_use]
    pub(crate) fn look(paths: &Paths, now: Moment) -> Self {
        revoked::sweep(paths);
        let placed = stands(paths);
        let list = placed.as_ref().map(|(_, list)| list);
        let left = list.map_or(Span(0), |list| KEPT.min(list.made.after(KEPT).since(now.wall)));
        let listed = list.into_iter().flat_map(|list| list.grants.iter()).filter(|_| left > Span(0));
        let ended: Kept =
            listed.map(|grant| (*grant, Ended { until: now.boot.after(left), from: now.boot })).collect();
        let version = list.map_or(0, |list| list.version);
        let is_named = sshd::names_list(paths);
        let mut found =
            Self { ended, is_named, placed, version, is_making: false, failed: None, again: now.boot };
        let kept = safe::read(&paths.ended, ENDED_MAX).ok();
        let kept = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok()).unwrap_or_default();
        for (grant, Ended { until, .. }) in kept {
            let until = until.min(now.boot.after(KEPT));
            found.add(grant, Ended { until, from: now.boot });
        }
        found
    }

    /// Why sshd has no new list.
    #[must_use]
    pub(crate) fn hindrance(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// When there is something to do, by what is known now.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Boot> {
        if self.is_making || !self.is_named {
            return None;
        }
        if self.failed.is_some() {
            return Some(self.again);
        }
        let waits = self.ended.iter().filter(|(grant, _)| !self.has(**grant));
        waits.map(|(_, ended)| ended.from).min()
    }

    fn has(&self, grant: ActivationId) -> bool {
        self.placed.as_ref().is_some_and(|(_, list)| list.has(grant))
    }

    /// A grant has ended; whether anything is known by that.
    fn note(&mut self, standing: &Standing, from: Boot, now: Moment) -> bool {
        let grant = standing.held.verified.grant();
        let left = standing.held.verified.not_after().since(now.wall);
        // At its time its certificates are over too.
        if grant.ssh.is_none() || left == Span(0) {
            return false;
        }
        let until = now.boot.after(KEPT.min(Span(left.0.saturating_add(SKEW.0))));
        self.add(grant.id, Ended { until, from });
        true
    }

    /// Of more than fit in a list, the one goes that is over first.
    fn add(&mut self, id: ActivationId, ended: Ended) {
        self.ended.insert(id, ended);
        if self.ended.len() > REVOKED_MAX
            && let Some(id) = self.ended.iter().min_by_key(|(_, ended)| ended.until).map(|(id, _)| *id)
        {
            self.ended.remove(&id);
        }
    }

    /// Who is to stand there.
    fn wanted(&mut self, now: Boot) -> BTreeSet<ActivationId> {
        self.ended.retain(|_, ended| ended.until > now);
        self.ended.iter().filter(|(_, ended)| ended.from <= now).map(|(id, _)| *id).collect()
    }
}

fn stands(paths: &Paths) -> Option<(Seen, Krl)> {
    let seen = Seen::of(paths)?;
    Some((seen, revoked::read(paths).ok().flatten()?))
}

impl Agent {
    /// Certificates of a grant that has ended are revoked, where they may live still: at once where sshd may be answered otherwise.
    pub(super) fn revoke_certificates(&mut self, standing: &Standing, is_enforced: bool, now: Moment) {
        let from = if is_enforced { now.boot.after(HEARD) } else { now.boot };
        if self.revoked.note(standing, from, now) {
            self.save_ended();
            self.renew_revoked(now);
        }
    }

    /// Somebody has shown a certificate of this grant, and that is told: from here on sshd knows it by itself.
    pub(super) fn revoke_shown(&mut self, grant: ActivationId, now: Moment) {
        if let Some(ended) = self.revoked.ended.get_mut(&grant) {
            ended.from = ended.from.min(now.boot);
            self.renew_revoked(now);
        }
    }

    /// For an agent that starts again. Without it that one lists what stands in the list.
    fn save_ended(&self) {
        let text = serde_json::to_string(&self.revoked.ended).unwrap_or_default();
        if let Err(error) = safe::write(&self.paths.ended, &text, 0o600, Durability::Memory) {
            journal::log(Level::Error, &journal::chain(&error));
        }
    }

    /// Looks whether the list stands as it was put there: without it sshd lets nobody in by a key.
    pub(crate) fn look_at_revoked(&mut self, now: Moment) {
        self.revoked.is_named = sshd::names_list(&self.paths);
        let seen = Seen::of(&self.paths);
        let placed = self.revoked.placed.as_ref();
        if seen.is_none() || placed.map(|(seen, _)| *seen) != seen {
            let is_same = |one: &Krl| placed.is_none_or(|(_, list)| list == one);
            let found = stands(&self.paths).filter(|(_, list)| is_same(list));
            let version = found.as_ref().map_or(0, |(_, list)| list.version);
            let before = std::mem::replace(&mut self.revoked.placed, found);
            self.revoked.version = self.revoked.version.max(version);
            let revoked = &self.revoked;
            if before.is_some() && revoked.placed.is_none() && !revoked.is_making && revoked.is_named {
                let path = self.paths.revoked.display();
                let what =
                    format!("{path} was changed or removed, and is made again: without it sshd takes no key");
                self.tampered(now, &what);
            }
        }
        self.renew_revoked(now);
    }

    /// Has a list made where one is due.
    pub(crate) fn renew_revoked(&mut self, now: Moment) {
        if self.revoked.is_making || self.revoked.failed.is_some() && now.boot < self.revoked.again {
            return;
        }
        let grants = self.revoked.wanted(now.boot);
        let is_there = self.revoked.placed.as_ref().is_some_and(|(_, list)| grants.is_subset(&list.grants));
        if is_there || !self.revoked.is_named {
            self.revoked.failed = None;
            return;
        }
        let version = revoked::version(self.revoked.version, now.wall);
        let list = Krl { version, made: now.wall, grants };
        let (sender, paths) = (self.sender.clone(), self.paths.clone());
        let started = thread::Builder::new().name("revoked".into()).spawn(move || {
            let made = revoked::keep(&paths, &list).map_err(|error| journal::chain(&error));
            drop(sender.send(Message::Revoked { version, made }));
        });
        match started {
            Ok(_) => self.revoked.is_making = true,
            Err(error) => self.not_made(error.to_string(), now),
        }
    }

    /// The thread is done.
    pub(crate) fn revoked_made(&mut self, version: u64, made: Result<(), String>) {
        let now = clock::read();
        self.revoked.is_making = false;
        self.revoked.version = self.revoked.version.max(version);
        self.revoked.placed = stands(&self.paths);
        match made {
            Ok(()) => {
                if self.revoked.failed.take().is_some() {
                    journal::log(Level::Info, "the list of revoked certificates is made again");
                }
            }
            Err(why) => self.not_made(why, now),
        }
        // Who has ended meanwhile.
        self.renew_revoked(now);
    }

    fn not_made(&mut self, why: String, now: Moment) {
        self.revoked.again = now.boot.after(AGAIN);
        if self.revoked.failed.as_ref() != Some(&why) {
            self.tampered(
                now,
                &format!("sshd goes on with the list of revoked certificates of before: {why}"),
            );
            self.revoked.failed = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use elevate_protocol::time::Timestamp;

    use super::*;
    use crate::enforce::samples::NOW;

    fn id(number: usize) -> ActivationId {
        ActivationId::from_random(u128::try_from(number).unwrap().to_be_bytes())
    }

    fn at(wall: i64) -> Moment {
        Moment { wall: Timestamp(NOW.0.saturating_add(wall)), boot: Boot(1_000_000).after_seconds(wall) }
    }

    fn with_list(list: &Krl) -> (tempfile::TempDir, Paths) {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(paths.revoked.parent().unwrap()).unwrap();
        std::fs::write(&paths.revoked, list.to_bytes()).unwrap();
        (place, paths)
    }

    #[test]
    fn what_an_agent_before_has_left_is_kept_for_as_long_as_a_certificate_may_live() {
        let list = Krl { version: 9, made: NOW, grants: [id(1), id(2)].into() };
        let (_place, paths) = with_list(&list);
        for (later, count) in [(0, 2), (i64::from(KEPT.0) - 1, 2), (i64::from(KEPT.0), 0), (-86_400, 2)] {
            let mut revoked = Revoked::look(&paths, at(later));
            assert_eq!(revoked.wanted(at(later).boot).len(), count, "{later}");
            // A clock that was set back keeps nobody for longer.
            assert!(revoked.wanted(at(later).boot.after(KEPT)).is_empty(), "{later}");
            assert_eq!(revoked.version, 9);
        }
        std::fs::write(&paths.revoked, "").unwrap();
        let revoked = Revoked::look(&paths, at(0));
        assert!(revoked.placed.is_none() && revoked.ended.is_empty());
    }

    #[test]
    fn of_more_than_fit_those_go_that_are_over_first() {
        let (_place, paths) = with_list(&Krl { version: 1, made: NOW, grants: [].into() });
        let mut revoked = Revoked::look(&paths, at(0));
        for number in 0..REVOKED_MAX + 5 {
            let until = at(0).boot.after_seconds(i64::try_from(number).unwrap() + 1);
            revoked.add(id(number), Ended { until, from: at(0).boot });
        }
        let wanted = revoked.wanted(at(0).boot);
        assert_eq!(wanted.len(), REVOKED_MAX);
        assert!(!wanted.contains(&id(4)) && wanted.contains(&id(5)));
    }

    #[test]
    fn who_has_ended_is_listed_in_a_minute_and_by_the_next_agent_at_once() {
        let (_place, paths) = with_list(&Krl { version: 1, made: NOW, grants: [].into() });
        std::fs::create_dir_all(&paths.run).unwrap();
        let mut revoked = Revoked::look(&paths, at(0));
        revoked.is_named = true;
        let until = at(0).boot.after(KEPT);
        revoked.ended.insert(id(1), Ended { until, from: at(0).boot.after(HEARD) });
        assert_eq!(revoked.due(), Some(at(60).boot));
        assert!(revoked.wanted(at(59).boot).is_empty());
        assert_eq!(revoked.wanted(at(60).boot), BTreeSet::from([id(1)]));
        std::fs::write(&paths.ended, serde_json::to_string(&revoked.ended).unwrap()).unwrap();
        let mut next = Revoked::look(&paths, at(1));
        assert_eq!(next.wanted(at(1).boot), BTreeSet::from([id(1)]));
        assert!(next.wanted(until).is_empty() && next.ended.is_empty());
    }
}
