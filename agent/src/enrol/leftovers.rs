//! What enrolment puts into the system's own files, taken out again: our lines, our file, the canary's rule.
//!
//! In: the files as they are. Out: the same files without what is ours, every other byte as it was.

use crate::paths::Paths;
use crate::probe::{INCLUDE, SERVICES};

use super::canary;
use super::changes::{self, ChangeError, Changes};
use super::pam_lines::{self, PamLinesError};
use super::rs_lines;
use super::ssh::SshError;

/// First line of an agent.toml that only the canaries use.
pub(crate) const CANARY_CONFIG: &str = "# canary of elevate-agent enroll\n";

/// Why something of ours stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeftoverError {
    /// A file.
    #[error("a file could not be changed")]
    File {
        /// Which, and why.
        source: ChangeError,
    },
    /// The lines of a PAM service.
    #[error("/etc/pam.d/{service} was not changed")]
    Lines {
        /// The service.
        service: &'static str,
        /// Why.
        source: PamLinesError,
    },
    /// sshd.
    #[error("sshd may still ask about certificates")]
    Ssh {
        /// Why.
        source: Box<SshError>,
    },
}

impl From<ChangeError> for LeftoverError {
    fn from(source: ChangeError) -> Self {
        Self::File { source }
    }
}

/// What the include file holds.
#[must_use]
pub(crate) fn include_text() -> String {
    format!("{INCLUDE}\n")
}

/// Takes our lines out of one PAM service.
///
/// # Errors
/// A [`LeftoverError`]; the file is then as it was.
pub(crate) fn pam(paths: &Paths, service: &'static str, changes: &mut Changes) -> Result<(), LeftoverError> {
    let path = paths.pam_services.join(service);
    let Some(stood) = changes::read(&path)? else { return Ok(()) };
    // A service file that is not UTF-8 cannot hold our lines.
    let Some(text) = stood.text() else { return Ok(()) };
    let bare = pam_lines::without(text).map_err(|source| LeftoverError::Lines { service, source })?;
    if bare != text {
        changes.write(&path, &bare, 0o644)?;
    }
    Ok(())
}

/// Removes our file among sudo's drop-ins, or only our line where somebody has added others.
///
/// # Errors
/// A [`LeftoverError`].
pub(crate) fn include(paths: &Paths, changes: &mut Changes) -> Result<(), LeftoverError> {
    changes.remove(&paths.include.with_file_name(canary::RULE))?;
    rs_lines::take_out(&paths.sudoers_rs, changes)?;
    let Some(stood) = changes::read(&paths.include)? else { return Ok(()) };
    let text = stood.text().unwrap_or_default();
    if text == include_text() {
        changes.remove(&paths.include)?;
    } else if text.lines().any(|line| line == INCLUDE) {
        changes.write(&paths.include, &text.replacen(&include_text(), "", 1), 0o440)?;
    }
    Ok(())
}

/// What an enrolment that was killed half-way has left, on a host that is not enrolled.
///
/// # Errors
/// A [`LeftoverError`]; a human has to look.
pub(crate) fn sweep(paths: &Paths, uid: u32) -> Result<(), LeftoverError> {
    let mut changes = Changes::default();
    canary::clear(paths, uid)?;
    include(paths, &mut changes)?;
    for service in SERVICES {
        pam(paths, service, &mut changes)?;
    }
    let of_canary = changes::read(&paths.config)?
        .is_some_and(|stood| stood.text().is_some_and(|text| text.starts_with(CANARY_CONFIG)));
    if of_canary {
        for path in [&paths.config, &paths.grant_signers, &paths.vouch_key] {
            changes.remove(path)?;
        }
    }
    changes.keep();
    Ok(())
}
