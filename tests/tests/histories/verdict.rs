//! After each step: whom the real sudo lets in, against whom the model lets in, and the other way round.
//!
//! In: a [`World`]. Out: nothing, or who is in and must not be, or is not in and must be.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::id::ActivationId;
use elevate_tests::obtain;

use crate::ask::{Means, role_name};
use crate::model::{HOSTS, Lock, PEOPLE, Request, Role};
use crate::step::WEBS;
use crate::sudo::{ROLES, Seen, lets_in, look, now};
use crate::world::World;

/// A right that is in force for the daemon is so on a host that it reaches, within this.
const SOON: Duration = Duration::from_secs(20);
/// Nobody is missed in a right that is over so soon.
const LAST_SECONDS: i64 = 2000;

/// A role of a person on a host.
#[derive(Debug, Clone, Copy)]
struct Seat {
    host: usize,
    person: &'static str,
    role: Role,
}

impl World {
    pub(crate) fn counted(&self) -> String {
        let begun = self.model.started;
        format!("{begun} rights began, sudo let in {} times and kept out {} times", self.in_, self.out)
    }

    pub(crate) fn shown(&self) -> String {
        let (rules, locks) = (&self.model.rules, &self.model.locks);
        let open = self.model.requests.iter().filter(|(id, _)| !self.settled.contains(id));
        let open: Vec<_> =
            open.map(|(id, one)| format!("{id} {one:?}, ends {:?}", self.ends.get(id))).collect();
        format!("{rules:?}\n{locks:?}\n{:?}\n{}\nsigned: {:?}", self.reach, open.join("\n"), self.active)
    }

    /// Everything that has to hold at any moment.
    pub(crate) fn judge(&mut self) -> Result<()> {
        let mut over: Vec<ActivationId> = Vec::new();
        if self.reach.daemon {
            self.read_log()?;
        }
        for (id, request) in &self.model.requests {
            let deaf = HOSTS[..WEBS].iter().position(|host| *host == request.host);
            if request.over && request.runs.is_some() && deaf.is_some_and(|host| !self.reach.reaches(host)) {
                over.push(*id);
            }
        }
        // What ended while its host heard it is over there; the rest waits for the host.
        self.reach.unheard.extend(over.iter().filter(|id| !self.settled.contains(id)));
        self.in_step()?;
        let unheard = &self.reach.unheard;
        let heard = self.model.requests.iter().filter(|(id, one)| one.over && !unheard.contains(id));
        self.settled.extend(heard.map(|(id, _)| *id));
        let seen = std::thread::scope(|scope| {
            let both: Vec<_> = self.hosts.iter().map(|one| scope.spawn(|| look(&one.host))).collect();
            both.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        for (host, seen) in seen.into_iter().enumerate() {
            for seen in &seen? {
                if self.compare(host, seen).is_err() && self.reach.daemon {
                    // Something that was struck may have come to its end meanwhile. What let somebody in is on record before it does.
                    self.read_log()?;
                }
                self.compare(host, seen)?;
                self.count(host, seen);
            }
        }
        self.missed()
    }

    /// Until when, in milliseconds, the model lets somebody in at most; `lease`: also for want of contact.
    fn lets_in_until(&self, seat: Seat, (now, lease): (i64, bool)) -> Option<i64> {
        let mine = self.model.requests.iter().filter(|(id, one)| {
            (one.person, one.role, one.host) == (seat.person, seat.role, HOSTS[seat.host])
                && one.runs.is_some()
                && (!one.over || self.reach.unheard.contains(id))
        });
        let until = mine.filter_map(|(id, _)| self.ends.get(id)).max()? * 1000;
        let over = lease && seat.role == Role::Ops && self.reach.is_lease_over(seat.host, now);
        (!over && now < until).then_some(until)
    }

    fn compare(&self, host: usize, seen: &Seen) -> Result<()> {
        let person = seen.person;
        for ((role, listed), found) in ROLES.into_iter().zip(seen.listed).zip(seen.let_in) {
            let seat = Seat { host, person, role };
            if let Some(last) = listed.filter(|last| last * 1000 >= seen.listed_at) {
                let until = self.lets_in_until(seat, (seen.listed_at, false));
                ensure!(
                    until.is_some_and(|until| last * 1000 < until),
                    "sudo lists a rule up to {last} that the model ends at {until:?}: {seat:?}"
                );
            }
            if found {
                let allowed = self.lets_in_until(seat, (seen.called_at, true)).is_some();
                ensure!(allowed, "sudo lets in whom the model does not: {seat:?} {seen:?}");
            }
        }
        Ok(())
    }

    /// How often somebody was let in, and how often somebody was not who once had the right.
    fn count(&mut self, host: usize, seen: &Seen) {
        for (role, found) in ROLES.into_iter().zip(seen.let_in) {
            let had = |one: &Request| {
                (one.person, one.role, one.host) == (seen.person, role, HOSTS[host]) && one.runs.is_some()
            };
            self.in_ += usize::from(found);
            self.out += usize::from(!found && self.model.requests.values().any(had));
        }
    }

    /// Whoever has a right on a host that the daemon reaches is let in, at once or soon.
    fn missed(&mut self) -> Result<()> {
        for (id, one) in self.active.clone() {
            let host = HOSTS.iter().position(|host| *host == one.host).context("no host")?;
            let is_over = self.model.requests.get(&id).is_none_or(|request| request.over);
            if !self.reach.reaches(host) || is_over || self.reach.shaken.contains(&id) {
                continue;
            }
            let person = PEOPLE.into_iter().find(|person| *person == one.person).context("nobody")?;
            let role = usize::from(one.role != role_name(Role::Quick));
            let end = one.not_after * 1000 - LAST_SECONDS;
            let machine = self.hosts[host].host.clone();
            let comes = obtain(SOON, "the right", || {
                (now().ok()? > end || lets_in(&machine, person).ok()?[role]).then_some(())
            });
            if comes.is_err() {
                bail!("{person} is not let in on {} under {one:?}", one.host);
            }
        }
        Ok(())
    }

    /// All is mended, everybody's rights and requests are taken away: nobody is in.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.mend()?;
        for person in &PEOPLE[..3] {
            let lock = Lock::Person(person);
            for (word, means) in [("lock", Means::Locks(lock)), ("unlock", Means::Unlocks(lock))] {
                let (mut running, means) = self.admin_on(word, lock, means).start()?;
                let status = running.wait(SOON.saturating_mul(2))?;
                ensure!(status.success(), "{word} {person}: {status} {}", running.log());
                self.heard(&means, status.code());
            }
        }
        for lock in self.model.locks.clone() {
            let (mut running, means) = self.admin_on("unlock", lock, Means::Unlocks(lock)).start()?;
            running.wait(SOON)?;
            self.heard(&means, Some(0));
        }
        self.judge()?;
        ensure!(self.active.is_empty(), "a lock leaves rights: {:?}", self.active);
        Ok(())
    }
}
