//! The gate: whether the managed rules of one account may be used at this moment.
//!
//! In: a uid, the time, root's files. Out: a [`Verdict`]. Needs no agent and asks nothing of the environment. Every grant that the
//! drop-in was rendered from must hold; anything else removes the drop-in (ARCHITECTURE §5, THREATS §6.1, X-e).

use std::time::Duration;

use elevate_protocol::deadlines::{DEADLINES_MAX, Deadlines, Overdue};
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::signed::{NotLive, SignedGrant, TrustedKeys, VerifyError};
use elevate_protocol::time::Timestamp;

use crate::files::{self, Directory, FileError, Text};
use crate::paths::Paths;

/// Longest drop-in in bytes.
const DROPIN_MAX: u64 = 1024 * 1024;
/// Longest grant file in bytes.
const GRANT_MAX: u64 = 1024 * 1024;
/// Longest configuration or signers file in bytes.
const SMALL_MAX: u64 = 64 * 1024;
/// Most grants of one drop-in.
const GRANTS_MAX: usize = 64;
/// Age below which a sudo process may have begun a moment after its grants changed and look older. A sudo that asks a dead DNS
/// server for its own name takes 12 s (HOSTS §3).
const YOUNG: Duration = Duration::from_secs(15);
/// How exactly the beginning of a process is known, and how long sudo takes to read its rules.
const GRACE: Duration = Duration::from_millis(20);
/// How often the files are read again when they changed under the reader.
const ATTEMPTS: u32 = 3;
/// What the first line of a drop-in begins with.
const HEAD: &str = "# elevate grants ";

/// What an open gate says of the rules behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Which sudo they were written for.
    pub(crate) written: Written,
    /// A grant behind them asks for the second factor at each use.
    pub(crate) at_use: AtUse,
}

/// Whether uses need the second factor. One grant that asks for it asks for every use of its person: which rule sudo went by is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtUse {
    /// No grant asks.
    Free,
    /// At least one does.
    Factor,
}

/// Which sudo a drop-in was written for. The agent knows the installed one; the rules say what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// With NOTAFTER, for the classic one.
    ForSudo,
    /// Without, for sudo-rs.
    ForSudoRs,
}

/// What the gate says.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// There is positively no managed rule for this account.
    Unmanaged,
    /// Every grant behind the drop-in holds.
    Open(Rules),
    /// The account's grants changed after this sudo read its rules: it may hold a rule that is gone.
    Moved,
    /// At least one does not; the drop-in is gone.
    Closed(Closed),
}

/// Why the gate is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    /// The drop-in itself.
    #[error("the drop-in is refused")]
    DropIn {
        /// What is wrong with it.
        source: FileError,
    },
    /// The drop-in has another form than the agent writes.
    #[error("line {line} of the drop-in is not the agent's")]
    Form {
        /// Line number from 1.
        line: usize,
    },
    /// The directory of the drop-ins.
    #[error("the directory of the drop-ins can be written by others")]
    Directory,
    /// The keys to check with.
    #[error("the signers file is refused")]
    Signers {
        /// What is wrong with it.
        source: FileError,
    },
    /// The configuration with the host's id.
    #[error("the configuration is refused")]
    Config {
        /// What is wrong with it.
        source: FileError,
    },
    /// The configuration names no host.
    #[error("the configuration has no line host = \"…\"")]
    NoHost,
    /// A signers file that is no signers file.
    #[error("the signers file is not valid")]
    Trust {
        /// What is wrong with it.
        source: VerifyError,
    },
    /// A grant file.
    #[error("the grant file of {id} is refused")]
    Grant {
        /// Which.
        id: ActivationId,
        /// What is wrong with it.
        source: FileError,
    },
    /// A grant that is not genuine or not for this host.
    #[error("the grant {id} does not verify")]
    Verify {
        /// Which.
        id: ActivationId,
        /// Why.
        source: VerifyError,
    },
    /// A grant of another account or another id.
    #[error("the grant file of {id} holds another grant")]
    Other {
        /// Which.
        id: ActivationId,
    },
    /// The agent's file of deadlines.
    #[error("the deadlines are refused")]
    Deadlines {
        /// What is wrong with it.
        source: FileError,
    },
    /// A file that the agent did not write.
    #[error("the deadlines are not valid")]
    DeadlinesForm,
    /// A genuine grant that is over by the clock that nobody sets, or whose lease is.
    #[error("the grant {id} is over")]
    Overdue {
        /// Which.
        id: ActivationId,
        /// Why.
        source: Overdue,
    },
    /// A genuine grant that is not in force.
    #[error("the grant {id} is not in force")]
    NotLive {
        /// Which.
        id: ActivationId,
        /// Why.
        source: NotLive,
    },
}

