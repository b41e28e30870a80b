//! Whether sshd on this host asks us which certificates open an account, and tells us of the connections.
//!
//! In: our file among sshd's, its main file, its PAM service, the account and the program that ours names. Out: nothing, or what is missing. Runs as:
//! root. What sshd itself makes of its files is asked by enrolment and by `doctor` (sshd(8) `-T`). Threats E15.

mod authority;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::host_keys;
use crate::nss;
use crate::paths::Paths;
use crate::probe::{self, MODULE};
use crate::process;
use crate::safe;
use crate::sshd_log::VERBOSE;

pub(crate) use authority::{cas, taken};

/// Whom sshd runs our program as; nobody else reads what it reads.
pub(crate) const ACCOUNT: &str = "elevate-ssh";
/// sshd's PAM service.
pub(crate) const PAM_SERVICE: &str = "sshd";
/// What begins every file of ours.
const HEAD: &str = "# Put here by `elevate-agent enroll`, taken out by `elevate-agent unenroll`.\n";
/// Keywords that ours must not stand beside: sshd takes the first value it reads.
const OURS: [&str; 4] = [
    "trustedusercakeys",
    "authorizedprincipalscommand",
    "authorizedprincipalscommanduser",
    "authorizedprincipalsfile",
];
/// Names a list of keys and certificates that open nothing.
const LIST: &str = "RevokedKeys";
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
    /// Our file is not there.
    #[error("{} is not there; `elevate-agent enroll` puts it there, or says why it cannot", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// Our file is another.
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
    /// What else sshd reads is not looked into.
    #[error(
        "{place}: `{line}` leads to files that Elevate does not follow, and they may say whose certificates open accounts"
    )]
    Elsewhere {
        /// File and line.
        place: String,
        /// The line.
        line: String,
    },
    /// sshd does not open PAM sessions, or of another service.
    #[error("{place}: sshd is to say `UsePAM yes`, or connections could not be closed when their grant ends")]
    NoPam {
        /// File and line.
        place: String,
    },
    /// The kernel gives no descriptors of processes, or something forbids them.
    #[error(
        "processes cannot be opened here (pidfd_open(2), Linux 5.3), so that connections could not be closed when their grant ends"
    )]
    NoPidfd,
    /// The PAM service of sshd is without our line.
    #[error("{} does not have the session line of {MODULE} first; run elevate-agent enroll", path.display())]
    PamLine {
        /// Its file.
        path: PathBuf,
    },
    /// The site has a list of revoked keys of its own.
    #[error(
        "{place}: only one list of revoked keys counts for sshd; run elevate-agent enroll, which leaves it to the site's own"
    )]
    SitesList {
        /// File and line.
        place: String,
    },
    /// No module.
    #[error(
        "{MODULE} is not in the system's PAM folder, or not whole, or not root's alone; install it again"
    )]
    NoModule,
    /// No CA.
    #[error("this host knows no key that signs certificates: elevatectl key rotate tells it")]
    NoCa,
    /// It signs with what sshd does not take.
    #[error(
        "{place}: by this line sshd takes no certificate signed by {name}; add that there, or for all hosts: elevatectl key rotate ssh-user-ca --type {other}"
    )]
    Algorithm {
        /// File and line.
        place: String,
        /// What the key that signs is, by OpenSSH's name.
        name: String,
        /// The other type.
        other: &'static str,
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

/// Whether sshd is to read our list of revoked certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// It is.
    Listed,
    /// The site has a list of its own, or ours could not be made.
    NotListed,
}

/// Our file's text. sshd gives the account and the certificate's key id as arguments; no shell sees them.
#[must_use]
pub(crate) fn text(paths: &Paths, program: &Path, revoked: Revoked) -> String {
    let (ca, program) = (paths.user_ca.display(), program.display());
    let list = match revoked {
        Revoked::Listed => list_line(paths),
        Revoked::NotListed => String::new(),
    };
    format!(
        "{HEAD}TrustedUserCAKeys {ca}\nAuthorizedPrincipalsCommand {program} %u %i\nAuthorizedPrincipalsCommandUser {ACCOUNT}\n{list}"
    )
}

