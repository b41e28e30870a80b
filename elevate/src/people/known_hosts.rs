//! The keys whose certificates of hosts are believed, as ssh(1) reads them: lines of our own, never the person's file.
//!
//! In: what the daemon says over the person's own conversation. Out: `@cert-authority` lines, in memory for one ssh, or in a file beside
//! client.toml. ssh then asks nobody whether a host is the one: it is, by its name to the daemon, or is refused. Spec: docs/ssh.md
//! "Which host it is", sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT". Threats E19, E20.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::name::Name;
use elevate_protocol::ssh::Cas;

use super::cert::{cannot, write_certificate};
use super::request::not_expected;
use super::session::Session;
use crate::door::{DoorError, Which};
use crate::failure::Failure;
use crate::talk::{End, Wait};

/// What such a line begins with.
const MARK: &str = "@cert-authority ";
/// Names in one line.
const NAMES: usize = 64;
/// Longest file in bytes.
const FILE_MAX: u64 = 4 << 20;
/// The site's own word on hosts, which counts beside ours (ssh_config(5) GlobalKnownHostsFile).
const SITE: &str = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2";

/// Asks the daemon.
pub(super) fn ask(session: &mut Session) -> Result<Cas, Failure> {
    match session.ask_through(Which::Two, &Ask::HostCas, Wait::Machines)? {
        End::Done(Outcome::HostCas(cas)) => Ok(cas),
        other @ (End::Done(_) | End::Refused(_) | End::Left { .. }) => Err(not_expected(other)),
    }
}

/// The lines for these hosts.
pub(super) fn lines<'a>(names: impl IntoIterator<Item = &'a Name>, cas: &Cas) -> String {
    let names: Vec<&str> = names.into_iter().map(Name::as_str).collect();
    let mut text = String::new();
    for some in names.chunks(NAMES) {
        for ca in cas.keys() {
            text += &format!("{MARK}{} {}\n", some.join(","), ca.as_str());
        }
    }
    text
}

/// What ssh is told so that it asks nobody, and goes by these lines, the site's and the person's own.
///
/// The name is checked, and not the address or port that led there. A plain key that the person knows under that name counts as well:
/// that is the person's own word. Nothing is written into the person's file.
pub(super) fn options(file: &str) -> [(&'static str, String); 4] {
    [
        ("GlobalKnownHostsFile", format!("{file} {SITE}")),
        ("StrictHostKeyChecking", "yes".to_owned()),
        ("UpdateHostKeys", "no".to_owned()),
        ("CheckHostIP", "no".to_owned()),
    ]
}

/// The file for plain ssh: one for each daemon, since what one says of a name is not the other's word.
pub(super) fn file(session: &Session) -> Result<PathBuf, Failure> {
    let daemon = session.daemon()?.ok_or(DoorError::Nowhere)?;
    let letter = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
    let address: String = daemon.server().address.chars().map(letter).collect();
    Ok(session.own_settings().with_file_name(format!("known_hosts.{address}")))
}

/// Makes the file say this, in one step. Names that stand there stay: they are of the lines that were printed.
pub(super) fn keep<'a>(
    file: &Path,
    names: impl IntoIterator<Item = &'a Name>,
    cas: &Cas,
) -> Result<(), Failure> {
    let mut text = String::new();
    if let Ok(found) = std::fs::File::open(file) {
        found.take(FILE_MAX).read_to_string(&mut text).map_err(|error| cannot("read", file, &error))?;
    }
    let mut all: BTreeSet<Name> = names.into_iter().cloned().collect();
    all.extend(text.lines().filter_map(named).flatten());
    let wanted = lines(&all, cas);
    if wanted == text {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
    write_certificate(file, wanted.trim_end())
}

/// The names of a line of ours.
fn named(line: &str) -> Option<impl Iterator<Item = Name>> {
    let names = line.strip_prefix(MARK)?.split(' ').next()?;
    Some(names.split(',').filter_map(|name| name.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cas(keys: &[&str]) -> Cas {
        let keys: Vec<_> = keys.iter().map(|key| key.parse().unwrap()).collect();
        keys.try_into().unwrap()
    }

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC";
    const TWO: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    #[test]
    fn the_file_says_which_keys_count_now_and_forgets_no_host() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("config/known_hosts.daemon_7022");
        let name = |text: &str| text.parse::<Name>().unwrap();
        keep(&file, &[name("web1"), name("db1")], &cas(&[ONE])).unwrap();
        let read = || std::fs::read_to_string(&file).unwrap();
        assert_eq!(read(), format!("@cert-authority db1,web1 {ONE}\n"));
        keep(&file, &[name("web2")], &cas(&[ONE, TWO])).unwrap();
        let all = "@cert-authority db1,web1,web2";
        assert_eq!(read(), format!("{all} {ONE}\n{all} {TWO}\n"));
        keep(&file, &[name("web2")], &cas(&[TWO])).unwrap();
        assert_eq!(read(), format!("{all} {TWO}\n"));
        // What somebody has put there besides is not taken over.
        std::fs::write(&file, format!("* {ONE}\n@cert-authority * {ONE}\n{all} {ONE}\n")).unwrap();
        keep(&file, &[name("web2")], &cas(&[TWO])).unwrap();
        assert_eq!(read(), format!("{all} {TWO}\n"));
    }
}
