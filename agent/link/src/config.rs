//! The link's part of /etc/elevate/agent.toml: where the daemon is and which key it has.
//!
//! In: the file. Out: [`Daemon`], checked. The other keys are the agent's, which refuses unknown ones. Spec: docs/config.md.

use std::io;
use std::path::{Path, PathBuf};

use elevate_protocol::paste::{is_address, is_fingerprint};
use serde::Deserialize;

/// Longest configuration file in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Not there, or not readable by this user.
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// Too long to be one.
    #[error("{path} is longer than {FILE_MAX} bytes")]
    Length { path: PathBuf },
    /// Not TOML, or a key is missing.
    #[error("{path} is not valid")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    /// A value that is not what it should be.
    #[error("{path}: {key} is not valid: write {form}")]
    Value { path: PathBuf, key: &'static str, form: &'static str },
}

#[derive(Deserialize)]
struct Part {
    daemon: String,
    fingerprint: String,
}

/// Where the daemon is, and the one host key that it may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// `NAME:PORT`.
    pub(crate) address: String,
    /// `SHA256:…`.
    pub(crate) fingerprint: String,
}

/// Reads the file.
///
/// # Errors
/// A [`ConfigError`] that names the file and the key.
pub(crate) fn read(path: &Path) -> Result<Daemon, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX {
        return Err(ConfigError::Length { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let part: Part = toml::from_str(&text)
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
    let value = |key, form| ConfigError::Value { path: path.to_owned(), key, form };
    if !is_address(&part.daemon) {
        return Err(value("daemon", "NAME:PORT"));
    }
    if !is_fingerprint(&part.fingerprint) {
        return Err(value("fingerprint", "SHA256: and 43 letters of base64, as ssh-keygen -l prints it"));
    }
    Ok(Daemon { address: part.daemon, fingerprint: part.fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_and_its_key_are_both_needed_and_both_checked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.toml");
        let good = "daemon = \"d.example:7022\"\nfingerprint = \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"\n";
        std::fs::write(&path, format!("{good}host = \"x\"\nname = \"web1\"\n")).unwrap();
        assert_eq!(read(&path).unwrap().address, "d.example:7022");
        std::fs::write(&path, good.replace("SHA256:4", "MD5:4")).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Value { key: "fingerprint", .. })));
        std::fs::write(&path, good.replace(":7022", "")).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Value { key: "daemon", .. })));
        std::fs::write(&path, "daemon = \"d:1\"\n").unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Parse { .. })));
    }
}
