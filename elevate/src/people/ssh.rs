//! `elevate ssh`: a grant, a certificate under it, then plain `ssh`.
//!
//! In: `[USER@]HOST`, how the grant is wanted, a command. Out: ssh's own exit code; 125 is this program's. Key and certificate are in
//! memory only and vanish with this process. Spec: docs/cli.md "ssh".

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use elevate_protocol::host_ssh::HostName;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{CertificateView, EligibilityView};
use elevate_protocol::name::{HostWord, Name};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use ssh_key::{LineEnding, PrivateKey};

use super::cert::{fresh_key, system, unwritable};
use super::known_hosts;
use super::request::{activate, not_expected, waiting};
use super::run::active;
use super::session::Session;
use super::sudo::run as run_program;
use crate::args::{Ssh, Wanted};
use crate::door::Which;
use crate::failure::Failure;
use crate::talk::{End, Wait};

/// Where ssh is; never looked for.
const SSH: &str = "/usr/bin/ssh";
const HOW: &str = "elevate ssh postgres@db1, elevate ssh db1 -- uptime";

/// Where to, and as whom.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    login: Option<Name>,
    host: HostWord,
}

/// `elevate ssh`.
pub(super) fn ssh(session: &mut Session, words: &Ssh) -> Result<u8, Failure> {
    let target = Target::parse(&words.target)?;
    let Wanted { hosts, dry_run, .. } = &words.wanted;
    if *dry_run || !hosts.is_empty() {
        return Err(Failure::usage(
            "the host to log in to is the one that is asked for; it has no --dry-run",
            HOW,
        ));
    }
    if !Path::new(SSH).exists() {
        return Err(Failure::Refused(Refusal::new(Code::Internal, format!("there is no {SSH}"))));
    }
    let key = fresh_key()?;
    let view = certificate(session, words, (&target, &key))?;
    let login = target.login.as_ref().or(view.logins.first());
    let login = login.ok_or_else(|| Failure::usage("the grant opens no account", HOW))?;
    // What ssh goes by is the managed name, whatever the host was called.
    let host = view.host.clone().or_else(|| target.host.as_str().parse().ok()).ok_or_else(|| {
        let message = format!("the daemon does not say which host {} is", target.host);
        Failure::Refused(Refusal::new(Code::Integrity, message))
    })?;
    let text = key.to_openssh(LineEnding::LF).map_err(unwritable)?;
    let key = in_memory("key", text.as_bytes())?;
    let certificate = in_memory("certificate", view.certificate.as_bytes())?;
    let believed = known_hosts::ask(session)?;
    let lines = in_memory("known_hosts", believed.lines([&host]).as_bytes())?;
    let revoked = in_memory("revoked_hosts", &believed.revoked())?;
    let hosts = known_hosts::Files { lines: path(&lines), revoked: path(&revoked) };
    let files = Files { key: &path(&key), certificate: &path(&certificate), hosts: &hosts };
    let argv = argv(&files, (login, &target.host, &host), &words.command);
    // All are there as long as this process is, and ssh is its child.
    run_program(&argv, &mut session.console, &session.signals)
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong =
            |what: &str, error: &dyn std::fmt::Display| Failure::usage(format!("no {what}: {error}"), HOW);
        let (login, host) = match text.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, text),
        };
        let login = login.map(str::parse).transpose().map_err(|error| wrong("account", &error))?;
        Ok(Self { login, host: host.parse().map_err(|error| wrong("host", &error))? })
    }
}

/// A certificate under the grant that is there, or under one that is asked for.
fn certificate(
    session: &mut Session,
    words: &Ssh,
    (target, key): (&Target, &PrivateKey),
) -> Result<Box<CertificateView>, Failure> {
    let key = key.public_key().to_openssh().map_err(unwritable)?;
    let ask = |role: Option<&Name>| {
        Ask::Certificate(CertificateAsk {
            key: key.clone(),
            grant: None,
            role: role.cloned(),
            host: Some(target.host.clone()),
            login: target.login.clone(),
            agentless: false,
        })
    };
    let refusal = match session.ask(&ask(words.role.as_ref()), Wait::Machines)? {
        End::Done(Outcome::Certificate(view)) => return Ok(view),
        End::Refused(refusal) if matches!(refusal.code, Code::Gone | Code::Pending | Code::NotEligible) => {
            refusal
        }
        other @ (End::Done(_) | End::Refused(_) | End::Left { .. }) => return Err(not_expected(other)),
    };
    let role = match &words.role {
        Some(role) => role.clone(),
        None => role_for(session, target, refusal)?,
    };
    let mut wanted = words.wanted.clone();
    wanted.hosts = vec![target.host.clone()];
    let wait = waiting(session, &wanted);
    let end = activate(session, &role, &wanted, wait)?;
    active(session, end)?;
    match session.ask(&ask(Some(&role)), Wait::Machines)? {
        End::Done(Outcome::Certificate(view)) => Ok(view),
        other @ (End::Done(_) | End::Refused(_) | End::Left { .. }) => Err(not_expected(other)),
    }
}

