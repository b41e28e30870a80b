//! The reference model: who may be in, told in as few words as there are. It knows no store, no clock of its own, no signatures.
//!
//! In: what was asked and what the daemon answered, and which grants are signed. Out: nothing, or the grant that should not be there.
//! It lets in what is allowed at most: where the daemon is stricter, that is the daemon's right. Invariants I1, I2, I10.
//! Used by the histories of the daemon and by those of a whole fleet (tests/tests/histories).

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::id::ActivationId;

/// Everybody. Mallory is in no policy's sets.
pub(super) const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "mallory"];
/// Hosts of the tier that both roles are for, and one that neither is for.
pub(super) const HOSTS: [&str; 3] = ["web1", "web2", "db1"];
/// The longest of both roles, and how long a yes counts, in seconds.
pub(super) const MAX: i64 = 30 * 60;
pub(super) const WITHIN: i64 = 60 * 60;

/// A policy as the model sees it: two roles, of which one needs other people's word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rules {
    pub(super) quick: BTreeSet<&'static str>,
    pub(super) ops: BTreeSet<&'static str>,
    pub(super) leads: BTreeSet<&'static str>,
    pub(super) need: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Quick,
    Ops,
}

/// What a lock is on: it begins nothing and decides nothing, and what runs of it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Person(&'static str),
    Role(Role),
    Host(&'static str),
}

/// One request, from its beginning to its end.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) person: &'static str,
    pub(super) role: Role,
    pub(super) host: &'static str,
    seconds: i64,
    /// Who said yes, when, and how many the role needed at that moment: another role needs another yes.
    pub(super) approved: BTreeMap<&'static str, (usize, i64)>,
    /// First and last second at most, once it runs.
    pub(super) runs: Option<(i64, i64)>,
    pub(super) over: bool,
}

/// A signed grant that has not ended: what a host of the fleet would obey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) id: ActivationId,
    pub(super) person: String,
    pub(super) role: String,
    pub(super) host: &'static str,
    pub(super) not_after: i64,
    pub(super) approvers: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) rules: Rules,
    pub(super) requests: BTreeMap<ActivationId, Request>,
    pub(super) locks: Vec<Lock>,
    /// How many started: a model that never sees one proves nothing.
    pub(super) started: usize,
}

impl Rules {
    fn eligible(&self, role: Role, person: &str) -> bool {
        if role == Role::Quick { self.quick.contains(person) } else { self.ops.contains(person) }
    }

    /// Whether this may run now, and why not.
    fn may_run(&self, request: &Request, now: i64) -> Result<(), &'static str> {
        if request.over {
            return Err("it is over");
        }
        if !self.eligible(request.role, request.person) {
            return Err("the person is not eligible");
        }
        if !request.host.starts_with("web") {
            return Err("the host is not in the role");
        }
        let counts = |(who, (need, at)): (&&str, &(usize, i64))| {
            *who != request.person && self.leads.contains(who) && *need == self.need && now <= at + WITHIN
        };
        let approvals = request.approved.iter().filter(|one| counts(*one)).count();
        if request.role == Role::Ops && approvals < self.need {
            return Err("too few other people said yes");
        }
        Ok(())
    }
}

impl Lock {
    fn hits(self, request: &Request) -> bool {
        match self {
            Self::Person(who) => request.person == who,
            Self::Role(role) => request.role == role,
            Self::Host(host) => request.host == host,
        }
    }
}

impl Model {
    /// A request was taken in.
    pub(super) fn asked(
        &mut self,
        id: ActivationId,
        (person, role, host): (&'static str, Role, &'static str),
        seconds: i64,
    ) {
        let approved = BTreeMap::new();
        let request = Request { person, role, host, seconds, approved, runs: None, over: false };
        self.requests.entry(id).or_insert(request);
    }

    /// Somebody said yes, whatever the daemon made of it.
    pub(super) fn said_yes(&mut self, id: ActivationId, who: &'static str, now: i64) {
        let (leads, need) = (&self.rules.leads, self.rules.need);
        if let Some(request) = self.requests.get_mut(&id)
            && leads.contains(who)
            && who != request.person
            && !self.locks.contains(&Lock::Person(who))
        {
            request.approved.insert(who, (need, now));
        }
    }

    /// Dropped, denied, taken back: the daemon said that it is done.
    pub(super) fn ended(&mut self, id: ActivationId) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.over = true;
        }
    }

    /// Revoked: what runs is over, what waits is not.
    pub(super) fn ended_if_running(&mut self, which: impl Fn(ActivationId, &str, Role) -> bool) {
        for (id, request) in &mut self.requests {
            request.over |= request.runs.is_some() && which(*id, request.person, request.role);
        }
    }

    /// A running grant may last so much longer, if the daemon says so.
    pub(super) fn extended(&mut self, id: ActivationId, who: &str, seconds: i64) {
        if let Some(request) = self.requests.get_mut(&id)
            && request.person == who
            && self.rules.eligible(request.role, who)
            && !self.locks.iter().any(|lock| lock.hits(request))
            && let Some((start, end)) = &mut request.runs
        {
            *end = (*end + seconds).min(*start + MAX);
        }
    }

    /// Locked: what runs of it is over, and so is what a locked person waits for; what they said yes to they have to say again.
    pub(super) fn locked(&mut self, lock: Lock) {
        self.locks.push(lock);
        for request in self.requests.values_mut() {
            request.over |= lock.hits(request) && (request.runs.is_some() || matches!(lock, Lock::Person(_)));
            request.approved.retain(|who, _| request.runs.is_some() || lock != Lock::Person(who));
        }
    }

    pub(super) fn unlocked(&mut self, lock: Lock) {
        self.locks.retain(|one| *one != lock);
    }

    /// Another policy is in force: who is no longer eligible loses what runs.
    pub(super) fn ruled(&mut self, rules: Rules) {
        for request in self.requests.values_mut() {
            request.over |= request.runs.is_some() && !rules.eligible(request.role, request.person);
        }
        self.rules = rules;
    }

    /// Compares with what is signed and has not ended.
    pub(super) fn judge(&mut self, found: &[InForce], now: i64) -> Result<(), String> {
        for one in found.iter().filter(|one| one.not_after > now) {
            let wrong = |why: &str| Err(format!("{why}: {one:?}"));
            let Some(request) = self.requests.get_mut(&one.id) else { return wrong("nobody asked for it") };
            let role = if request.role == Role::Quick { "quick" } else { "ops" };
            if (one.person.as_str(), one.role.as_str(), one.host) != (request.person, role, request.host) {
                return wrong("it is not what was asked for");
            }
            // I10: distinct people, never the requester, each of whom has said yes.
            let distinct: BTreeSet<&String> = one.approvers.iter().collect();
            let all_said = one.approvers.iter().all(|who| request.approved.contains_key(who.as_str()));
            if distinct.len() != one.approvers.len()
                || one.approvers.iter().any(|who| who == request.person)
                || !all_said
            {
                return wrong("its approvers are not other, distinct people who said yes");
            }
            if request.runs.is_none() {
                if let Err(why) = self.rules.may_run(request, now) {
                    return wrong(why);
                }
                if self.locks.iter().any(|lock| lock.hits(request)) {
                    return wrong("it is locked");
                }
                request.runs = Some((now, now + request.seconds));
                self.started += 1;
            }
            if request.over {
                return wrong("it is over");
            }
            if request.runs.is_none_or(|(_, end)| one.not_after > end) {
                return wrong("it lasts too long");
            }
        }
        Ok(())
    }
}
