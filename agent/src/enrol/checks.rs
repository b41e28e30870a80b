//! What must be there before anything is changed: root, sudo, PAM, the module, the accounts, the other half of the agent.
//!
//! In: this host. Out: [`Site`], everything that enrolment needs to know, or the first thing that is missing and what to type.

use std::path::{Path, PathBuf};

use crate::flavour::{Dialect, Sudo};
use crate::nss::{self, NssError};
use crate::paths::Paths;
use crate::probe::{MODULE, SERVICES};

use super::changes::{self, ChangeError};
use super::program::As;

/// The account of the link.
pub(crate) const LINK_ACCOUNT: &str = "elevate-link";
/// The account that the canaries run as: it exists everywhere and has no rights.
pub(crate) const CANARY_ACCOUNT: &str = "nobody";

/// A host that can be enrolled.
#[derive(Debug)]
pub(crate) struct Site {
    /// The sudo that enforces.
    pub(crate) sudo: PathBuf,
    /// What it calls itself.
    pub(crate) sudo_line: String,
    /// How rules are written for it.
    pub(crate) dialect: Dialect,
    /// What there is to know about it before anything is changed.
    pub(crate) notes: Vec<String>,
    /// The networked half of the agent.
    pub(crate) link: PathBuf,
    /// Its account.
    pub(crate) link_account: As,
    /// Who tries the rules.
    pub(crate) canary: As,
}

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// Not root.
    #[error("only root can do this")]
    NotRoot,
    /// Another root folder.
    #[error("this works on the running system only: it is proved with the real sudo")]
    OtherRoot,
    /// No sudo.
    #[error("there is no sudo on this host")]
    NoSudo,
    /// Another sudo.
    #[error("this is {line}; Elevate enforces with classic sudo 1.9 and with sudo-rs from 0.2.5 on")]
    OtherSudo {
        /// What it calls itself.
        line: String,
    },
    /// A PAM service is missing.
    #[error("there is no PAM service {}", path.display())]
    NoService {
        /// Its file.
        path: PathBuf,
    },
    /// A file that cannot be changed safely.
    #[error("a file that has to be changed is not as it should be")]
    File {
        /// Which, and why.
        source: ChangeError,
    },
    /// No PAM module.
    #[error("{MODULE} is not in the system's PAM folder")]
    NoModule,
    /// No other half.
    #[error("elevate-link is not where it is installed, next to {}", own.display())]
    NoLink {
        /// This program.
        own: PathBuf,
    },
    /// No account.
    #[error("there is no account {name}")]
    NoAccount {
        /// Its name.
        name: &'static str,
    },
    /// No answer about an account.
    #[error("the name service does not say whether there is an account {name}")]
    Names {
        /// Its name.
        name: &'static str,
        /// Why.
        source: NssError,
    },
}

impl CheckError {
    /// What to type.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRoot => Some("sudo -i, then the same again"),
            Self::NoSudo | Self::OtherSudo { .. } => Some("apt-get install sudo"),
            Self::NoModule | Self::NoLink { .. } => Some("make install, or install the package again"),
            Self::NoAccount { name: LINK_ACCOUNT } => Some(
                "systemd-sysusers    (without systemd: useradd --system --no-create-home --home-dir /var/lib/elevate-link --shell /usr/sbin/nologin elevate-link)",
            ),
            Self::OtherRoot
            | Self::NoService { .. }
            | Self::File { .. }
            | Self::NoAccount { .. }
            | Self::Names { .. } => None,
        }
    }
}

/// Whether this is root on the running system.
///
/// # Errors
/// [`CheckError::NotRoot`], [`CheckError::OtherRoot`].
pub(crate) fn root(paths: &Paths) -> Result<(), CheckError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(CheckError::NotRoot);
    }
    if paths.root == Path::new("/") { Ok(()) } else { Err(CheckError::OtherRoot) }
}

/// Looks at everything that enrolment needs.
///
/// # Errors
/// The first [`CheckError`] met.
pub(crate) fn site(paths: &Paths) -> Result<Site, CheckError> {
    let found = Sudo::ask();
    let sudo_line = found.line().ok_or(CheckError::NoSudo)?.escaped();
    let Some(dialect) = found.dialect() else { return Err(CheckError::OtherSudo { line: sudo_line }) };
    let sudo = Paths::program("sudo").ok_or(CheckError::NoSudo)?;
    for service in SERVICES {
        let path = paths.pam_services.join(service);
        if changes::read(&path).map_err(|source| CheckError::File { source })?.is_none() {
            return Err(CheckError::NoService { path });
        }
    }
    module(paths).ok_or(CheckError::NoModule)?;
    let link = link()?;
    let (link_account, canary) = (account(LINK_ACCOUNT)?, account(CANARY_ACCOUNT)?);
    Ok(Site { sudo, sudo_line, dialect, notes: found.notes(), link, link_account, canary })
}

/// The installed module.
#[must_use]
pub(crate) fn module(paths: &Paths) -> Option<PathBuf> {
    paths.pam_modules().map(|folder| folder.join(MODULE)).filter(|path| path.is_file())
}

fn account(name: &'static str) -> Result<As, CheckError> {
    let found = nss::by_login(name).map_err(|source| CheckError::Names { name, source })?;
    let found = found.filter(|account| account.uid != 0).ok_or(CheckError::NoAccount { name })?;
    Ok(As { uid: found.uid, gid: found.gid })
}

/// Relative to this program and never through PATH: PREFIX/sbin/elevate-agent, PREFIX/libexec/elevate/elevate-link. In a folder of
/// built programs both lie side by side.
fn link() -> Result<PathBuf, CheckError> {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("/"));
    let installed = folder.parent().map(|prefix| prefix.join("libexec/elevate/elevate-link"));
    let found =
        [installed, Some(folder.join("elevate-link"))].into_iter().flatten().find(|path| path.is_file());
    found.ok_or(CheckError::NoLink { own })
}
