//! The daemon's own keys: host key, grant key, seal key, each in a file of its own.
//!
//! In: `DATA_DIR/keys`. Out: the keys. A file that others can read, or that is a symlink or of another user, is refused.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

/// The file of the first grant key.
pub(crate) const GRANT_FILE: &str = "grant";
/// The file of the key that signs SSH certificates for people.
pub(crate) const USER_CA_FILE: &str = "ssh_user_ca";
/// The file of the key that signs SSH certificates for hosts.
pub(crate) const HOST_CA_FILE: &str = "ssh_host_ca";
/// Longest key file in bytes.
const FILE_MAX: u64 = 16 * 1024;
/// Bytes of the seal key.
const SEAL: usize = 32;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Not there, or not readable.
    #[error("cannot read the key {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Cannot be written.
    #[error("cannot write the key {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read it, or it is not ours, or no plain file.
    #[error("the key {path} must be a plain file of uid {uid} that nobody else can read (mode 0600)")]
    Open {
        /// The file.
        path: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// Not a key.
    #[error("{path} holds no {what}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
}

/// All of them.
pub(crate) struct Keys {
    /// What the listener shows.
    pub(crate) host: PrivateKey,
    /// Seals seeds.
    pub(crate) seal: Zeroizing<[u8; SEAL]>,
}

