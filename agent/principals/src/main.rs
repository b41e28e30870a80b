//! `principals ACCOUNT KEY-ID`: the one grant whose certificates open that account now, as sshd_config(5)
//! `AuthorizedPrincipalsCommand` wants it; nothing is printed where there is none. Needs no agent and no network; an agent that
//! is there is told of a certificate that opens nothing, and the system's log of every one.
//!
//! In: two arguments from sshd, the agent's file on tmpfs, both clocks. Out: at most one line. Runs as: user `elevate-ssh`, for sshd,
//! twice per login. Whatever is unclear prints nothing; 2 s at most. Threats E05, E10, G01.

#![forbid(unsafe_code)]

mod clock;
mod tell;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use elevate_protocol::id::ActivationId;
use elevate_protocol::name::Name;
use elevate_protocol::principals::{self, PRINCIPALS_MAX};

/// Where the agent leaves its files.
const FOLDER: &str = "/run/elevate/principals";
/// Where the agent hears of a certificate that opens nothing.
const SOCKET: &str = "/run/elevate/agent.sock";
/// Where the system's log is written to (syslog(3)).
const LOG: &str = "/dev/log";
/// sshd waits for us, and its client with it.
const DEADLINE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let late = thread::Builder::new().spawn(|| {
        thread::sleep(DEADLINE);
        // What was printed so far does not count: sshd ignores the output of a program that fails.
        std::process::exit(1);
    });
    if late.is_err() {
        return ExitCode::FAILURE;
    }
    let asked = asked(std::env::args_os());
    let line = asked.as_ref().and_then(|(account, id)| answer(Path::new(FOLDER), account, *id));
    if let Some((account, id)) = asked {
        tell::answered((Path::new(SOCKET), Path::new(LOG)), account, id, line.is_some());
    }
    match line.map_or(Ok(()), |line| io::stdout().write_all(line.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The account and the grant that the certificate's key id names; none where one of them cannot be ours.
fn asked(arguments: impl Iterator<Item = OsString>) -> Option<(Name, ActivationId)> {
    let arguments: Vec<OsString> = arguments.skip(1).take(3).collect();
    let [account, id] = arguments.as_slice() else { return None };
    Some((account.to_str()?.parse().ok()?, id.to_str()?.parse().ok()?))
}

/// The line of that grant, where it opens that account now.
fn answer(folder: &Path, account: &Name, id: ActivationId) -> Option<String> {
    let entries = principals::read(&file(&folder.join(account.as_str()))?)?;
    let (now, boot) = clock::read()?;
    let found = entries.iter().find(|entry| entry.grant == id && entry.holds(now, boot));
    found.map(principals::Entry::to_sshd)
}

/// A plain file that only root writes.
fn file(path: &PathBuf) -> Option<String> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 || meta.len() > PRINCIPALS_MAX {
        return None;
    }
    let mut text = String::new();
    file.take(PRINCIPALS_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::principals::Entry;
    use elevate_protocol::ssh::SshOptions;
    use elevate_protocol::time::Timestamp;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn id(n: u8) -> ActivationId {
        ActivationId::from_random([n; 16])
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn entry(n: u8, wall: i64, boot: u64) -> Entry {
        let (now, uptime) = clock::read().unwrap();
        let ends = (Timestamp(now.0.saturating_add(wall)), uptime.saturating_add(boot.saturating_mul(1000)));
        Entry::new(id(n), ends, &SshOptions::default())
    }

    #[test]
    fn only_the_grant_of_the_certificate_opens_and_only_its_account_and_only_while_it_lives() {
        let place = tempfile::tempdir().unwrap();
        let entries = [entry(1, 60, 60), entry(2, 60, 60), entry(3, -1, 60), entry(4, 60, 0)];
        std::fs::write(place.path().join("deploy"), principals::write(&entries)).unwrap();
        let ask = |account: &str, n| answer(place.path(), &name(account), id(n));
        assert_eq!(ask("deploy", 1), Some(format!("restrict,pty elevate:{}\n", id(1))));
        assert_eq!(ask("deploy", 2), Some(format!("restrict,pty elevate:{}\n", id(2))));
        assert_eq!(ask("deploy", 3), None, "over by the wall clock");
        assert_eq!(ask("deploy", 4), None, "over by the clock that nobody sets");
        assert_eq!(ask("deploy", 5), None, "no such grant");
        assert_eq!(ask("root", 1), None, "no such account");
    }

    #[test]
    fn a_file_that_is_torn_long_or_not_roots_alone_opens_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("deploy");
        let text = principals::write(&[entry(1, 60, 60)]);
        let ask = || answer(place.path(), &name("deploy"), id(1));
        std::fs::write(&path, &text).unwrap();
        assert!(ask().is_some());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(ask().is_none());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        chown(&path, Some(2000), None).unwrap();
        assert!(ask().is_none());
        chown(&path, Some(0), None).unwrap();
        for wrong in [text.trim_end().to_owned(), text.repeat(2), String::new(), text.repeat(20_000)] {
            std::fs::write(&path, wrong).unwrap();
            assert!(ask().is_none());
        }
    }

    #[test]
    fn e05_arguments_that_are_not_ours_ask_for_nothing() {
        let of = |words: &[&str]| {
            asked(std::iter::once("principals").chain(words.iter().copied()).map(OsString::from))
        };
        let id = id(1).to_string();
        assert_eq!(of(&["deploy", &id]), Some((name("deploy"), super::tests::id(1))));
        for words in [
            &["deploy"][..],
            &["deploy", &id, "more"],
            &["../deadlines", &id],
            &["deploy", "*"],
            &["deploy", &format!("{id}\n")],
            &["deploy", &format!("elevate:{id}")],
            &["", &id],
            &[],
        ] {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}
