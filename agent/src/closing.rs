//! Ends connections of sshd and all that was started in them, and nothing else.
//!
//! In: processes of sshd, login sessions of the audit subsystem. Out: how much was ended and how much is left. Blocks for seconds: in a
//! thread of its own. By pidfd, so that a number which is used again means nobody else. Threats X-m, F12; docs/ssh.md "The end".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::Signal;

use crate::clock;
use crate::process::{self, Process, Seen};

/// How long sshd may take to end a connection itself: it writes down the logout and closes the PAM session.
const GRACE: Duration = Duration::from_millis(300);
/// How long what does not end is sought and killed.
const PERSISTENCE: Duration = Duration::from_secs(3);
/// How long one round waits for what it killed.
const ROUND: Duration = Duration::from_millis(200);
/// So many looks at the newest processes in a row find nobody of it.
const CHASES: u32 = 20;
/// Most processes that are held open at a time.
const BATCH: usize = 256;

/// One connection to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The process of sshd that serves it, or did.
    pub(crate) served_by: Process,
    /// The login session that is its own, where it is known to be.
    pub(crate) session: Option<u32>,
    /// The one that sshd's process had before.
    pub(crate) before: Option<u32>,
}

impl Target {
    /// Whether somebody's own login has begun this process below ours: an sshd that was started by hand serves others too. Where our
    /// login session is not known, nobody is apart.
    fn is_apart(&self, one: Process) -> io::Result<bool> {
        let Some(own) = self.session else { return Ok(false) };
        let session = process::try_session(one.pid)?;
        Ok(session.is_some_and(|session| session != own && Some(session) != self.before))
    }
}

/// What became of one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Processes of it that were ended.
    pub(crate) killed: u32,
    /// Processes of it that are still there.
    pub(crate) left: u32,
}

/// Ends them all, side by side.
pub(crate) fn close(targets: &[Target]) -> Vec<Closed> {
    let mut family = Family::of(targets);
    // Before anybody dies: who is whose child is forgotten with the parent. Where nobody can look, sshd itself is known, and all of it
    // is tried again.
    let looked = family.look();
    let is_blind = looked.is_err();
    family.ended.extend(looked.unwrap_or_default());
    for batch in targets.chunks(BATCH) {
        let opened: Vec<OwnedFd> = batch.iter().filter_map(|target| target.served_by.open()).collect();
        opened.iter().for_each(|sshd| process::signal(sshd, Signal::TERM));
        wait(&opened, GRACE);
    }
    match family.hunt() {
        Ok(left) if !is_blind => family.count(&left, targets.len()),
        Ok(_) | Err(_) => vec![Closed { killed: 0, left: 1 }; targets.len()],
    }
}

/// Of which of these login sessions anything runs.
///
/// # Errors
/// It cannot be looked at.
pub(crate) fn alive(sessions: &BTreeSet<u32>) -> io::Result<BTreeSet<u32>> {
    let mut alive = BTreeSet::new();
    if sessions.is_empty() {
        return Ok(alive);
    }
    for seen in process::all()? {
        alive.extend(process::try_session(seen.process.pid)?.filter(|session| sessions.contains(session)));
    }
    for _ in 0..CHASES {
        let met = process::newest_of(|session| sessions.contains(&session));
        alive.extend(met.iter().map(|(session, _)| *session));
    }
    Ok(alive)
}

/// Until all are gone, or that time is over.
fn wait(opened: &[OwnedFd], most: Duration) {
    let until = clock::read().boot.after_millis(most);
    let mut waiting: Vec<&OwnedFd> = opened.iter().collect();
    while !waiting.is_empty() {
        let left = clock::read().boot.until(until);
        let Some(left) = u16::try_from(left.as_millis()).ok().filter(|left| *left > 0) else { return };
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut polled, PollTimeout::from(left)).is_err() {
            return;
        }
        let over: Vec<bool> = polled.iter().map(|one| one.any().unwrap_or(true)).collect();
        let mut over = over.into_iter();
        waiting.retain(|_| !over.next().unwrap_or(true));
    }
}

/// Who belongs to which connection.
struct Family {
    targets: Vec<Target>,
    /// By process: every one that was ever seen to.
    known: BTreeMap<Process, usize>,
    sessions: BTreeMap<u32, usize>,
    ended: BTreeSet<Process>,
}

impl Family {
    fn of(targets: &[Target]) -> Self {
        let numbered = || targets.iter().enumerate();
        Self {
            targets: targets.to_vec(),
            known: numbered().map(|(number, target)| (target.served_by, number)).collect(),
            sessions: numbered().filter_map(|(number, target)| Some((target.session?, number))).collect(),
            ended: BTreeSet::new(),
        }
    }

