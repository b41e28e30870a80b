//! What people and administrators type.
//!
//! In: an [`Ask`]. Out: a command on the machine where it is typed, and what the model hears of it.

use anyhow::Result;
use elevate_protocol::id::ActivationId;
use elevate_tests::{Cmd, Running};

use crate::model::{HOSTS, Lock, PEOPLE, Role};
use crate::step::Ask;
use crate::world::World;

/// A command, and what it means when it is done.
pub(crate) struct Typed {
    cmd: Cmd,
    pub(crate) means: Means,
}

/// What the model hears.
#[derive(Debug)]
pub(crate) enum Means {
    Request,
    Ends(ActivationId),
    Extends,
    Revokes(Whose),
    Locks(Lock),
    Unlocks(Lock),
}

/// Whose grants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Grant(ActivationId),
    Person(&'static str),
    Role(Role),
}

impl Typed {
    pub(crate) fn start(self) -> Result<(Running, Means)> {
        Ok((self.cmd.spawn()?, self.means))
    }
}

pub(crate) fn role_name(role: Role) -> &'static str {
    if role == Role::Quick { "quick" } else { "ops" }
}

/// What can be locked.
fn lockable(which: usize) -> Lock {
    match which {
        0..3 => Lock::Person(PEOPLE[which]),
        3 => Lock::Role(Role::Quick),
        4 => Lock::Role(Role::Ops),
        _ => Lock::Host(HOSTS[which - 5]),
    }
}

const WHY: [&str; 2] = ["-m", "an ordinary reason"];

impl World {
    /// The command of an ask; nothing where there is nothing that it could be about.
    pub(crate) fn typed(&mut self, ask: &Ask) -> Option<Typed> {
        match ask {
            Ask::Request { who, quick, host, seconds, far } => {
                let role = if *quick { Role::Quick } else { Role::Ops };
                Some(self.request((*who, role, *host), *seconds, *far))
            }
            Ask::Cancel { which } => {
                let id = self.waiting(*which)?;
                self.by_owner(id, &["cancel", &format!("R-{id}")], Means::Ends(id))
            }
            Ask::Drop { which } => {
                let id = self.running(*which)?;
                self.by_owner(id, &["drop", &format!("G-{id}")], Means::Ends(id))
            }
            Ask::Extend { which, seconds } => {
                let id = self.running(*which)?;
                let owner = self.model.requests.get(&id)?.person;
                // The daemon may do it whatever comes of the answer.
                self.model.extended(id, owner, *seconds);
                self.by_owner(id, &["extend", &format!("G-{id}"), &format!("{seconds}s")], Means::Extends)
            }
            Ask::RevokeGrant { which } => {
                let id = self.running(*which)?;
                Some(self.admin(&["revoke", &format!("G-{id}")], Means::Revokes(Whose::Grant(id))))
            }
            Ask::RevokePerson { who } => {
                let person = PEOPLE[*who];
                Some(self.admin(&["revoke", "--person", person], Means::Revokes(Whose::Person(person))))
            }
            Ask::RevokeRole { quick } => {
                let role = if *quick { Role::Quick } else { Role::Ops };
                Some(self.admin(&["revoke", "--role", role_name(role)], Means::Revokes(Whose::Role(role))))
            }
            Ask::Lock { which } => {
                let lock = lockable(*which);
                Some(self.admin_on("lock", lock, Means::Locks(lock)))
            }
            Ask::Unlock { which } => {
                let lock = *self.model.locks.get(which.checked_rem(self.model.locks.len())?)?;
                Some(self.admin_on("unlock", lock, Means::Unlocks(lock)))
            }
        }
    }

    fn request(&mut self, (who, role, host): (usize, Role, usize), seconds: i64, far: bool) -> Typed {
        let (person, name) = (PEOPLE[who], HOSTS[host]);
        self.tried.push((person, role, name, seconds));
        let length = format!("{seconds}s");
        let mut argv = vec!["elevate", "request", role_name(role), "--nowait", "-n", "-d", &length];
        argv.extend(WHY);
        // Through the host's own door, where there is one.
        let near = !far && self.reach.reaches(host);
        let cmd = if near {
            self.hosts[host].host.cmd(person, argv)
        } else {
            argv.extend(["-H", name]);
            self.fleet.laptop.cmd(person, argv)
        };
        Typed { cmd, means: Means::Request }
    }

    fn by_owner(&self, id: ActivationId, words: &[&str], means: Means) -> Option<Typed> {
        let owner = self.model.requests.get(&id)?.person;
        let argv = std::iter::once("elevate").chain(words.iter().copied()).chain(["-n"]);
        Some(Typed { cmd: self.fleet.laptop.cmd(owner, argv), means })
    }

    fn admin(&self, words: &[&str], means: Means) -> Typed {
        let argv = std::iter::once("elevatectl").chain(words.iter().copied()).chain(WHY);
        Typed { cmd: self.fleet.vault.cmd("root", argv), means }
    }

    /// Locks or unlocks.
    pub(crate) fn admin_on(&self, word: &str, lock: Lock, means: Means) -> Typed {
        let (kind, name) = match lock {
            Lock::Person(person) => ("--person", person),
            Lock::Role(role) => ("--role", role_name(role)),
            Lock::Host(host) => ("--host", host),
        };
        self.admin(&[word, kind, name], means)
    }

    /// The model hears what came of it. Where the answer got lost it hears what lets more people in.
    pub(crate) fn heard(&mut self, means: &Means, code: Option<i32>) {
        let done = code == Some(0);
        // Done, and a host has not confirmed it yet.
        let done_here = done || code == Some(9);
        match means {
            Means::Request | Means::Extends => {}
            Means::Ends(id) => {
                if done {
                    self.model.ended(*id);
                }
            }
            Means::Revokes(whose) => {
                if done_here {
                    self.model.ended_if_running(|id, person, role| match whose {
                        Whose::Grant(one) => *one == id,
                        Whose::Person(one) => *one == person,
                        Whose::Role(one) => *one == role,
                    });
                }
            }
            Means::Locks(lock) => {
                if done_here {
                    self.model.locked(*lock);
                }
            }
            Means::Unlocks(lock) => self.model.unlocked(*lock),
        }
    }
}
