//! Which certificates of hosts are believed, as ssh(1) reads it: in files of our own, never the person's.
//!
//! In: what the daemon says over the person's own conversation. Out: `@cert-authority` lines, and a list of hosts of before, in memory for one
//! ssh, or in files beside client.toml. ssh then asks nobody whether a host is the one: it is, by its name to the daemon, or is refused.
//! Spec: docs/ssh.md "Which host it is", sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT", ssh_config(5) `RevokedHostKeys`. Threats E19, E20.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use elevate_protocol::krl::RevokedHosts;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::name::Name;
use elevate_protocol::ssh::Cas;
use nix::fcntl::{Flock, FlockArg};

use super::cert::{cannot, write_whole};
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

/// What the daemon says.
pub(super) struct Believed {
    /// Certificates by these keys,
    cas: Cas,
    /// but not of these hosts.
    revoked: RevokedHosts,
}

impl Believed {
    /// The lines for these hosts.
    pub(super) fn lines<'a>(&self, names: impl IntoIterator<Item = &'a Name>) -> String {
        let names: Vec<&str> = names.into_iter().map(Name::as_str).collect();
        let mut text = String::new();
        for some in names.chunks(NAMES) {
            for ca in self.cas.keys() {
                text += &format!("{MARK}{} {}\n", some.join(","), ca.as_str());
            }
        }
        text
    }

    /// The list of the hosts of before. It is never empty: ssh takes a file without a byte for a list of nobody.
    pub(super) fn revoked(&self) -> Vec<u8> {
        self.revoked.to_krl()
    }
}

/// Where ssh finds them.
pub(super) struct Files<P> {
    /// The lines.
    pub(super) lines: P,
    /// The list.
    pub(super) revoked: P,
}

/// Asks the daemon.
pub(super) fn ask(session: &mut Session) -> Result<Believed, Failure> {
    match session.ask_through(Which::Two, &Ask::HostCas, Wait::Machines)? {
        End::Done(Outcome::HostCas { cas, revoked }) => Ok(Believed { cas, revoked }),
        other @ (End::Done(_) | End::Refused(_) | End::Left { .. }) => Err(not_expected(other)),
    }
}

/// What ssh is told so that it asks nobody, and goes by these lines, the site's and the person's own.
///
/// The name is checked, and not the address or port that led there. A plain key that the person knows under that name counts as well:
/// that is the person's own word. Nothing is written into the person's file.
pub(super) fn options(files: &Files<String>) -> [(&'static str, String); 5] {
    [
        ("GlobalKnownHostsFile", format!("{} {SITE}", files.lines)),
        ("RevokedHostKeys", files.revoked.clone()),
        ("StrictHostKeyChecking", "yes".to_owned()),
        ("UpdateHostKeys", "no".to_owned()),
        ("CheckHostIP", "no".to_owned()),
    ]
}

/// The same as it is typed, for an ssh that asks about no host under this name. Only what is plain stands in it.
pub(super) fn typed(files: &Files<String>, host: &Name) -> String {
    let [(global, lines), (revoked, list), ..] = options(files);
    format!("-o HostKeyAlias={host} -o '{global}={lines}' -o {revoked}={list}")
}

/// The files for plain ssh: for each daemon its own, since what one says of a name is not the other's word.
pub(super) fn files(session: &Session) -> Result<Files<PathBuf>, Failure> {
    let daemon = session.daemon()?.ok_or(DoorError::Nowhere)?;
    let letter = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
    let address: String = daemon.server().address.chars().map(letter).collect();
    let beside = |name: &str| session.own_settings().with_file_name(format!("{name}.{address}"));
    Ok(Files { lines: beside("known_hosts"), revoked: beside("revoked_hosts") })
}

/// Makes the files say this, each in one step. Names that stand there stay: they are of the lines that were printed.
pub(super) fn keep<'a>(
    files: &Files<PathBuf>,
    names: impl IntoIterator<Item = &'a Name>,
    believed: &Believed,
) -> Result<(), Failure> {
    let folder = files.lines.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
    // Two at once forget no name of each other's.
    let alone = std::fs::File::open(folder).map_err(|error| cannot("read", folder, &error))?;
    let _alone = Flock::lock(alone, FlockArg::LockExclusive)
        .map_err(|(_, error)| cannot("lock", folder, &error.into()))?;
    let found = read(&files.lines)?;
    let text = String::from_utf8_lossy(&found);
    let mut all: BTreeSet<Name> = names.into_iter().cloned().collect();
    all.extend(text.lines().filter_map(named).flatten());
    let (lines, revoked) = (believed.lines(&all), believed.revoked());
    // The list first: who is believed from now on may be on it.
    if revoked != read(&files.revoked)? {
        write_whole(&files.revoked, &revoked)?;
    }
    if lines.as_bytes() == found { Ok(()) } else { write_whole(&files.lines, lines.as_bytes()) }
}

/// What stands there; nothing, where there is no such file.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if let Ok(found) = std::fs::File::open(file) {
        found.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| cannot("read", file, &error))?;
    }
    Ok(bytes)
}

/// The names of a line of ours.
fn named(line: &str) -> Option<impl Iterator<Item = Name>> {
    let names = line.strip_prefix(MARK)?.split(' ').next()?;
    Some(names.split(',').filter_map(|name| name.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::id::HostId;

    fn believed(keys: &[&str], hosts: &[u8]) -> Believed {
        let keys: Vec<_> = keys.iter().map(|key| key.parse().unwrap()).collect();
        let hosts: Vec<_> = hosts.iter().map(|one| HostId::from_random([*one; 16])).collect();
        Believed { cas: keys.try_into().unwrap(), revoked: hosts.try_into().unwrap() }
    }

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC";
    const TWO: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    #[test]
    fn the_file_says_which_keys_count_now_and_forgets_no_host() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join("config").join(name);
        let files = Files { lines: at("known_hosts.daemon_7022"), revoked: at("revoked_hosts.daemon_7022") };
        let name = |text: &str| text.parse::<Name>().unwrap();
        let keep = |names: &[Name], keys: &[&str], hosts: &[u8]| {
            keep(&files, names, &believed(keys, hosts)).unwrap();
            (std::fs::read_to_string(&files.lines).unwrap(), std::fs::read(&files.revoked).unwrap())
        };
        let of = |hosts: &[u8]| believed(&[], hosts).revoked();
        let first = keep(&[name("web1"), name("db1")], &[ONE], &[]);
        assert_eq!(first, (format!("@cert-authority db1,web1 {ONE}\n"), of(&[])));
        assert!(!first.1.is_empty(), "ssh takes an empty file for a list of nobody");
        let all = "@cert-authority db1,web1,web2";
        let both = format!("{all} {ONE}\n{all} {TWO}\n");
        assert_eq!(keep(&[name("web2")], &[ONE, TWO], &[1, 2]), (both, of(&[1, 2])));
        // A host whose certificates are over is on it no more.
        assert_eq!(keep(&[name("web2")], &[TWO], &[2]), (format!("{all} {TWO}\n"), of(&[2])));
        // What somebody has put there besides is not taken over.
        std::fs::write(&files.lines, format!("* {ONE}\n@cert-authority * {ONE}\n{all} {ONE}\n")).unwrap();
        std::fs::write(&files.revoked, "").unwrap();
        assert_eq!(keep(&[name("web2")], &[TWO], &[2]), (format!("{all} {TWO}\n"), of(&[2])));
    }
}
