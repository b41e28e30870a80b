//! The link key: authenticates the transport and nothing else.
//!
//! In: its path. Out: the key, read or made. A file that others can read or that is a symlink is refused (STYLE §6).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

/// Longest key file in bytes.
const FILE_MAX: u64 = 16 * 1024;

/// Why there is no link key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Not there, or not readable.
    #[error("cannot read the link key {path}; `elevate-agent enroll` makes it")]
    Read { path: PathBuf, source: io::Error },
    /// Cannot be made.
    #[error("cannot make the link key {path}")]
    Make { path: PathBuf, source: io::Error },
    /// Of another user, or open to others, or no plain file.
    #[error("the link key {path} must be a plain file of uid {uid} with mode 0600")]
    Open { path: PathBuf, uid: u32 },
    /// Not an unencrypted Ed25519 key in OpenSSH's form.
    #[error("the link key {path} is no unencrypted OpenSSH Ed25519 key")]
    Form { path: PathBuf },
    /// No randomness.
    #[error("the system gives no randomness")]
    Random { source: getrandom::Error },
}

fn parse(path: &Path, text: &str) -> Result<PrivateKey, KeyError> {
    let form = || KeyError::Form { path: path.to_owned() };
    let key = PrivateKey::from_openssh(text).map_err(|_| form())?;
    if key.is_encrypted() || key.algorithm() != Algorithm::Ed25519 { Err(form()) } else { Ok(key) }
}

/// Reads the key.
///
/// # Errors
/// A [`KeyError`].
pub(crate) fn read(path: &Path) -> Result<PrivateKey, KeyError> {
    let unreadable = |source| KeyError::Read { path: path.to_owned(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    let uid = nix::unistd::geteuid().as_raw();
    if !meta.is_file() || meta.uid() != uid || meta.mode() & 0o077 != 0 || meta.len() > FILE_MAX {
        return Err(KeyError::Open { path: path.to_owned(), uid });
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(unreadable)?;
    parse(path, &text)
}

/// Reads the key, or makes it where there is none.
///
/// # Errors
/// A [`KeyError`].
pub(crate) fn read_or_make(path: &Path) -> Result<PrivateKey, KeyError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|source| KeyError::Random { source })?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path),
        Err(source) => return Err(KeyError::Make { path: path.to_owned(), source }),
    };
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF).map_err(|_| KeyError::Form { path: path.to_owned() })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // A key cut short would be found by the next attempt and refused for ever.
        return Err(match std::fs::remove_file(path) {
            Ok(()) => KeyError::Make { path: path.to_owned(), source },
            Err(source) => KeyError::Make { path: path.to_owned(), source },
        });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        let made = read_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&path).unwrap().public_key(), made.public_key());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_a_symlink_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        read_or_make(&path).unwrap();
        std::os::unix::fs::symlink(&path, place.path().join("link")).unwrap();
        assert!(matches!(read_or_make(&place.path().join("link")), Err(KeyError::Read { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(KeyError::Open { .. })));
    }
}
