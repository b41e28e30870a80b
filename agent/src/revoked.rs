//! sshd's list of revoked certificates on this host: made whole, shown to OpenSSH's own reader, and then renamed into place.
//!
//! In: grants that are over. Out: the file that `RevokedKeys` of our sshd_config(5) lines names. sshd refuses every login by a key where
//! that file is missing or broken, and revokes nothing by one that is empty. Threat X-l; docs/decisions/0041.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use elevate_protocol::id::ActivationId;
use elevate_protocol::krl::{KRL_MAX, Krl, NOBODY};
use elevate_protocol::time::{Span, Timestamp};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use crate::child::{self, ChildError};
use crate::clock;
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// How long ssh-keygen may take to read a list.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long another may make one.
const TURN: Duration = Duration::from_secs(10);
const LIST_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Names of the two certificates that a new list is tried with.
const SAMPLES: [&str; 2] = [".revoked.pub", ".other.pub"];

/// Why there is no new list. The one of before stands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokedError {
    /// A file.
    #[error("the list of revoked certificates cannot be written")]
    File(#[from] SafeError),
    /// Another makes one.
    #[error("somebody else makes the list of revoked certificates: enrolment, or elevate-agent")]
    Busy,
    /// No ssh-keygen.
    #[error("there is no ssh-keygen, which tries the list of revoked certificates before sshd reads it")]
    NoProgram,
    /// It did not answer.
    #[error("ssh-keygen does not try the list of revoked certificates")]
    Program(#[from] ChildError),
    /// It does not see in it what stands there.
    #[error("ssh-keygen does not read the list of revoked certificates as it was meant: {said}")]
    Unread {
        /// What it said.
        said: String,
    },
    /// What it is tried with cannot be made.
    #[error("no certificate can be made to try the list of revoked certificates with")]
    Sample(#[from] ssh_key::Error),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
}

/// Reads the list as it stands.
///
/// # Errors
/// It is not there or not root's alone; `Ok(None)` for one that sshd could not read or that is not ours.
pub(crate) fn read(paths: &Paths) -> Result<Option<Krl>, SafeError> {
    safe::read_bytes(&paths.revoked, KRL_MAX).map(|bytes| Krl::read(&bytes))
}

/// Makes a list that revokes nobody, where none stands that could be read.
///
/// # Errors
/// [`RevokedError`]; then our lines must not name the file.
pub(crate) fn begin(paths: &Paths) -> Result<(), RevokedError> {
    let stands = read(paths).ok().flatten();
    let now = clock::read().wall;
    let list = stands.unwrap_or(Krl { version: version(0, now), made: now, grants: [].into() });
    // Tried also where it stands: sshd is going to be told of it.
    place(paths, &list)
}

/// The version that follows: it grows, also where the one before was lost.
#[must_use]
pub(crate) fn version(before: u64, now: Timestamp) -> u64 {
    before.saturating_add(1).max(u64::try_from(now.0).unwrap_or_default())
}

/// Puts a list in place, once ssh-keygen has found in it what it is to find, and nothing else. Blocks for as long as that takes.
///
/// # Errors
/// [`RevokedError`]; what stood there stands.
pub(crate) fn place(paths: &Paths, list: &Krl) -> Result<(), RevokedError> {
    // Enrolment and the agent write under the same names.
    let _turn = turn(paths, TURN)?;
    let folder = paths.revoked.parent().unwrap_or(Path::new("/"));
    safe::folder(folder, FOLDER_MODE)?;
    let draft = safe::draft(&paths.revoked, &list.to_bytes(), LIST_MODE, Durability::Disk)?;
    let tried = try_out(folder, draft.file(), list);
    for sample in SAMPLES {
        safe::remove(&folder.join(sample))?;
    }
    match tried {
        Ok(()) => Ok(draft.place()?),
        Err(error) => {
            safe::remove(draft.file())?;
            Err(error)
        }
    }
}

/// The same where sshd is told of the file already. Without one it would let nobody log in by a key, so one that only we have looked at is
/// better than none.
///
/// # Errors
/// [`RevokedError`], also where a list that was not tried was put in place.
pub(crate) fn keep(paths: &Paths, list: &Krl) -> Result<(), RevokedError> {
    let placed = place(paths, list);
    if placed.is_err() && !matches!(read(paths), Ok(Some(_))) {
        safe::draft(&paths.revoked, &list.to_bytes(), LIST_MODE, Durability::Disk)?.place()?;
    }
    placed
}

/// A lock that nobody but root can hold, and that ends with whoever does.
fn turn(paths: &Paths, patience: Duration) -> Result<File, RevokedError> {
    safe::folder(&paths.run, FOLDER_MODE)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let opened = options.custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC).open(&paths.revoked_lock);
    let failed = |source| SafeError::Io { what: "lock", path: paths.revoked_lock.clone(), source };
    let file = opened.map_err(failed)?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source).into()),
            Err(std::fs::TryLockError::WouldBlock) if begin.elapsed() >= patience => {
                return Err(RevokedError::Busy);
            }
            Err(std::fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Removes what a crash has left of a list that was being made.
pub(crate) fn sweep(paths: &Paths) {
    // Where somebody makes one, nothing is left.
    let Ok(_turn) = turn(paths, Duration::ZERO) else { return };
    let folder = paths.revoked.parent().unwrap_or(Path::new("/"));
    for name in safe::names(folder).unwrap_or_default() {
        let name = name.to_string_lossy();
        if SAMPLES.contains(&name.as_ref()) || name.starts_with('.') && name.ends_with(".new") {
            // The next list is written under the same names.
            drop(safe::remove(&folder.join(name.as_ref())));
        }
    }
}

/// Takes the list away. Only where no sshd reads it.
///
/// # Errors
/// [`SafeError`].
pub(crate) fn remove(paths: &Paths) -> Result<(), SafeError> {
    safe::remove(&paths.revoked)
}

fn try_out(folder: &Path, draft: &Path, list: &Krl) -> Result<(), RevokedError> {
    let program = Paths::program("ssh-keygen").ok_or(RevokedError::NoProgram)?;
    let other = loop {
        let one = ActivationId::from_random(random()?);
        if !list.has(one) {
            break one;
        }
    };
    let listed = list.grants.last().map_or(NOBODY.to_owned(), ToString::to_string);
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&random()?));
    let mut files: Vec<PathBuf> = Vec::new();
    for (name, key_id) in SAMPLES.into_iter().zip([listed, other.to_string()]) {
        let path = folder.join(name);
        safe::write(&path, &sample(&key, key_id, list.made)?, LIST_MODE, Durability::Memory)?;
        files.push(path);
    }
    let mut arguments = vec!["-Q".into(), "-f".into(), draft.display().to_string()];
    arguments.extend(files.iter().map(|path| path.display().to_string()));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = child::run(&program, &words, DEADLINE)?;
    let said: Vec<&str> = answer.stdout.lines().collect();
    match said.as_slice() {
        [revoked, fine] if revoked.ends_with(": REVOKED") && fine.ends_with(": ok") => Ok(()),
        _ => {
            let said = format!("{} {}", answer.stdout.trim(), answer.stderr.trim());
            Err(RevokedError::Unread { said: said.trim().to_owned() })
        }
    }
}

