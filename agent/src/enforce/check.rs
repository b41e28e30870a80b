//! What must hold on the host before a grant is obeyed; asked where it may take seconds, in a thread of its own.
//!
//! In: a verified grant. Out: nothing, or why it is refused. Threats A02, A06, C09, C11. Runs as: root, beside the one thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use elevate_protocol::document::Grant;
use elevate_protocol::name::Name;
use elevate_protocol::signed::VerifiedGrant;
use elevate_protocol::ssh::SshPart;
use elevate_protocol::text::escape;
use elevate_protocol::time::{Span, Timestamp};

use super::accepted::{self, Accepted};
use super::{reader, render};
use crate::child::{self, ChildError};
use crate::flavour::{self, Dialect};
use crate::nss::{self, Account, NssError};
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// The first uid of people (login.defs(5) UID_MIN).
pub(crate) const FIRST_UID: u32 = 1000;
/// `nobody`, and the two values that setresuid(2) takes for "unchanged".
const NOT_PEOPLE: [u32; 3] = [65_534, u32::MAX - 1, u32::MAX];
/// How long visudo(8) may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a grant is not obeyed here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// root, a system account, or no account at all.
    #[error("uid {uid} is not a person's account")]
    SystemUid {
        /// The uid.
        uid: u32,
    },
    /// It arrived after its end.
    #[error("it ended before it arrived")]
    Over,
    /// Its start has not come: the clocks differ, since the daemon issues only what has begun.
    #[error("it starts in {wait}: the clock of this host is behind the daemon's")]
    NotYet {
        /// How long until then.
        wait: Span,
    },
    /// No such login here.
    #[error("{} has no account on this host", escape(login))]
    NoAccount {
        /// The login.
        login: String,
    },
    /// The login is another account than the one that was granted to.
    #[error("{} is uid {found} on this host, the grant is for uid {granted}", escape(login))]
    OtherAccount {
        /// The login.
        login: String,
        /// Its uid here.
        found: u32,
        /// The uid of the grant.
        granted: u32,
    },
    /// The run-as account is not there.
    #[error("there is no account {name} to run as on this host")]
    NoRunAs {
        /// Its name.
        name: String,
    },
    /// None of the accounts that certificates would open is there.
    #[error("there is none of the accounts {names} to log in as on this host")]
    NoLogin {
        /// Their names.
        names: String,
    },
    /// The name service did not answer.
    #[error("the accounts of this host cannot be looked up")]
    Nss {
        /// Why.
        source: NssError,
    },
    /// The rules cannot be written.
    #[error("the rules cannot be written: {reason}")]
    Render {
        /// Why.
        reason: String,
    },
    /// visudo(8) could not be asked.
    #[error("the rules cannot be checked")]
    NoCheck {
        /// Why.
        source: ChildError,
    },
    /// The file for visudo(8) could not be written.
    #[error("the rules cannot be written for their check")]
    Draft {
        /// Why.
        source: SafeError,
    },
    /// visudo(8) is not installed.
    #[error("there is no visudo of this sudo on this host")]
    NoVisudo,
    /// visudo(8) refused the rules.
    #[error("visudo refused the rules: {}", escape(report))]
    Refused {
        /// What it said.
        report: String,
    },
}

/// Everything that needs no other program. Pure.
///
/// # Errors
/// The first [`CheckError`] met.
pub(crate) fn terms(grant: &VerifiedGrant, now: Timestamp) -> Result<(), CheckError> {
    let uid = grant.grant().uid;
    if uid < FIRST_UID || NOT_PEOPLE.contains(&uid) {
        return Err(CheckError::SystemUid { uid });
    }
    if now >= grant.not_after() {
        return Err(CheckError::Over);
    }
    if now < grant.grant().not_before {
        return Err(CheckError::NotYet { wait: grant.grant().not_before.since(now) });
    }
    Ok(())
}

/// Whether the login is still the uid that was granted to.
///
/// # Errors
/// [`CheckError::NoAccount`], [`CheckError::OtherAccount`], or [`CheckError::Nss`] when nobody knows.
pub(crate) fn account(grant: &Grant) -> Result<(), CheckError> {
    let login = grant.login.as_str();
    match nss::by_login(login).map_err(|source| CheckError::Nss { source })? {
        None => Err(CheckError::NoAccount { login: login.to_owned() }),
        Some(account) => same(grant, &account),
    }
}