    /// Kills what lives of it until nothing does; what is left when its time is over.
    fn hunt(&mut self) -> io::Result<Vec<Process>> {
        let until = clock::read().boot.after_millis(PERSISTENCE);
        loop {
            let left = self.look()?;
            let is_over = clock::read().boot >= until;
            if is_over || (left.is_empty() && self.is_quiet()) {
                return Ok(left);
            }
            for batch in left.chunks(BATCH) {
                let opened: Vec<OwnedFd> = batch.iter().filter_map(|process| process.open()).collect();
                opened.iter().for_each(|one| process::signal(one, Signal::KILL));
                wait(&opened, ROUND);
            }
            self.ended.extend(left);
        }
    }

    /// Whether nobody of it forks and exits without end.
    fn is_quiet(&self) -> bool {
        if self.sessions.is_empty() {
            return true;
        }
        for _ in 0..CHASES {
            let met = process::newest_of(|session| self.sessions.contains_key(&session));
            met.iter().for_each(|(_, one)| process::signal(one, Signal::KILL));
            if !met.is_empty() {
                return false;
            }
        }
        true
    }

    fn look(&mut self) -> io::Result<Vec<Process>> {
        self.grow(&process::all()?)
    }

    /// Takes in who belongs to it by now; all of them that live.
    fn grow(&mut self, seen: &[Seen]) -> io::Result<Vec<Process>> {
        let own = std::process::id();
        let by_pid: BTreeMap<u32, Process> =
            seen.iter().map(|seen| (seen.process.pid, seen.process)).collect();
        if !self.sessions.is_empty() {
            for seen in seen {
                let session = process::try_session(seen.process.pid)?;
                if let Some(number) = session.and_then(|session| self.sessions.get(&session)) {
                    self.known.entry(seen.process).or_insert(*number);
                }
            }
        }
        // Children of children, until nobody is new.
        let mut grown = true;
        while std::mem::take(&mut grown) {
            for seen in seen {
                let parent = by_pid.get(&seen.parent).and_then(|parent| self.known.get(parent)).copied();
                if let Some(number) = parent.filter(|_| !self.known.contains_key(&seen.process)) {
                    if let Some(target) = self.targets.get(number)
                        && target.is_apart(seen.process)?
                    {
                        continue;
                    }
                    self.known.insert(seen.process, number);
                    grown = true;
                }
            }
        }
        let living = seen.iter().map(|seen| seen.process);
        Ok(living.filter(|one| one.pid > 1 && one.pid != own && self.known.contains_key(one)).collect())
    }

    fn count(&self, left: &[Process], targets: usize) -> Vec<Closed> {
        let mut closed = vec![Closed::default(); targets];
        for (process, number) in &self.known {
            let Some(one) = closed.get_mut(*number) else { continue };
            if left.contains(process) {
                one.left = one.left.saturating_add(1);
            } else if self.ended.contains(process) {
                one.killed = one.killed.saturating_add(1);
            }
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn shell(script: &str) -> Child {
        Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::null()).spawn().unwrap()
    }

    fn target(child: &Child) -> Target {
        Target { served_by: process::look(child.id()).unwrap().process, session: None, before: None }
    }

    /// How many live below this process, it included.
    fn below(child: &Child, wanted: usize) -> Vec<Process> {
        let begin = std::time::Instant::now();
        loop {
            let found = Family::of(&[target(child)]).look().unwrap();
            if found.len() == wanted {
                return found;
            }
            assert!(begin.elapsed().as_secs() < 20, "{found:?}");
        }
    }

    #[test]
    fn f12_everything_below_a_connection_ends_and_nothing_beside_it() {
        // One that goes away when asked, one that does not listen, one that belongs to nobody here.
        let mut soft = shell("trap 'exit 0' TERM; sleep 601 & sleep 602 & wait");
        let mut hard = shell("trap '' TERM; sleep 603 & (trap '' TERM HUP; sleep 604 & wait) & wait; wait");
        let mut beside = shell("sleep 605 & wait");
        let (of_soft, of_hard) = (below(&soft, 3), below(&hard, 4));
        let untouched = below(&beside, 2);
        let closed = close(&[target(&soft), target(&hard)]);
        assert_eq!(closed, [Closed { killed: 3, left: 0 }, Closed { killed: 4, left: 0 }]);
        assert!(of_soft.iter().chain(&of_hard).all(|one| !one.is_there()));
        assert!(untouched.iter().all(|one| one.is_there()));
        soft.wait().unwrap();
        hard.wait().unwrap();
        assert_eq!(close(&[target(&beside)]), [Closed { killed: 2, left: 0 }]);
        beside.wait().unwrap();
    }

    #[test]
    fn a_connection_that_is_gone_is_closed_and_its_number_is_nobodys() {
        let mut gone = shell("exit 0");
        let served_by = Process { pid: gone.id(), began: 1 };
        assert_eq!(close(&[Target { served_by, session: None, before: None }]), [Closed::default()]);
        gone.wait().unwrap();
        assert_eq!(close(&[]), []);
        assert!(alive(&BTreeSet::new()).unwrap().is_empty());
    }
}
