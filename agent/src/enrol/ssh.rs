//! sshd's side of enrolment: one file of ours, tried on what sshd makes of all its files before it counts, and taken out again.
//!
//! In: this host's sshd. Out: an sshd that asks us which certificates open an account, or the host as it was and what to do.
//! What cannot be done here never stops an enrolment: roles that need it are refused on this host. Threats E15; docs/config.md.

use std::time::Duration;

use crate::child::{self, ChildError};
use crate::host_keys;
use crate::journal;
use crate::paths::Paths;
use crate::revoked;
use crate::safe::{self, Durability, SafeError};
use crate::sshd::{self, ACCOUNT, PAM_SERVICE, Revoked, SshdError};

use super::changes::{self, ChangeError, Changes};
use super::listener;
use super::login::{Canary, LoginError};
use super::pam_lines::{self, PamLinesError, Service};
use super::say;

/// How long sshd may take to look at its files.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why sshd does not ask us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// It cannot.
    #[error(transparent)]
    Sshd(#[from] SshdError),
    /// Our file's name is taken.
    #[error("{path} is there already and not ours")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The lines of its PAM service.
    #[error("/etc/pam.d/{PAM_SERVICE} cannot be changed")]
    Lines {
        /// Why.
        source: PamLinesError,
    },
    /// A file could not be changed.
    #[error("a file could not be changed")]
    Change(#[from] ChangeError),
    /// The list of revoked certificates.
    #[error("the list of revoked certificates stays")]
    List(#[from] SafeError),
    /// What says that nothing is proved yet.
    #[error("it cannot be written down that nothing is proved yet")]
    Mark {
        /// Why.
        source: SafeError,
    },
    /// A login is not as promised.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// sshd cannot be asked.
    #[error("sshd cannot be asked")]
    Child(#[from] ChildError),
    /// sshd does not take its files.
    #[error("sshd does not take its own files{when}: {said}")]
    Refused {
        /// With our file or without.
        when: &'static str,
        /// What it said.
        said: String,
    },
    /// Another value than ours counts.
    #[error("sshd would not ask: `{line}` is not what counts for it")]
    NotEffective {
        /// What should count.
        line: String,
    },
    /// The running sshd could not be told.
    #[error("the running sshd could not be told to read its files anew: {why}")]
    Reload {
        /// Why.
        why: String,
    },
    /// The running sshd was not told.
    #[error(
        "the sshd that runs here is not found by its pid file ({file}) and has not read its files anew: restart it"
    )]
    Restart {
        /// The pid file.
        file: String,
    },
}

/// Puts our file in place where it is not, and tells how that went; whether it did. Never fails an enrolment.
pub(super) fn set_up(paths: &Paths) -> bool {
    if is_set_up(paths) && !paths.sshd_unproved.exists() {
        return false;
    }
    let placed = place(paths);
    match (&placed, sshd::enforcement(paths)) {
        (Ok(()), Ok(_)) => say("sshd: certificates of grants open the accounts that their roles name."),
        (Ok(()), Err(error)) => {
            say(&format!("sshd: set up, but certificates of grants open nothing yet: {error}"));
        }
        (Err(error @ SshError::Restart { .. }), _) => say(&format!("sshd: set up, but {error}")),
        (Err(SshError::Sshd(SshdError::NoSshd)), _) => {}
        (Err(error), _) => {
            say(&format!("sshd: not set up, and its files are as they were: {}", journal::chain(error)));
            say("      Roles with logins are refused on this host until then: elevate-agent doctor");
        }
    }
    matches!(placed, Ok(()) | Err(SshError::Restart { .. }))
}

fn is_set_up(paths: &Paths) -> bool {
    let has_list = || matches!(revoked::read(paths), Ok(Some(_)));
    let lists = if sshd::names_list(paths) { has_list() } else { sshd::list_of_site(paths).is_some() };
    sshd::placed(paths).is_ok() && effective(paths).is_ok() && lists && has_optional_lines(paths)
}

/// Whether our file has a line for the certificate of each key that sshd shows now, and the one of the log where that can be.
fn has_optional_lines(paths: &Paths) -> bool {
    let text = changes::read(&paths.sshd_file).ok().flatten();
    let text = text.as_ref().and_then(changes::Stood::text).unwrap_or_default();
    settings().is_ok_and(|settings| {
        text == format!("{}{}", sshd::without_optional(paths, text), optional(paths, &settings))
    })
}

/// The lines that this host's sshd can do with.
fn optional(paths: &Paths, settings: &str) -> String {
    format!("{}{}", verbose(settings), certificates(paths, settings))
}

/// The line of the log; none where the site has its own, or sshd does not know it.
fn verbose(settings: &str) -> String {
    let line = sshd::verbose_line();
    let is_other = |found: &str| !found.eq_ignore_ascii_case(line.trim_end());
    let of_site = settings.lines().any(|found| found.starts_with("logverbose ") && is_other(found));
    let knows = release().is_some_and(|release| release >= (8, 5));
    if knows && !of_site { line } else { String::new() }
}

/// The lines of certificates; none where sshd shows others of the site's.
fn certificates(paths: &Paths, settings: &str) -> String {
    match host_keys::foreign(paths, settings).next() {
        Some(_) => String::new(),
        None => host_keys::lines(&host_keys::keys(paths, settings)),
    }
}

fn place(paths: &Paths) -> Result<(), SshError> {
    sshd::possible(paths)?;
    let path = &paths.sshd_file;
    let stood = changes::read(path)?;
    let text = stood.as_ref().and_then(changes::Stood::text).unwrap_or_default();
    if stood.is_some() && !sshd::is_ours(text) {
        return Err(SshError::Foreign { path: path.display().to_string() });
    }
    // Where an enrolment was cut off, ours may stand there unproved: the host without it is what the proof begins with.
    let is_left = paths.sshd_unproved.exists() && stood.is_some();
    if is_left {
        let mut left = Changes::default();
        left.remove(path)?;
        left.keep();
    }
    let text = if is_left { "" } else { text };
    takes_its_files(" as they are")?;
    let settings = settings()?;
    sshd::unsettled(paths, &settings, text)?;
    if let Some(file) = host_keys::foreign(paths, &settings).next() {
        say(&format!("sshd: it shows a certificate of this site ({file}); Elevate adds none of its own"));
    }
    say("Trying logins to sshd …");
    let canary = match Canary::before(paths) {
        Ok(canary) => Some(canary),
        Err(error) => {
            say(&format!("sshd: {error}"));
            None
        }
    };
    let text = format!("{}{}", sshd::text(paths, &sshd::program(), list(paths)), optional(paths, &settings));
    let mut changes = Changes::default();
    let placed = try_out(paths, (&text, canary.as_ref()), &mut changes);
    finish(paths, changes, placed)
}

/// What was tried stays, or everything is put back.
fn finish(paths: &Paths, changes: Changes, placed: Result<(), SshError>) -> Result<(), SshError> {
    if matches!(placed, Ok(()) | Err(SshError::Restart { .. })) {
        changes.keep();
        // Where it stays, it is proved once more.
        drop(safe::remove(&paths.sshd_unproved));
        return placed;
    }
    match changes.undo() {
        Ok(()) => drop(safe::remove(&paths.sshd_unproved)),
        Err(errors) => {
            errors.iter().for_each(|error| say(&format!("NOT put back: {}", journal::chain(error))));
        }
    }
    // An sshd that was told of our file is told of the file before. What it would not take it is not told of.
    if matches!(placed, Err(SshError::Reload { .. })) && takes_its_files("").is_ok() {
        drop(reload());
    }
    // An sshd that somebody else restarted meanwhile has read our file, and takes no key without the list.
    if paths.revoked.exists() && !sshd::names_list(paths) {
        list_stays(paths);
    }
    placed
}

fn list_stays(paths: &Paths) {
    let list = paths.revoked.display();
    say(&format!(
        "sshd: {list} stays, since sshd or a login that has begun may still read it. Restart sshd, then remove it"
    ));
}

/// The list of revoked certificates, which is there before sshd is told of it: without it, nobody would log in by a key.
fn list(paths: &Paths) -> Revoked {
    if let Some(place) = sshd::list_of_site(paths) {
        say(&format!("sshd: {place} names a list of revoked keys, so sshd does not read Elevate's"));
        return Revoked::NotListed;
    }
    match revoked::begin(paths) {
        Ok(()) => Revoked::Listed,
        Err(error) => {
            say(&format!("sshd: without a list of revoked certificates: {}", journal::chain(&error)));
            Revoked::NotListed
        }
    }
}

fn try_out(
    paths: &Paths,
    (text, canary): (&str, Option<&Canary<'_>>),
    changes: &mut Changes,
) -> Result<(), SshError> {
    safe::write(&paths.sshd_unproved, "", 0o600, Durability::Disk)
        .map_err(|source| SshError::Mark { source })?;
    if changes::read(&paths.user_ca)?.is_none() {
        changes.write(&paths.user_ca, "", 0o644)?;
    }
    pam_line(paths, changes)?;
    changes.write(&paths.sshd_file, text, 0o644)?;
    takes_its_files(" with ours among them")?;
    effective(paths)?;
    match canary.map_or(Ok(()), Canary::after) {
        Err(error @ LoginError::Unproved { .. }) => say(&format!("sshd: {error}")),
        tried => tried?,
    }
    reload()
}

/// Our line in sshd's PAM service, before sshd lets anybody in by our word.
fn pam_line(paths: &Paths, changes: &mut Changes) -> Result<(), SshError> {
    let path = paths.pam_services.join(PAM_SERVICE);
    let damaged = |source| SshError::Lines { source };
    let stood = changes::read(&path)?.ok_or_else(|| SshdError::PamLine { path: path.clone() })?;
    let text = stood.text().ok_or(damaged(PamLinesError::Damaged))?;
    let with = pam_lines::with(text, Service::Sshd).map_err(damaged)?;
    if with != text {
        changes.write(&path, &with, 0o644)?;
    }
    Ok(())
}

/// Takes our file out, and lets sshd know. The list that it names goes only where nobody reads it any more.
///
/// # Errors
/// [`SshError`]; where sshd does not take what is left, the running one goes on with what it has.
pub(super) fn take_out(paths: &Paths, changes: &mut Changes) -> Result<(), SshError> {
    match changes::read(&paths.sshd_file)? {
        Some(stood) if stood.text().is_some_and(sshd::is_ours) => changes.remove(&paths.sshd_file)?,
        // A list that was left before.
        None if paths.revoked.exists() => {}
        Some(_) | None => return Ok(()),
    }
    if Paths::program("sshd").is_some() {
        takes_its_files(" without ours")?;
        let is_free = match listener::tell() {
            Err(error @ SshError::Restart { .. }) => {
                say(&format!("sshd: {error}"));
                false
            }
            told => told?.is_alone(),
        };
        if !is_free {
            if paths.revoked.exists() {
                list_stays(paths);
            }
            return Ok(());
        }
    }
    Ok(revoked::remove(paths)?)
}

fn reload() -> Result<(), SshError> {
    listener::tell().map(drop)
}

/// `sshd -t`: a listener that is told to read files which it does not take is gone (HOSTS §4).
fn takes_its_files(when: &'static str) -> Result<(), SshError> {
    ask(&["-t"], when).map(drop)
}

/// What sshd makes of all its files, a line for each setting.
///
/// # Errors
/// [`SshError`].
pub(crate) fn settings() -> Result<String, SshError> {
    ask(&["-T"], "")
}

/// Has the running sshd read its files anew, once it is known that it takes them.
///
/// # Errors
/// [`SshError`]; it goes on with what it has.
pub(crate) fn read_anew() -> Result<(), SshError> {
    takes_its_files("")?;
    reload()
}

/// Whether sshd reads certificates anew for each connection: before OpenSSH 9.8, where what serves a connection is sshd itself, begun anew.
/// Telling it to read its files anew would do no more, and for a moment nobody would listen.
pub(crate) fn looks_each_time() -> bool {
    release().is_some_and(|release| release < (9, 8))
}

/// The release of OpenSSH that is installed.
fn release() -> Option<(u32, u32)> {
    let said = child::run(&Paths::program("sshd")?, &["-V"], DEADLINE).ok()?;
    version(&format!("{}{}", said.stdout, said.stderr))
}

/// `OpenSSH_9.2p1 …`, wherever it stands.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.split_once("OpenSSH_")?;
    let (major, rest) = rest.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..end)?.parse().ok()?))
}

