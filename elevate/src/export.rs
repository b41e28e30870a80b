//! `elevatectl ssh export`: the files with which sshd on a machine without agent believes certificates for people.
//!
//! In: what the daemon says. Out: three files in a folder, each whole or as it was; never an older list over a newer one (threat X-l).
//! Runs as: whoever asks. Spec: docs/ssh.md "Machines without agent".

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use elevate_protocol::krl::{KRL_MAX, Krl};
use elevate_protocol::message::admin::SshExport;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::text::escape;
use serde_json::{Value, json};

use crate::args::admin::Export;
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::json::schema;

/// The keys to trust.
const KEYS: &str = "elevate_user_ca";
/// The certificates that are revoked.
const REVOKED: &str = "elevate_revoked";
/// The lines. Not the name of the agent's: where there is one, both would be in each other's way, and it says so.
const LINES: &str = "30-elevate-agentless.conf";
const MODE: u32 = 0o644;

/// What was written.
#[derive(Debug)]
pub struct Written {
    version: u64,
    revoked: usize,
    files: Vec<PathBuf>,
}

/// Whether sshd reads this as one path: absolute, and nothing in it that it takes for something else.
///
/// # Errors
/// A usage error.
pub fn into(folder: &Path) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = folder.to_str().is_some_and(|text| text.starts_with('/') && text.chars().all(plain));
    let hint = "the folder on those machines, like --into /etc/ssh";
    if fits {
        Ok(())
    } else {
        Err(Failure::usage("--into takes an absolute path of letters, digits and ._-", hint))
    }
}

/// Writes the files.
///
/// # Errors
/// Nothing could be written, or a newer list lies there; what was there stays.
pub fn write(export: &SshExport, to: &Export) -> Result<Written, Failure> {
    if export.user_ca.is_empty() {
        let message =
            "the daemon has no key that signs certificates: with an empty file of them nobody logs in by one";
        return Err(Failure::Refused(Refusal::new(Code::Internal, message)));
    }
    let folder = &to.output;
    let made = fs::DirBuilder::new().mode(0o755).create(folder);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(cannot("make", folder, &error));
    }
    let list = Krl { version: export.version, made: export.made, grants: export.revoked.clone() };
    let before = before(&folder.join(REVOKED));
    if before.as_ref().is_some_and(|before| before.version > list.version) {
        let message = format!(
            "{} has version {}, the daemon's is {}: was a backup laid back? nothing was written",
            escape(&folder.join(REVOKED).display().to_string()),
            before.map_or(0, |before| before.version),
            list.version
        );
        return Err(Failure::Refused(Refusal::new(Code::Integrity, message).hint("elevatectl restore")));
    }
    let files = [
        (REVOKED, list.to_bytes()),
        (KEYS, export.user_ca.to_file().into_bytes()),
        (LINES, lines(&to.into).into_bytes()),
    ];
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        place(&path, &bytes).map_err(|error| cannot("write", &path, &error))?;
        written.push(path);
    }
    Ok(Written { version: list.version, revoked: list.grants.len(), files: written })
}

/// A list of ours that lies there.
fn before(path: &Path) -> Option<Krl> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(KRL_MAX.saturating_mul(4)).read_to_end(&mut bytes).ok()?;
    Krl::read(&bytes)
}

/// sshd_config(5). Without a program of ours sshd compares the principals of a certificate with the account.
fn lines(into: &Path) -> String {
    let (keys, revoked) = (into.join(KEYS), into.join(REVOKED));
    let (keys, revoked) = (keys.display(), revoked.display());
    format!(
        "# Written by `elevatectl ssh export`, for a machine without agent. Certificates of grants open the accounts that they name.\n\
         # First put {keys} and {revoked} in place, then this file into /etc/ssh/sshd_config.d, then: sshd -t && systemctl reload ssh\n\
         # Replace {revoked} by rename only (mv), and never remove it while this line stands: sshd takes no key at all without it.\n\
         TrustedUserCAKeys {keys}\n\
         RevokedKeys {revoked}\n"
    )
}

/// Whole, or as it was.
fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut open = OpenOptions::new();
    let made = open.write(true).create_new(true).mode(MODE).open(&draft);
    let written = made
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let shown = escape(&path.display().to_string());
    Failure::Refused(Refusal::new(Code::Internal, format!("cannot {what} {shown}: {error}")))
}

impl Written {
    /// `elevate.export/1`.
    #[must_use]
    pub fn json(&self) -> Value {
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        schema("export", json!({ "version": self.version, "revoked": self.revoked, "files": files }))
    }

    /// The files, and what stands in them.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let shown = |path: &PathBuf| Line::plain(&escape(&path.display().to_string()));
        let mut lines: Vec<Line> = self.files.iter().map(shown).collect();
        let what =
            format!("Version {}: the certificates of {} grants are revoked.", self.version, self.revoked);
        lines.push(Line::plain(&what));
        lines
    }
}

#[cfg(test)]
mod tests {
    use elevate_protocol::id::ActivationId;
    use elevate_protocol::ssh::Cas;
    use elevate_protocol::time::Timestamp;

    use super::*;

    fn export(version: u64) -> SshExport {
        let ca = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+mYzWkaEUJIVvYZMpVNakjHp1wuYLtEl2cXigLFFef";
        let user_ca = Cas::try_from(vec![ca.parse().unwrap()]).unwrap();
        let revoked = [ActivationId::from_random([1; 16])].into();
        SshExport { version, made: Timestamp(1_795_000_000), user_ca, revoked }
    }

    #[test]
    fn x_l_a_newer_list_is_never_written_over_by_an_older_one() {
        let place = tempfile::tempdir().unwrap();
        let to = Export { output: place.path().join("out"), into: "/etc/ssh".into() };
        write(&export(7), &to).unwrap();
        let list = || fs::read(to.output.join(REVOKED)).unwrap();
        let first = list();
        assert_eq!(Krl::read(&first).unwrap().version, 7);
        assert!(write(&export(6), &to).is_err());
        assert_eq!(list(), first);
        assert_eq!(write(&export(8), &to).unwrap().version, 8);
        let mut names: Vec<_> =
            fs::read_dir(&to.output).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [LINES, REVOKED, KEYS]);
    }

    #[test]
    fn nothing_is_written_that_trusts_nobody_and_no_odd_path() {
        let place = tempfile::tempdir().unwrap();
        let to = Export { output: place.path().join("out"), into: "/etc/ssh".into() };
        let none = SshExport { user_ca: Cas::default(), ..export(7) };
        assert!(write(&none, &to).is_err() && !to.output.exists());
        for odd in ["etc/ssh", "/etc/my ssh", "/etc/%u", "/etc/\"x\"", "/etc/x\nPermitRootLogin yes"] {
            assert!(into(Path::new(odd)).is_err(), "{odd}");
        }
        into(Path::new("/usr/local/etc/ssh-1")).unwrap();
    }
}
