//! Whether sudo on this host obeys drop-ins and the PAM gate stands before it.
//!
//! In: sudo's version, PAM files, the module, the include line, sudoers. Out: nothing, or what is missing. Runs as: root.
//! A rule without the gate would outlive the agent: without the gate nothing is installed (docs/architecture.md "sudo").

use std::path::Path;

use elevate_protocol::text::UntrustedText;

use crate::flavour::{Dialect, Sudo};
use crate::module_file;
use crate::paths::Paths;
use crate::safe;
use crate::sudoers_files;

/// The line in sudo's own folder.
pub(crate) const INCLUDE: &str = "@includedir /run/elevate/sudoers.d";
/// The module's file name.
pub(crate) const MODULE: &str = "pam_elevate.so";
/// PAM services of sudo; `sudo -i` has its own.
pub(crate) const SERVICES: [&str; 2] = ["sudo", "sudo-i"];
/// Control of the gate's account line: only success and "not mine" let a call pass.
pub(crate) const ACCOUNT_CONTROL: &str = "[success=ok ignore=ignore module_unknown=ignore default=die]";
/// Control of the session line in sshd's service: a login that is not let in fails, and one that is none of ours goes on.
pub(crate) const SESSION_CONTROL: &str = "[success=ok ignore=ignore module_unknown=ignore default=bad]";
/// The line that reads the folder of the distribution, in which our file lies.
const LOCAL: [&str; 2] = ["@includedir /etc/sudoers.d", "#includedir /etc/sudoers.d"];
const FILE_MAX: u64 = 256 * 1024;

/// What is missing, so that no rule may be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProbeError {
    /// sudo is not there.
    #[error("there is no sudo on this host")]
    NoSudo,
    /// A sudo that this version does not enforce with.
    #[error("{} is not supported; classic sudo 1.9 and sudo-rs from 0.2.5 on are", line.escaped())]
    OtherSudo {
        /// The first line of `sudo -V`.
        line: UntrustedText,
    },
    /// sudo does not read our folder.
    #[error("{path} does not have the line {INCLUDE}; run elevate-agent enroll")]
    Include {
        /// Where it should be.
        path: String,
    },
    /// A PAM service without the gate.
    #[error(
        "/etc/pam.d/{service} does not have the account line of {MODULE} first; run elevate-agent enroll"
    )]
    Gate {
        /// The service.
        service: String,
    },
    /// An option of sudo that passes by the gate, for somebody at least.
    #[error("{place}: `{option}` lets sudo pass by the gate; take it out (visudo)")]
    Switch {
        /// File and line.
        place: String,
        /// The option.
        option: &'static str,
    },
    /// Such an option may stand where nobody can look.
    #[error(transparent)]
    Unseen(#[from] sudoers_files::Unseen),
    /// No descriptor is left, so the ceiling cannot be looked at.
    #[error("no file descriptor is left to look at ceiling.toml")]
    Descriptors,
    /// The module's file is not there, not loadable, or not root's alone.
    #[error(
        "{MODULE} is not in the system's PAM folder, or not whole, or not root's alone; install it again"
    )]
    Module,
}

/// Whether rules may be installed, from files alone.
///
/// # Errors
/// The first [`ProbeError`] met.
pub(crate) fn enforcement(paths: &Paths, sudo: &Sudo) -> Result<(), ProbeError> {
    let dialect = match sudo {
        Sudo::Classic { .. } => Dialect::Classic,
        Sudo::Rs { .. } => Dialect::Rs,
        Sudo::Other { line } => return Err(ProbeError::OtherSudo { line: line.clone() }),
        Sudo::Absent => return Err(ProbeError::NoSudo),
    };
    let place = include_place(paths, dialect);
    if !safe::read(place, FILE_MAX).is_ok_and(|text| has_line(&text, INCLUDE)) {
        return Err(ProbeError::Include { path: place.display().to_string() });
    }
    for service in SERVICES {
        let text = safe::read(&paths.pam_services.join(service), FILE_MAX);
        if !text.is_ok_and(|text| has_gate(&text)) {
            return Err(ProbeError::Gate { service: service.to_owned() });
        }
    }
    let mut switches = sudoers_files::switches(&paths.root)?.into_iter();
    if let Some(found) = switches.find(sudoers_files::Switch::passes_by_the_gate) {
        let place = format!("{}:{}", found.file.display(), found.line);
        return Err(ProbeError::Switch { place, option: found.option });
    }
    module(paths)
}