/// Who is at the gate, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The invoking account.
    pub(crate) uid: u32,
    /// The wall clock.
    pub(crate) now: Timestamp,
    /// When the sudo process began, by the wall clock, since 1970.
    pub(crate) began: Duration,
    /// How old the sudo process is.
    pub(crate) age: Duration,
    /// CLOCK_BOOTTIME.
    pub(crate) boot: Duration,
}

/// Decides, and removes the drop-in of a gate that is closed.
pub(crate) fn decide(paths: &Paths, moment: Moment) -> Verdict {
    // No grant is ever for root, and root gains nothing by sudo: no state of our files may keep root from it (THREATS §6.2).
    if moment.uid == 0 {
        return Verdict::Unmanaged;
    }
    let verdict = decide_by_files(paths, moment);
    let lets_pass = matches!(verdict, Verdict::Unmanaged | Verdict::Open(_));
    if lets_pass && has_moved(paths, moment) { Verdict::Moved } else { verdict }
}

/// Whether the account's grants changed after this sudo began. A person can stop their own sudo between its reading of the rules
/// and this phase, and let it go on after the end of the grant: it would run by a rule that is gone (NOTAFTER was read before).
/// The agent leaves the directory of a person's grants in place, so its time tells. Starting a process and reading the rules
/// takes some milliseconds and the kernel counts them in tens: a young process gets that much grace, an old one none.
fn has_moved(paths: &Paths, moment: Moment) -> bool {
    let name = format!("u{}", moment.uid);
    let Ok(grants) = Directory::open(&paths.grants).and_then(|all| all.enter(&name)) else { return false };
    let present = moment.began.saturating_add(moment.age);
    if grants.changed() > present.saturating_add(GRACE) {
        // The wall clock was set back after they changed (threat G01): nobody can tell which came first. This call is sent back,
        // and the directory gets the time of now, or ordinary rules would be refused until the clock has caught up.
        return match grants.touch() {
            Ok(()) | Err(_) => true,
        };
    }
    let grace = if moment.age < YOUNG { GRACE } else { Duration::ZERO };
    let began = moment.began.saturating_add(grace);
    grants.changed() > began
}

fn decide_by_files(paths: &Paths, moment: Moment) -> Verdict {
    let directory = match Directory::open(&paths.dropins) {
        Ok(directory) => directory,
        // sudo includes nothing from a directory that is not there (X-f), so there is no managed rule.
        Err(FileError::Missing) => return Verdict::Unmanaged,
        Err(source) => return Verdict::Closed(Closed::DropIn { source }),
    };
    let name = format!("u{}", moment.uid);
    for attempt in 1.. {
        let seen = match directory.identity(&name) {
            Ok(seen) => seen,
            Err(FileError::Missing) => return Verdict::Unmanaged,
            Err(source) => return Verdict::Closed(Closed::DropIn { source }),
        };
        let why = match check(paths, &directory, moment) {
            Ok(rules) => return Verdict::Open(rules),
            Err(why) => why,
        };
        // The agent renames a new drop-in over the old one: what failed may be the old one, already replaced.
        let replaced = !matches!(directory.identity(&name), Ok(same) if same == seen);
        if replaced && attempt < ATTEMPTS {
            continue;
        }
        mark_changed(paths, moment.uid);
        return match directory.unlink(&name) {
            Ok(()) | Err(FileError::Missing) => Verdict::Closed(why),
            Err(source) => Verdict::Closed(Closed::DropIn { source }),
        };
    }
    Verdict::Closed(Closed::Directory)
}

/// Leaves a trace of a rule that goes: whoever has several of their sudos stopped finds the rule gone with the first, and the
/// others must not pass as unmanaged. Where this fails the agent's own change of the directory is what is left.
fn mark_changed(paths: &Paths, uid: u32) {
    let marked = Directory::open(&paths.grants).and_then(|all| {
        let name = format!("u{uid}");
        match all.enter(&name) {
            Err(FileError::Missing) => all.make(&name),
            found => found?.touch(),
        }
    });
    match marked {
        Ok(()) | Err(_) => {}
    }
}

/// Whether there is a drop-in for `uid` now, whatever it holds.
pub(crate) fn is_managed(paths: &Paths, uid: u32) -> bool {
    Directory::open(&paths.dropins).is_ok_and(|directory| directory.identity(&format!("u{uid}")).is_ok())
}