fn list_line(paths: &Paths) -> String {
    format!("{LIST} {}\n", paths.revoked.display())
}

/// Has sshd log which certificates are of another CA: without it, it says so to nobody before the third (sshd_config(5), OpenSSH 8.5).
#[must_use]
pub(crate) fn verbose_line() -> String {
    format!("LogVerbose *:{VERBOSE}():*\n")
}

/// A text of ours without the lines that stand in it on some hosts only: of this host's certificates and of the log.
#[must_use]
pub(crate) fn without_optional(paths: &Paths, text: &str) -> String {
    host_keys::without_lines(paths, text).replace(&verbose_line(), "")
}

/// Whether our file has sshd read our list.
#[must_use]
pub(crate) fn names_list(paths: &Paths) -> bool {
    let line = list_line(paths);
    safe::read(&paths.sshd_file, FILE_MAX).is_ok_and(|text| is_ours(&text) && text.contains(&line))
}

/// Where a list of the site's is named: sshd reads one only.
#[must_use]
pub(crate) fn list_of_site(paths: &Paths) -> Option<String> {
    let main = (paths.sshd_main.clone(), safe::read(&paths.sshd_main, FILE_MAX).unwrap_or_default());
    let others = others(paths);
    others.into_iter().chain([main]).find_map(|(path, text)| {
        let is_list = |line: &str| keyword(line).is_some_and(|(word, _)| word.eq_ignore_ascii_case(LIST));
        let index = text.lines().position(is_list)?;
        Some(format!("{}:{}", path.display(), index.saturating_add(1)))
    })
}

/// The group of our account, when certificates of live grants open accounts here.
///
/// # Errors
/// The first [`SshdError`] met.
pub(crate) fn enforcement(paths: &Paths) -> Result<u32, SshdError> {
    let group = placed(paths)?;
    authority::usable(paths)?;
    Ok(group)
}

/// The group of our account, where our file is in place and nobody else's is in its way.
///
/// # Errors
/// The first [`SshdError`] met.
pub(crate) fn placed(paths: &Paths) -> Result<u32, SshdError> {
    let group = possible(paths)?;
    if !paths.sshd_file.exists() {
        return Err(SshdError::Absent { path: paths.sshd_file.clone() });
    }
    let found = safe::read(&paths.sshd_file, FILE_MAX).unwrap_or_default();
    let found = without_optional(paths, &found);
    let is = |revoked| found == text(paths, &program(), revoked);
    if !is(Revoked::NotListed) {
        if !is(Revoked::Listed) {
            return Err(SshdError::File { path: paths.sshd_file.clone() });
        }
        if let Some(place) = list_of_site(paths) {
            return Err(SshdError::SitesList { place });
        }
    }
    let path = paths.pam_services.join(PAM_SERVICE);
    if !safe::read(&path, FILE_MAX).is_ok_and(|text| probe::has_session_gate(&text)) {
        return Err(SshdError::PamLine { path });
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
    no_conflict(&paths.sshd_main, &main, Some(folder))?;
    let mut pam = asks_pam(&paths.sshd_main, &main)?;
    for (path, text) in others(paths) {
        no_conflict(&path, &text, None)?;
        pam |= asks_pam(&path, &text)?;
    }
    probe::module(paths).map_err(|_| SshdError::NoModule)?;
    if !process::can_open() {
        return Err(SshdError::NoPidfd);
    }
    if pam { Ok(account.gid) } else { Err(SshdError::NoPam { place: paths.sshd_main.display().to_string() }) }
}

/// The files beside ours in the folder that sshd's main file includes.
fn others(paths: &Paths) -> Vec<(PathBuf, String)> {
    let folder = paths.sshd_file.parent().unwrap_or(Path::new("/"));
    let names = safe::names(folder).unwrap_or_default().into_iter().map(|name| folder.join(name));
    let read = names
        .filter(|path| *path != paths.sshd_file && path.extension().is_some_and(|ending| ending == "conf"));
    // Followed, as sshd follows: packages lay links there.
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    read.map(|path| (path.clone(), text(&path))).collect()
}

/// Whether a file has sshd open PAM sessions of its own service: without them nobody would know which connection a grant has opened.
///
/// # Errors
/// [`SshdError::NoPam`] where it says otherwise.
fn asks_pam(path: &Path, text: &str) -> Result<bool, SshdError> {
    let mut asks = false;
    for (index, line) in text.lines().enumerate() {
        let Some((word, rest)) = keyword(line) else { continue };
        let value = patterns(rest).next().unwrap_or_default().to_ascii_lowercase();
        let is_yes = match word.as_str() {
            "usepam" => value == "yes",
            "pamservicename" if value == PAM_SERVICE => continue,
            "pamservicename" => false,
            _ => continue,
        };
        if !is_yes {
            let place = format!("{}:{}", path.display(), index.saturating_add(1));
            return Err(SshdError::NoPam { place });
        }
        asks = true;
    }
    Ok(asks)
}

/// The keyword of a line in small letters, and what follows; none for a comment or nothing. Cut as sshd cuts it: at space, at `=`,
/// and behind the first pair of quotes, which may begin within the word.
fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let end = line.find(|c: char| c.is_whitespace() || c == '=' || c == '"').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let (quoted, rest) =
        rest.strip_prefix('"').map_or(("", rest), |rest| rest.split_once('"').unwrap_or((rest, "")));
    let rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
    let word = format!("{word}{quoted}");
    (!word.is_empty() && !word.starts_with('#')).then(|| (word.to_ascii_lowercase(), rest))
}

