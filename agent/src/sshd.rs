//! Whether sshd on this host asks us which certificates open an account.
//!
//! In: our file among sshd's, its main file, the account and the program that it names. Out: nothing, or what is missing. Runs as:
//! root. What sshd itself makes of its files is asked by enrolment and by `doctor` (sshd(8) `-T`). Threats E15.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::nss;
use crate::paths::Paths;
use crate::safe;

/// Whom sshd runs our program as; nobody else reads what it reads.
pub(crate) const ACCOUNT: &str = "elevate-ssh";
/// What begins every file of ours.
const HEAD: &str = "# Put here by `elevate-agent enroll`, taken out by `elevate-agent unenroll`.\n";
/// Keywords that ours must not stand beside: sshd takes the first value it reads.
const OURS: [&str; 4] = [
    "trustedusercakeys",
    "authorizedprincipalscommand",
    "authorizedprincipalscommanduser",
    "authorizedprincipalsfile",
];
const FILE_MAX: u64 = 256 * 1024;

/// Why certificates open nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SshdError {
    /// No sshd.
    #[error("there is no sshd on this host")]
    NoSshd,
    /// No account for the program.
    #[error("there is no account {ACCOUNT} in /etc/passwd; the package's sysusers.d entry makes it")]
    NoAccount,
    /// No program.
    #[error("{} is not there, or not root's alone; install it again", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// Our file is not there, or not ours any more.
    #[error("{} is not as `elevate-agent enroll` writes it; run it again", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
    },
    /// The main file does not read our folder, or not for everybody.
    #[error("{main} has no line `Include {folder}/*.conf` before its first Match; add it as its first line")]
    Include {
        /// The main file.
        main: String,
        /// The folder.
        folder: String,
    },
    /// Somebody else has settled what certificates open.
    #[error(
        "{place}: `{keyword}` stands there already; Elevate does not change who else's certificates open accounts"
    )]
    Conflict {
        /// File and line.
        place: String,
        /// The keyword.
        keyword: String,
    },
}

/// The program, next to the link: PREFIX/sbin/elevate-agent, PREFIX/libexec/elevate/principals. In a folder of built programs all
/// lie side by side.
#[must_use]
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("/"));
    let built = folder.join("elevate-principals");
    let installed = folder.parent().map(|prefix| prefix.join("libexec/elevate/principals"));
    installed.filter(|path| path.is_file() || !built.is_file()).unwrap_or(built)
}

/// Whether a file begins as ours do.
#[must_use]
pub(crate) fn is_ours(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// Our file's text. sshd gives the account and the certificate's key id as arguments; no shell sees them.
#[must_use]
pub(crate) fn text(paths: &Paths, program: &Path) -> String {
    let (ca, program) = (paths.user_ca.display(), program.display());
    format!(
        "{HEAD}TrustedUserCAKeys {ca}\nAuthorizedPrincipalsCommand {program} %u %i\nAuthorizedPrincipalsCommandUser {ACCOUNT}\n"
    )
}

/// The group of our account, when certificates of live grants open accounts here.
///
/// # Errors
/// The first [`SshdError`] met.
pub(crate) fn enforcement(paths: &Paths) -> Result<u32, SshdError> {
    let group = possible(paths)?;
    let wanted = text(paths, &program());
    if !safe::read(&paths.sshd_file, FILE_MAX).is_ok_and(|found| found == wanted) {
        return Err(SshdError::File { path: paths.sshd_file.clone() });
    }
    Ok(group)
}

/// Whether our file would do what it says, were it there.
///
/// # Errors
/// The first [`SshdError`] met.
pub(crate) fn possible(paths: &Paths) -> Result<u32, SshdError> {
    Paths::program("sshd").ok_or(SshdError::NoSshd)?;
    let account = nss::in_files(ACCOUNT).filter(|account| account.uid != 0).ok_or(SshdError::NoAccount)?;
    let path = program();
    let plain = std::fs::metadata(&path);
    if !plain.is_ok_and(|meta| meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0) {
        return Err(SshdError::NoProgram { path });
    }
    let main = safe::read(&paths.sshd_main, FILE_MAX).unwrap_or_default();
    let folder = paths.sshd_file.parent().unwrap_or(Path::new("/"));
    if !includes(&main, folder) {
        let (main, folder) = (paths.sshd_main.display().to_string(), folder.display().to_string());
        return Err(SshdError::Include { main, folder });
    }
    no_conflict(&paths.sshd_main, &main)?;
    for name in safe::names(folder).unwrap_or_default() {
        let path = folder.join(&name);
        if path == paths.sshd_file || path.extension().is_none_or(|ending| ending != "conf") {
            continue;
        }
        // Followed, as sshd follows: packages lay links there.
        let text = std::fs::read(&path).unwrap_or_default();
        no_conflict(&path, &String::from_utf8_lossy(&text))?;
    }
    Ok(account.gid)
}

/// The keyword of a line in small letters, and what follows; none for a comment or nothing (sshd_config(5)).
fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start();
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
    (!word.is_empty() && !word.starts_with('#')).then(|| (word.trim_matches('"').to_ascii_lowercase(), rest))
}