/// Where they are.
#[must_use]
pub(crate) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// Whoever runs this: whose the keys are of a daemon.
pub(crate) fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn read_secret(path: &Path, uid: u32) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |source| KeyError::Read { path: path.to_owned(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.uid() != uid || meta.mode() & 0o077 != 0 || meta.len() > FILE_MAX {
        return Err(KeyError::Open { path: path.to_owned(), uid });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// A key of one's own that signs.
#[cfg(test)]
pub(crate) fn read_signing(path: &Path) -> Result<PrivateKey, KeyError> {
    read_signing_of(own_uid(), path)
}

/// A key that signs, of a type that may sign here, in a file of this account.
///
/// # Errors
/// A [`KeyError`].
pub(crate) fn read_signing_of(uid: u32, path: &Path) -> Result<PrivateKey, KeyError> {
    let text = read_secret(path, uid)?;
    let what = "unencrypted OpenSSH Ed25519 or ECDSA P-256 private key";
    let form = || KeyError::Form { path: path.to_owned(), what };
    let key = PrivateKey::from_openssh(text.as_str()).map_err(|_| form())?;
    let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    let known = [Algorithm::Ed25519, p256].contains(&key.algorithm());
    if key.is_encrypted() || !known { Err(form()) } else { Ok(key) }
}

/// A new P-256 key; none where the bytes are no number below the curve's order, as one in 2^32 is not, or begin with a zero: OpenSSH's
/// programs write such a number shorter, and the library does not read that again.
pub(crate) fn p256(seed: &[u8; SEAL]) -> Option<PrivateKey> {
    if seed.starts_with(&[0]) {
        return None;
    }
    let private = p256::SecretKey::from_slice(seed).ok()?;
    let public = private.public_key().into();
    Some(EcdsaKeypair::NistP256 { public, private: private.into() }.into())
}

fn read_seal(uid: u32, path: &Path) -> Result<Zeroizing<[u8; SEAL]>, KeyError> {
    let text = read_secret(path, uid)?;
    let form = || KeyError::Form { path: path.to_owned(), what: "seal key of 64 hexadecimal letters" };
    let letters = text.trim_end();
    if letters.len() != SEAL.saturating_mul(2) || !letters.is_ascii() {
        return Err(form());
    }
    let mut seal = Zeroizing::new([0u8; SEAL]);
    for (at, byte) in seal.iter_mut().enumerate() {
        let from = at.saturating_mul(2);
        let pair = letters.get(from..from.saturating_add(2)).ok_or_else(form)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| form())?;
    }
    Ok(seal)
}

impl KeyError {
    /// Whether whoever asks may not look, which says nothing about the key.
    #[must_use]
    pub(crate) fn is_no_entry(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Write { .. } | Self::Open { .. } | Self::Form { .. } => false,
        }
    }
}

impl Keys {
    /// Reads them all.
    ///
    /// # Errors
    /// The first [`KeyError`].
    pub(crate) fn read(data_dir: &Path) -> Result<Self, KeyError> {
        Self::read_of(own_uid(), data_dir)
    }

    /// The same of the account whose they have to be.
    ///
    /// # Errors
    /// The first [`KeyError`].
    pub(crate) fn read_of(uid: u32, data_dir: &Path) -> Result<Self, KeyError> {
        let folder = folder(data_dir);
        let host = read_signing_of(uid, &folder.join("host"))?;
        Ok(Self { host, seal: read_seal(uid, &folder.join("seal"))? })
    }

    /// Makes and writes them all; files that are there are never touched. The seeds come from the system's randomness.
    ///
    /// # Errors
    /// A [`KeyError`]; a file that is there is one.
    pub(crate) fn make(data_dir: &Path, seeds: &Zeroizing<[[u8; SEAL]; 3]>) -> Result<Self, KeyError> {
        let folder = folder(data_dir);
        let [host, grant, seal] = &**seeds;
        let keys =
            Self { host: PrivateKey::from(Ed25519Keypair::from_seed(host)), seal: Zeroizing::new(*seal) };
        write_signing(&folder.join("host"), &keys.host)?;
        let grant = PrivateKey::from(Ed25519Keypair::from_seed(grant));
        write_signing(&folder.join(GRANT_FILE), &grant)?;
        let mut letters = Zeroizing::new(String::with_capacity(SEAL.saturating_mul(2)));
        for byte in seal {
            letters.push_str(&format!("{byte:02x}"));
        }
        letters.push('\n');
        write_secret(&folder.join("seal"), &letters)?;
        Ok(keys)
    }

    /// The host key's fingerprint as OpenSSH writes it.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> String {
        self.host.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

/// A new file; one that is there is never touched.
///
/// # Errors
/// A [`KeyError`].
pub(crate) fn write_signing(path: &Path, key: &PrivateKey) -> Result<(), KeyError> {
    let form = |_| KeyError::Form { path: path.to_owned(), what: "writable key" };
    write_secret(path, &key.to_openssh(LineEnding::LF).map_err(form)?)
}

fn write_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| KeyError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder(place.path())).unwrap();
        Keys::make(place.path(), &Zeroizing::new([[1; 32], [2; 32], [0xa3; 32]])).unwrap();
        place
    }

    #[test]
    fn keys_are_read_back_and_never_overwritten() {
        let place = made();
        let keys = Keys::read(place.path()).unwrap();
        assert_eq!(*keys.seal, [0xa3; 32]);
        let grant = read_signing(&folder(place.path()).join(GRANT_FILE)).unwrap();
        assert_ne!(keys.host.public_key(), grant.public_key());
        let again = Keys::make(place.path(), &Zeroizing::new([[9; 32]; 3]));
        assert!(matches!(again, Err(KeyError::Write { .. })));
        assert_eq!(Keys::read(place.path()).unwrap().fingerprint(), keys.fingerprint());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_named() {
        for name in ["host", "seal"] {
            let place = made();
            let path = folder(place.path()).join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
            match Keys::read(place.path()) {
                Err(KeyError::Open { path: named, .. }) => assert_eq!(named, path),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("read"),
            }
        }
    }

    #[test]
    fn a_key_cut_short_is_refused() {
        let place = made();
        for name in ["host", "seal"] {
            let path = folder(place.path()).join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, &text[..text.len() / 2]).unwrap();
            assert!(matches!(Keys::read(place.path()), Err(KeyError::Form { .. })), "{name}");
            std::fs::write(&path, text).unwrap();
        }
    }
}