fn ask(arguments: &[&str], when: &'static str) -> Result<String, SshError> {
    let program = Paths::program("sshd").ok_or(SshdError::NoSshd)?;
    let answer = child::run(&program, arguments, DEADLINE)?;
    if answer.code == Some(0) {
        return Ok(answer.stdout);
    }
    let lines = answer.stdout.lines().chain(answer.stderr.lines()).map(str::trim);
    let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Err(SshError::Refused { when, said: said.join(" / ") })
}

/// Whether ours is what counts for a connection that no Match of the site is about: sshd takes the first value that it reads.
///
/// # Errors
/// [`SshError::NotEffective`], or sshd does not answer.
pub(super) fn effective(paths: &Paths) -> Result<(), SshError> {
    let found = ask(&["-T"], "")?;
    let (ca, program) = (paths.user_ca.display(), sshd::program());
    let list = sshd::names_list(paths).then(|| format!("revokedkeys {}", paths.revoked.display()));
    for line in [
        format!("trustedusercakeys {ca}"),
        format!("authorizedprincipalscommand {} %u %i", program.display()),
        format!("authorizedprincipalscommanduser {ACCOUNT}"),
        "usepam yes".to_owned(),
    ]
    .into_iter()
    .chain(list)
    {
        if !found.lines().any(|one| one == line) {
            return Err(SshError::NotEffective { line });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_wherever_it_stands() {
        for (said, wanted) in [
            ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025\n", Some((9, 2))),
            ("unknown option -- V\nOpenSSH_8.9p1 Ubuntu-3, OpenSSL 3.0.2\nusage: sshd", Some((8, 9))),
            ("OpenSSH_10.0p2, OpenSSL", Some((10, 0))),
            ("Sun_SSH_2.4", None),
            ("OpenSSH_x.1", None),
        ] {
            assert_eq!(version(said), wanted, "{said}");
        }
    }
}
