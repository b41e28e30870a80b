//! What the host's name service calls an account, asked through getent(1), since the name service may block for minutes.
//!
//! In: a uid or a login. Out: [`Account`], or that there is none, or that there was no answer. Blocks up to 5 s per child.

use std::time::Duration;

use elevate_protocol::name::Login;

use crate::child::{self, ChildError};
use crate::paths::Paths;
use local::Files;

#[path = "nss_local.rs"]
mod local;

/// How long the name service may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most logins in one child's arguments.
const BATCH: usize = 64;

/// One entry of the passwd table, as far as we look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The login.
    pub(crate) login: Login,
    /// The uid.
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
}

/// Why there is no answer; different from the answer that there is no such account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NssError {
    /// No getent(1) on this host.
    #[error("there is no getent here")]
    NoProgram,
    /// It did not answer.
    #[error("the name service did not answer")]
    Child {
        /// Why.
        source: ChildError,
    },
    /// It answered with something else than entries.
    #[error("the name service failed (getent ended with {code:?})")]
    Failed {
        /// The exit code.
        code: Option<i32>,
    },
}

/// The account of a uid.
///
/// # Errors
/// [`NssError`] when there is no answer.
pub(crate) fn by_uid(uid: u32) -> Result<Option<Account>, NssError> {
    Ok(ask(&[&uid.to_string()])?.into_iter().find(|account| account.uid == uid))
}

/// The account of a login.
///
/// # Errors
/// [`NssError`] when there is no answer.
pub(crate) fn by_login(login: &str) -> Result<Option<Account>, NssError> {
    if let Some(account) = in_files(login) {
        return Ok(Some(account));
    }
    // getent takes a number for a uid: only an entry that has the very name counts.
    Ok(ask(&[login])?.into_iter().find(|account| account.login.as_str() == login))
}

/// The account of a login where this host's own file answers for the name service; none: only the name service knows. Waits for nobody.
pub(crate) fn in_files(login: &str) -> Option<Account> {
    local::by_login(&Files::system(), login)
}

/// The accounts of many logins; those without one are missing from the answer.
///
/// # Errors
/// [`NssError`] when there is no answer.
pub(crate) fn by_logins(logins: &[&Login]) -> Result<Vec<Account>, NssError> {
    let mut found = Vec::new();
    for batch in logins.chunks(BATCH) {
        let names: Vec<&str> = batch.iter().map(|login| login.as_str()).collect();
        found.extend(ask(&names)?.into_iter().filter(|account| names.contains(&account.login.as_str())));
    }
    Ok(found)
}

fn ask(keys: &[&str]) -> Result<Vec<Account>, NssError> {
    let program = Paths::program("getent").ok_or(NssError::NoProgram)?;
    let arguments: Vec<&str> = ["passwd", "--"].into_iter().chain(keys.iter().copied()).collect();
    let answer = child::run(&program, &arguments, DEADLINE).map_err(|source| NssError::Child { source })?;
    match answer.code {
        // 2: one or more keys were not found (getent(1) "EXIT STATUS").
        Some(0 | 2) => Ok(answer.stdout.lines().filter_map(entry).collect()),
        code => Err(NssError::Failed { code }),
    }
}

fn entry(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let login = fields.next()?.parse().ok()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { login, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_uid_and_by_login() {
        let root = by_uid(0).unwrap().unwrap();
        assert_eq!((root.login.as_str(), root.uid, root.gid), ("root", 0, 0));
        assert_eq!(by_login("root").unwrap(), Some(root));
        assert_eq!(by_uid(4_000_000_001).unwrap(), None);
        let logins: Vec<Login> =
            ["root", "no-such-login", "daemon"].iter().map(|l| l.parse().unwrap()).collect();
        let found = by_logins(&logins.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(found.iter().map(|a| a.login.as_str()).collect::<Vec<_>>(), ["root", "daemon"]);
    }

    #[test]
    fn a_login_that_is_a_number_or_an_option_is_not_another_account() {
        for login in ["0", "--help", "-s", ""] {
            assert!(!matches!(by_login(login), Ok(Some(_))), "{login:?}");
        }
    }
}