/// The file that our include line has to stand in: our own in the distribution's folder, or the one file that sudo-rs reads
/// instead of /etc/sudoers, where that does not read the folder.
#[must_use]
pub(crate) fn include_place(paths: &Paths, dialect: Dialect) -> &Path {
    let own = dialect == Dialect::Rs && std::fs::symlink_metadata(&paths.sudoers_rs).is_ok();
    let reads_folder = || {
        safe::read(&paths.sudoers_rs, FILE_MAX)
            .is_ok_and(|text| LOCAL.iter().any(|line| has_line(&text, line)))
    };
    if own && !reads_folder() { &paths.sudoers_rs } else { &paths.include }
}

fn has_line(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| line.trim_end() == wanted)
}

/// Whether our module is where libpam looks for it, whole, and root's alone.
///
/// # Errors
/// [`ProbeError::Module`].
pub(crate) fn module(paths: &Paths) -> Result<(), ProbeError> {
    use std::os::unix::fs::MetadataExt;
    let path = paths.pam_modules().ok_or(ProbeError::Module)?.join(MODULE);
    // Followed on purpose: packages install versioned files behind a link, and dlopen(3) follows too.
    let meta = std::fs::metadata(&path).map_err(|_| ProbeError::Module)?;
    let safe = meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0;
    let loads = safe && module_file::is_loadable(&path).unwrap_or(false);
    if loads { Ok(()) } else { Err(ProbeError::Module) }
}

/// Whether our account line comes before every line that could let a call pass without it.
fn has_gate(text: &str) -> bool {
    stands_first(text, "account", ACCOUNT_CONTROL)
}

/// The same for the session line in sshd's service.
#[must_use]
pub(crate) fn has_session_gate(text: &str) -> bool {
    stands_first(text, "session", SESSION_CONTROL)
}

fn stands_first(text: &str, ours: &str, control: &str) -> bool {
    for line in text.lines() {
        // A line that goes on would swallow the one after it, which may look like ours.
        if line.ends_with('\\') {
            return false;
        }
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // libpam takes a type in any case.
        let Some(kind) = words.next().map(str::to_ascii_lowercase) else { continue };
        if kind.starts_with('@') {
            return false;
        }
        if kind.trim_start_matches('-') != ours {
            continue;
        }
        let rest = words.collect::<Vec<_>>().join(" ");
        if rest == format!("{control} {MODULE}") {
            // A leading dash would skip a missing module silently; that is what module_unknown=ignore does already.
            return true;
        }
        // `required` and `requisite` can only refuse more.
        if !(rest.starts_with("required ") || rest.starts_with("requisite ")) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x_m_the_session_line_counts_only_where_nothing_can_pass_before_it() {
        let ours = format!("session {SESSION_CONTROL} {MODULE}");
        assert!(has_session_gate(&format!("#%PAM-1.0\n{ours}\n@include common-auth\n")));
        assert!(has_session_gate(&format!("auth sufficient pam_x.so\nsession required pam_y.so\n{ours}\n")));
        for before in
            ["@include common-session", "session sufficient pam_x.so", "-session [success=done] pam_x.so"]
        {
            assert!(!has_session_gate(&format!("{before}\n{ours}\n")), "{before}");
        }
        assert!(!has_session_gate("") && !has_session_gate(&ours.replace("default=bad", "default=ignore")));
    }

    #[test]
    fn the_gate_counts_only_where_nothing_can_pass_before_it() {
        let ours = format!("account  {ACCOUNT_CONTROL}   {MODULE}");
        assert!(has_gate(&format!(
            "#%PAM-1.0\n# elevate\nauth required pam_unix.so\n{ours}\n@include common-account\n"
        )));
        assert!(has_gate(&format!("account required pam_access.so\n{ours}\n")));
        for before in [
            "@include common-account",
            "account sufficient pam_permit.so",
            "account include system-auth",
            "account [success=done default=ignore] pam_x.so",
            "ACCOUNT sufficient pam_permit.so",
            "-Account sufficient pam_permit.so",
            "@INCLUDE common-account",
            "account required pam_permit.so \\",
            "auth required pam_permit.so \\",
        ] {
            assert!(!has_gate(&format!("{before}\n{ours}\n")), "{before}");
        }
        for text in [
            String::new(),
            format!("#{ours}\n"),
            ours.replace("default=die", "default=ignore"),
            ours.replace("account", "session"),
            ours.replace("ignore=ignore module", "module"),
        ] {
            assert!(!has_gate(&text), "{text}");
        }
    }
}