fn patterns(rest: &str) -> impl Iterator<Item = &str> {
    rest.split_whitespace().map(|one| one.trim_matches('"'))
}

/// Whether a pattern stands for the files of the folder.
fn is_folder(pattern: &str, folder: &Path) -> bool {
    let short = folder.file_name().map(|name| format!("{}/*.conf", name.to_string_lossy()));
    pattern == format!("{}/*.conf", folder.display()) || Some(pattern) == short.as_deref()
}

/// Whether the folder's files are read, and for every connection.
fn includes(main: &str, folder: &Path) -> bool {
    for (word, rest) in main.lines().filter_map(keyword) {
        if word == "match" {
            return false;
        }
        if word == "include" && patterns(rest).any(|one| is_folder(one, folder)) {
            return true;
        }
    }
    false
}

/// Whether a file leaves to us what certificates open, and leads nowhere else but to the folder, where that is its to include.
fn no_conflict(path: &Path, text: &str, folder: Option<&Path>) -> Result<(), SshdError> {
    for (index, line) in text.lines().enumerate() {
        let Some((word, rest)) = keyword(line) else { continue };
        let place = format!("{}:{}", path.display(), index.saturating_add(1));
        // `none` for everybody is what sshd does without the line; in a Match it is a rule of the site.
        if OURS.contains(&word.as_str()) {
            return Err(SshdError::Conflict { place, keyword: format!("{word} {rest}") });
        }
        let ours = |one| folder.is_some_and(|folder| is_folder(one, folder));
        if word == "include" && !patterns(rest).all(ours) {
            return Err(SshdError::Elsewhere { place, line: format!("{word} {rest}") });
        }
    }
    Ok(())
}

/// Whether sshd, by what `sshd -T` says of all its files, has nobody else's word on what certificates open. What our own file says, as
/// it `stood` or as it will, is nobody else's.
///
/// # Errors
/// [`SshdError::Conflict`], also where sshd says nothing of it.
pub(crate) fn unsettled(paths: &Paths, found: &str, stood: &str) -> Result<(), SshdError> {
    let ours = format!("{}{stood}", text(paths, &program(), Revoked::NotListed));
    let own: Vec<(String, &str)> = ours.lines().filter_map(keyword).collect();
    for word in OURS {
        let said: Vec<&str> =
            found.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect();
        let is_own =
            |value: &str| value == "none" || own.iter().any(|(one, rest)| one == word && *rest == value);
        if said.is_empty() || !said.iter().all(|value| is_own(value)) {
            let keyword = format!("{word} {}", said.join(" "));
            return Err(SshdError::Conflict { place: "sshd -T".to_owned(), keyword });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "sshd_tests.rs"]
mod tests;