/// The one role of mine that opens the account there. Asked where the certificate was: a host that is managed knows its own alone.
fn role_for(session: &mut Session, target: &Target, refusal: Refusal) -> Result<Name, Failure> {
    let end = session.ask_through(Which::Two, &Ask::Eligible, Wait::Machines)?;
    let End::Done(Outcome::Eligible(mine)) = end else { return Err(not_expected(end)) };
    let roles: Vec<Name> = mine.into_iter().filter(|one| opens(one, target)).map(|one| one.role).collect();
    match roles.as_slice() {
        [only] => Ok(only.clone()),
        // What stands in the way of the grant that is there says more.
        [] if refusal.code != Code::Gone => Err(Failure::Refused(refusal)),
        [] => {
            let account = target.login.as_ref().map(|login| format!(" as {login}")).unwrap_or_default();
            let message = format!("no role of yours logs in to {}{account}", target.host);
            Err(Failure::Refused(Refusal::new(Code::NotEligible, message).hint("elevate list --eligible")))
        }
        several => {
            let list: Vec<String> = several.iter().map(|role| format!("--role {role}")).collect();
            Err(Failure::usage("several of your roles log in there; say which", list.join(" or ")))
        }
    }
}

fn opens(role: &EligibilityView, target: &Target) -> bool {
    let account = match &target.login {
        Some(login) => role.logins.contains(login),
        None => !role.logins.is_empty(),
    };
    let is_called = |name: &HostName| name.as_str() == target.host.as_str();
    let there =
        role.hosts.iter().any(|host| target.host == *host) || role.names.values().flatten().any(is_called);
    account && there
}

/// A file that only this process has, and whoever it starts opens by its path. ssh wants a key that nobody else can read.
fn in_memory(name: &str, bytes: &[u8]) -> Result<File, Failure> {
    let made = memfd_create(name, MFdFlags::MFD_CLOEXEC)
        .map_err(|error| system("keep a key in memory", error.into()))?;
    fchmod(&made, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|error| system("keep a key in memory", error.into()))?;
    let mut file = File::from(made);
    file.write_all(bytes).map_err(|error| system("keep a key in memory", error))?;
    Ok(file)
}

/// ssh closes what it inherits (closefrom(2) in its main), so it opens what its parent holds.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// What ssh opens.
struct Files<'a> {
    key: &'a str,
    certificate: &'a str,
    hosts: &'a known_hosts::Files<String>,
}

/// The words of ssh: this key and no other, no question for a password or about the host, no connection that another call left open. What
/// is believed of the host is said of its name, whatever address the person's settings lead to.
fn argv(
    files: &Files<'_>,
    (login, word, host): (&Name, &HostWord, &Name),
    command: &[OsString],
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![SSH.into()];
    for option in [
        "IdentitiesOnly=yes".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        format!("CertificateFile={}", files.certificate),
        format!("HostKeyAlias={host}"),
    ]
    .into_iter()
    .chain(known_hosts::options(files.hosts).map(|(name, value)| format!("{name}={value}")))
    {
        words.extend(["-o".into(), option.into()]);
    }
    words.extend(["-i", files.key, "-l", login.as_str(), "--", word.as_str()].map(OsString::from));
    words.extend_from_slice(command);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_target_is_a_host_with_or_without_an_account() {
        let parse = |text: &str| Target::parse(text).map_err(|failure| failure.refusal().message);
        let name = |text: &str| text.parse::<Name>().unwrap();
        let word = |text: &str| text.parse::<HostWord>().unwrap();
        assert_eq!(parse("db1"), Ok(Target { login: None, host: word("db1") }));
        for host in ["db1", "db1.example.org", "10.0.0.5"] {
            let target = Target { login: Some(name("postgres")), host: word(host) };
            assert_eq!(parse(&format!("postgres@{host}")), Ok(target));
        }
        for odd in ["", "@db1", "postgres@", "-oProxyCommand=id", "a b@db1", "x@-oProxyCommand=id", "db1 -v"]
        {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn ssh_is_told_the_key_the_account_and_where_its_own_options_end() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let command = ["-v".into(), "uptime".into()];
        let hosts = known_hosts::Files { lines: "/h".into(), revoked: "/r".into() };
        let files = Files { key: "/k", certificate: "/c", hosts: &hosts };
        let word = "10.0.0.5".parse().unwrap();
        let words = argv(&files, (&name("postgres"), &word, &name("db1")), &command);
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.first(), Some(&SSH));
        assert!(words.windows(2).any(|pair| pair == ["-o", "CertificateFile=/c"]), "{words:?}");
        let known = "GlobalKnownHostsFile=/h /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2";
        for option in ["HostKeyAlias=db1", "StrictHostKeyChecking=yes", "RevokedHostKeys=/r", known] {
            assert!(words.windows(2).any(|pair| pair == ["-o", option]), "{words:?}");
        }
        assert!(
            words.ends_with(&["-i", "/k", "-l", "postgres", "--", "10.0.0.5", "-v", "uptime"]),
            "{words:?}"
        );
    }

    #[test]
    fn a_key_in_memory_is_a_file_of_ones_own_that_a_child_reads_twice() {
        let file = in_memory("key", b"text").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..2 {
            let read = std::process::Command::new("/bin/cat").arg(path(&file)).output().unwrap();
            assert_eq!(read.stdout, b"text");
        }
    }
}