/// A certificate that opens nothing: its CA is made here and forgotten.
fn sample(key: &PrivateKey, key_id: String, at: Timestamp) -> Result<String, RevokedError> {
    let after = u64::try_from(at.0).unwrap_or_default();
    let before = after.saturating_add(u64::from(Span::MINUTE.0));
    let mut builder =
        Builder::new(random::<32>()?.to_vec(), key.public_key().key_data().clone(), after, before)?;
    builder.cert_type(CertType::User)?.key_id(key_id)?;
    builder.valid_principal(NOBODY)?;
    Ok(format!("{}\n", builder.sign(key)?.to_openssh()?))
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enrolment and the agent that runs may make one at the same time.
    #[test]
    fn x_l_two_who_make_the_list_do_not_come_between_each_other() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        for folder in ["etc/ssh", "run"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let now = clock::read().wall;
        let make = |number: u64| {
            for step in 0..5 {
                let grants = [ActivationId::from_random(random().unwrap())].into();
                place(&paths, &Krl { version: number + step, made: now, grants }).unwrap();
                sweep(&paths);
            }
        };
        thread::scope(|scope| {
            for number in 1..4 {
                scope.spawn(move || make(number));
            }
        });
        assert!(matches!(read(&paths), Ok(Some(_))));
    }
}