fn same(grant: &Grant, account: &Account) -> Result<(), CheckError> {
    if account.uid == grant.uid {
        return Ok(());
    }
    let login = grant.login.as_str().to_owned();
    Err(CheckError::OtherAccount { login, found: account.uid, granted: grant.uid })
}

/// Everything that [`host`] asks, where this host's own files know both accounts and visudo(8) has accepted the like of these rules.
/// None: others have to be asked, who may keep one waiting.
pub(crate) fn at_once(
    dialect: Dialect,
    grant: &VerifiedGrant,
    (now, accepted): (Timestamp, &Accepted),
) -> Option<Result<(), CheckError>> {
    let account = nss::in_files(grant.grant().login.as_str())?;
    if let Some(ssh) = &grant.grant().ssh {
        ssh.logins().iter().find_map(|login| nss::in_files(login.as_str()))?;
    }
    let Some(sudo) = &grant.grant().sudo else { return Some(same(grant.grant(), &account)) };
    nss::in_files(sudo.run_as().as_str())?;
    accepted::question(sudo, dialect).filter(|asked| accepted.has(*asked))?;
    Some(same(grant.grant(), &account).and_then(|()| text(dialect, grant, now).map(drop)))
}

/// The rules of a grant, as they would stand in a drop-in.
fn text(dialect: Dialect, grant: &VerifiedGrant, now: Timestamp) -> Result<String, CheckError> {
    let live = grant.live(now).map_err(|_| CheckError::Over)?;
    let uid = grant.grant().uid;
    let render = |reason: String| CheckError::Render { reason };
    let text = render::drop_in(dialect, uid, &[live]).map_err(|error| render(error.to_string()))?;
    reader::prove(dialect, &text, uid, &[live]).map_err(|error| render(error.to_string()))?;
    Ok(text)
}

/// Everything that asks other programs: both accounts, and visudo(8) about the shape of the rules.
///
/// # Errors
/// The first [`CheckError`] met.
pub(crate) fn host(
    paths: &Paths,
    dialect: Dialect,
    grant: &VerifiedGrant,
    (now, accepted): (Timestamp, &Accepted),
) -> Result<(), CheckError> {
    account(grant.grant())?;
    if let Some(ssh) = &grant.grant().ssh {
        logins(ssh)?;
    }
    let Some(sudo) = &grant.grant().sudo else { return Ok(()) };
    let name = sudo.run_as().as_str();
    let run_as = nss::by_login(name).map_err(|source| CheckError::Nss { source })?;
    if run_as.is_none() {
        return Err(CheckError::NoRunAs { name: name.to_owned() });
    }
    let text = text(dialect, grant, now)?;
    let asked = accepted::question(sudo, dialect);
    if asked.is_some_and(|asked| accepted.has(asked)) {
        return Ok(());
    }
    // One check at a time: the one thread starts the next only after this one's answer.
    visudo(dialect, &paths.run.join(".check"), &text)?;
    if let Some(asked) = asked {
        accepted.add(asked);
    }
    Ok(())
}

/// Whether there is any account to log in as: a role names those of all its hosts.
fn logins(ssh: &SshPart) -> Result<(), CheckError> {
    for login in ssh.logins() {
        if nss::by_login(login.as_str()).map_err(|source| CheckError::Nss { source })?.is_some() {
            return Ok(());
        }
    }
    let names: Vec<&str> = ssh.logins().iter().map(Name::as_str).collect();
    Err(CheckError::NoLogin { names: names.join(", ") })
}

/// Asks the visudo(8) of that sudo whether sudo will parse the text.
///
/// # Errors
/// [`CheckError`] when it refuses or cannot be asked.
pub(crate) fn visudo(dialect: Dialect, draft: &Path, text: &str) -> Result<(), CheckError> {
    let program: PathBuf = flavour::visudo(dialect).ok_or(CheckError::NoVisudo)?;
    safe::write(draft, text, 0o440, Durability::Memory).map_err(|source| CheckError::Draft { source })?;
    let path = draft.to_string_lossy().into_owned();
    let answer = child::run(&program, &["-cf", &path], DEADLINE);
    safe::remove(draft).map_err(|source| CheckError::Draft { source })?;
    let answer = answer.map_err(|source| CheckError::NoCheck { source })?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(CheckError::Refused { report: format!("{}{}", answer.stdout.trim(), answer.stderr.trim()) })
}