fn check(paths: &Paths, dropins: &Directory, moment: Moment) -> Result<Rules, Closed> {
    let (uid, now) = (moment.uid, moment.now);
    if !dropins.is_safe() {
        return Err(Closed::Directory);
    }
    let dropin = dropins.read(&format!("u{uid}"), DROPIN_MAX).map_err(|source| Closed::DropIn { source })?;
    let ids = read_dropin(&dropin, uid)?;
    // A wall clock behind the moment at which the agent wrote this file has been set back (threat G01).
    let now = now.max(Timestamp(dropin.written));
    let signers = files::read(&paths.signers, SMALL_MAX).map_err(|source| Closed::Signers { source })?;
    let keys = TrustedKeys::from_signers(&signers).map_err(|source| Closed::Trust { source })?.at(now);
    let config = files::read(&paths.config, SMALL_MAX).map_err(|source| Closed::Config { source })?;
    let host = host_of(&config).ok_or(Closed::NoHost)?;
    let (deadlines, boot) = (deadlines(paths)?, u64::try_from(moment.boot.as_millis()).unwrap_or(u64::MAX));
    let trust = Trust { keys, host, deadlines, boot };
    let first = ids.first().copied();
    let grants = Directory::open(&paths.grants).and_then(|all| all.enter(&format!("u{uid}")));
    let grants = grants.map_err(|source| match first {
        Some(id) => Closed::Grant { id, source },
        None => Closed::Form { line: 1 },
    })?;
    let mut at_use = AtUse::Free;
    for id in &ids {
        let file = grants.read(&format!("{id}.grant"), GRANT_MAX);
        let file = file.map_err(|source| Closed::Grant { id: *id, source })?;
        if trust.check(&file, *id, uid, now)? == AtUse::Factor {
            at_use = AtUse::Factor;
        }
    }
    let dated = dropin.text.contains(") NOTAFTER=");
    Ok(Rules { written: if dated { Written::ForSudo } else { Written::ForSudoRs }, at_use })
}

/// What the agent knows of the ends: by the clock that nobody sets, and of the daemon's presence.
fn deadlines(paths: &Paths) -> Result<Deadlines, Closed> {
    let text = files::read(&paths.deadlines, DEADLINES_MAX).map_err(|source| Closed::Deadlines { source })?;
    serde_json::from_str(&text).map_err(|_| Closed::DeadlinesForm)
}

/// Whose word counts, for which host, and until when.
struct Trust {
    keys: TrustedKeys,
    host: HostId,
    deadlines: Deadlines,
    boot: u64,
}

impl Trust {
    fn check(&self, file: &Text, id: ActivationId, uid: u32, now: Timestamp) -> Result<AtUse, Closed> {
        let signed = SignedGrant::from_text(&file.text).map_err(|source| Closed::Verify { id, source })?;
        let grant = signed.verify(&self.keys, &self.host).map_err(|source| Closed::Verify { id, source })?;
        // A grant without a sudo part is behind no rule.
        if grant.grant().id != id || grant.grant().uid != uid || grant.grant().sudo.is_none() {
            return Err(Closed::Other { id });
        }
        grant.live(now).map_err(|source| Closed::NotLive { id, source })?;
        self.deadlines
            .check(id, grant.grant().lease, self.boot)
            .map_err(|source| Closed::Overdue { id, source })?;
        Ok(if grant.grant().factor_at_use.is_some() { AtUse::Factor } else { AtUse::Free })
    }
}

/// The ids of the first line. Every other line must begin with this account, and the last must be whole: a torn file may
/// allow more than the whole one (X-i).
fn read_dropin(dropin: &Text, uid: u32) -> Result<Vec<ActivationId>, Closed> {
    let whole = dropin.text.strip_suffix('\n').ok_or(Closed::Form { line: dropin.text.lines().count() })?;
    let mut lines = whole.split('\n');
    let head = lines.next().and_then(|line| line.strip_prefix(HEAD)).ok_or(Closed::Form { line: 1 })?;
    let ids: Result<Vec<ActivationId>, _> =
        head.split(' ').take(GRANTS_MAX.saturating_add(1)).map(str::parse).collect();
    let ids = ids.map_err(|_| Closed::Form { line: 1 })?;
    if ids.len() > GRANTS_MAX {
        return Err(Closed::Form { line: 1 });
    }
    let begin = format!("#{uid} ALL=(");
    let foreign = lines.position(|line| !line.starts_with(&begin) || line.ends_with('\\'));
    match foreign {
        Some(index) => Err(Closed::Form { line: index.saturating_add(2) }),
        None => Ok(ids),
    }
}

/// The host's id from agent.toml: exactly one top-level line `host = "…"` in the form that enroll writes. A TOML reader would be a
/// large guest in every sudo process; whatever else TOML allows for this line is refused instead.
fn host_of(config: &str) -> Option<HostId> {
    let top = config.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let mut found = top.filter_map(|line| {
        let value = line.strip_prefix("host")?.trim_start().strip_prefix('=')?.trim_start();
        Some(value.strip_prefix('"').and_then(|rest| rest.split_once('"')))
    });
    let (id, rest) = found.next()??;
    let rest = rest.trim_start();
    if found.next().is_some() || !(rest.is_empty() || rest.starts_with('#')) {
        return None;
    }
    id.parse().ok()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