/// Whether the folder's files are read, and for every connection.
fn includes(main: &str, folder: &Path) -> bool {
    let pattern = format!("{}/*.conf", folder.display());
    let short = folder.file_name().map(|name| format!("{}/*.conf", name.to_string_lossy()));
    for (word, rest) in main.lines().filter_map(keyword) {
        if word == "match" {
            return false;
        }
        let mut patterns = rest.split_whitespace().map(|one| one.trim_matches('"'));
        if word == "include" && patterns.any(|one| one == pattern || Some(one) == short.as_deref()) {
            return true;
        }
    }
    false
}

fn no_conflict(path: &Path, text: &str) -> Result<(), SshdError> {
    for (index, line) in text.lines().enumerate() {
        let Some((word, rest)) = keyword(line) else { continue };
        // `none` for everybody is what sshd does without the line; in a Match it is a rule of the site.
        if OURS.contains(&word.as_str()) {
            let place = format!("{}:{}", path.display(), index.saturating_add(1));
            return Err(SshdError::Conflict { place, keyword: format!("{word} {rest}") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "/etc/ssh/sshd_config.d";

    #[test]
    fn e15_the_folder_counts_only_where_sshd_reads_it_for_everybody() {
        let folder = Path::new(FOLDER);
        for main in [
            "Include /etc/ssh/sshd_config.d/*.conf\n",
            "# x\nPort 22\n  include \"/etc/ssh/sshd_config.d/*.conf\"\nMatch all\n",
            "INCLUDE=sshd_config.d/*.conf",
            "Include /etc/other/*.conf /etc/ssh/sshd_config.d/*.conf\n",
        ] {
            assert!(includes(main, folder), "{main}");
        }
        for main in [
            "",
            "#Include /etc/ssh/sshd_config.d/*.conf\n",
            "Match user bob\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "Include /etc/ssh/sshd_config.d/*\n",
            "Include /etc/ssh/sshd_config.d/50*.conf\n",
            "IncludeX /etc/ssh/sshd_config.d/*.conf\n",
        ] {
            assert!(!includes(main, folder), "{main}");
        }
    }

    #[test]
    fn e15_whoever_settled_it_before_is_left_alone() {
        let path = Path::new("/etc/ssh/sshd_config");
        assert_eq!(no_conflict(path, "UsePAM yes\n#TrustedUserCAKeys /x\nAuthorizedKeysFile x\n"), Ok(()));
        for text in [
            "TrustedUserCAKeys none",
            "Port 22\n\ttrustedusercakeys=/etc/ssh/ca\n",
            "Match User bob\n  AuthorizedPrincipalsCommand /bin/x\n",
            "authorizedPrincipalsFile /etc/ssh/p/%u\n",
            "\"AuthorizedPrincipalsCommandUser\" nobody\n",
        ] {
            assert!(matches!(no_conflict(path, text), Err(SshdError::Conflict { .. })), "{text}");
        }
    }
}
