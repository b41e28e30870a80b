//! client.toml: which daemons a person knows, by address and pinned key.
//!
//! In: ~/.config/elevate/client.toml and /etc/elevate/client.toml, paste strings. Out: a server to talk to.
//! Nobody is talked to who is not pinned. Spec: docs/cli.md "Daemons".

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use elevate_protocol::message::refusal::Code;
use elevate_protocol::paste::{Paste, PasteError, PasteKind, is_address, is_fingerprint};
use elevate_protocol::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::door::ssh::Server;

/// The site's file.
pub const SITE: &str = "/etc/elevate/client.toml";
/// The person's file, under their home folder.
pub const OWN: &str = ".config/elevate/client.toml";
/// Longest file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Why a daemon could not be chosen or kept.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Somebody else could have written it.
    #[error("{path} is not used: {why}")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// Not what belongs there.
    #[error("{path} is not in order")]
    Form {
        /// Which.
        path: PathBuf,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// The wanted daemon is not pinned.
    #[error("ELEVATE_SERVER={wanted} is no daemon that you know")]
    NotPinned {
        /// As asked.
        wanted: String,
    },
    /// Not a paste string.
    #[error(transparent)]
    Paste(#[from] PasteError),
    /// For a host, not for a person.
    #[error("this string enrols a host, not a person")]
    ForHost,
    /// Another key is pinned for that address.
    #[error("for {address} another key is pinned in {path}")]
    OtherKey {
        /// The address.
        address: String,
        /// Where.
        path: PathBuf,
    },
}

impl SettingsError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::Internal,
            Self::Foreign { .. } | Self::OtherKey { .. } => Code::Integrity,
            Self::Form { .. } | Self::NotPinned { .. } | Self::Paste(_) | Self::ForHost => Code::Usage,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File { .. } | Self::Form { .. } | Self::Paste(_) => return None,
            Self::Foreign { .. } => "it must be yours or root's, and nobody else may write it",
            Self::NotPinned { .. } => "elevate login STRING pins a daemon; an administrator makes the string",
            Self::ForHost => "on the host, as root: elevate-agent enroll < FILE",
            Self::OtherKey { .. } => {
                "ask an administrator; only if the daemon was set up anew: take the old entry out of the file and try again"
            }
        };
        Some(hint.to_owned())
    }
}

/// One daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// A name for ELEVATE_SERVER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    address: Address,
    fingerprint: Fingerprint,
    /// The key to show there; none: whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// The token of an invitation, until `elevate mfa add` has used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Secret>,
}

/// `NAME:PORT`, safe to show and to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Address(String);

/// `SHA256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Fingerprint(String);

impl TryFrom<String> for Address {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_address(&text) { Ok(Self(text)) } else { Err("an address is NAME:PORT") }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_fingerprint(&text) { Ok(Self(text)) } else { Err("a fingerprint is SHA256: and 43 letters") }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// A file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default)]
    daemon: Vec<Daemon>,
}

impl Daemon {
    /// Where to connect and which key to expect.
    #[must_use]
    pub fn server(&self) -> Server {
        Server { address: self.address.0.clone(), fingerprint: self.fingerprint.0.clone() }
    }

    fn answers_to(&self, wanted: &str) -> bool {
        let host = self.address.0.rsplit_once(':').map(|(host, _)| host);
        self.name.as_deref() == Some(wanted) || self.address.0 == wanted || host == Some(wanted)
    }
}

/// The daemon that `wanted` names, or the first of the person's file and then of the site's. None when there is none.
///
/// # Errors
/// A [`SettingsError`] for a file that is there and not in order, or a name that is not pinned.
pub fn choose(
    own: &Path,
    site: &Path,
    owner: u32,
    wanted: Option<&str>,
) -> Result<Option<Daemon>, SettingsError> {
    let mut known = load(own, owner)?.daemon;
    known.extend(load(site, 0)?.daemon);
    match wanted {
        None => Ok(known.into_iter().next()),
        Some(wanted) => known
            .into_iter()
            .find(|daemon| daemon.answers_to(wanted))
            .map(Some)
            .ok_or_else(|| SettingsError::NotPinned { wanted: wanted.to_owned() }),
    }
}

/// Keeps the daemon of a paste string in the person's file, as the first, with its invitation.
///
/// # Errors
/// A [`SettingsError`]; the file is as before then.
pub fn keep(own: &Path, owner: u32, line: &str) -> Result<Daemon, SettingsError> {
    let paste: Paste = line.parse()?;
    match paste.kind {
        PasteKind::Host => return Err(SettingsError::ForHost),
        PasteKind::Person | PasteKind::Daemon => {}
    }
    let mut known = load(own, owner)?;
    let before = known.daemon.iter().position(|daemon| daemon.address.0 == paste.address);
    let mut daemon = Daemon {
        name: None,
        address: Address(paste.address),
        fingerprint: Fingerprint(paste.fingerprint),
        identity: None,
        invitation: paste.token,
    };
    if let Some(place) = before {
        let old = known.daemon.remove(place);
        if old.fingerprint != daemon.fingerprint {
            return Err(SettingsError::OtherKey { address: daemon.address.0, path: own.to_owned() });
        }
        daemon.name = old.name;
        daemon.identity = old.identity;
        daemon.invitation = daemon.invitation.or(old.invitation);
    }
    known.daemon.insert(0, daemon.clone());
    save(own, &known)?;
    Ok(daemon)
}

/// Forgets the invitation for a daemon: it works once.
///
/// # Errors
/// A [`SettingsError`]; the file is as before then.
pub fn forget_invitation(own: &Path, owner: u32, server: &Server) -> Result<(), SettingsError> {
    let mut known = load(own, owner)?;
    for daemon in known.daemon.iter_mut().filter(|daemon| daemon.server() == *server) {
        daemon.invitation = None;
    }
    save(own, &known)
}

fn load(path: &Path, owner: u32) -> Result<Known, SettingsError> {
    let failed = |source| SettingsError::File { path: path.to_owned(), source };
    let foreign = |why| SettingsError::Foreign { path: path.to_owned(), why };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Known::default()),
        Err(error) => return Err(failed(error)),
    };
    let about = file.metadata().map_err(failed)?;
    // The pinned keys stand here: who writes this file chooses the daemon.
    if about.uid() != owner && about.uid() != 0 {
        return Err(foreign("it belongs to somebody else"));
    }
    if about.mode() & 0o022 != 0 {
        return Err(foreign("others may write it"));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    toml::from_str(&text)
        .map_err(|source| SettingsError::Form { path: path.to_owned(), source: Box::new(source) })
}

fn save(path: &Path, known: &Known) -> Result<(), SettingsError> {
    let failed = |source| SettingsError::File { path: path.to_owned(), source };
    let text = toml::to_string(known).map_err(|error| failed(std::io::Error::other(error)))?;
    let text = Secret::new(format!(
        "# Written by elevate login. The fingerprints say which daemons are yours.\n{text}"
    ));
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let fresh = folder.join(format!(".client.toml.{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&fresh, path));
    written.map_err(|source| {
        // The half-written file holds an invitation; it is no use to anybody.
        match std::fs::remove_file(&fresh) {
            Ok(()) | Err(_) => failed(source),
        }
    })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
