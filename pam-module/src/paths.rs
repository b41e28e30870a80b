//! Where this module reads. Compiled in: neither the environment nor module arguments change a path (threat B01).
//!
//! In: nothing. Out: [`Paths`]. Spec: docs/architecture.md "On the host".

use std::path::PathBuf;

/// Every file and directory that this module looks at.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Directory of the drop-ins, `u<uid>` each.
    pub(crate) dropins: PathBuf,
    /// Directory of the grant files, `u<uid>/<id>.grant` each.
    pub(crate) grants: PathBuf,
    /// Whose signatures count.
    pub(crate) signers: PathBuf,
    /// The configuration, for the host's id.
    pub(crate) config: PathBuf,
    /// When grants end on CLOCK_BOOTTIME.
    pub(crate) deadlines: PathBuf,
    /// Who may activate what here.
    pub(crate) offers: PathBuf,
    /// The agent's socket.
    pub(crate) socket: PathBuf,
}

impl Paths {
    /// The paths of an installed host.
    pub(crate) fn installed() -> Self {
        Self {
            dropins: "/run/elevate/sudoers.d".into(),
            grants: "/run/elevate/grants".into(),
            signers: "/etc/elevate/trust/grant_signers".into(),
            config: "/etc/elevate/agent.toml".into(),
            deadlines: "/run/elevate/deadlines.json".into(),
            offers: "/run/elevate/offers.json".into(),
            socket: "/run/elevate/agent.sock".into(),
        }
    }
}
