//! Who this host is and whom it trusts: agent.toml, the signers of grants, the vouch key.
//!
//! In: root's files below /etc/elevate. Out: [`Identity`]. Runs as: root. Spec: docs/config.md.

use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::signed::{TrustedKeys, VerifyError};
use serde::{Deserialize, Serialize};
use ssh_key::PrivateKey;

use crate::paths::Paths;
use crate::safe::{self, SafeError};

/// Longest of these files, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// agent.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the daemon is, `NAME:PORT`; read by `elevate-link`.
    pub(crate) daemon: String,
    /// Fingerprint of the daemon's host key; read by `elevate-link`.
    pub(crate) fingerprint: String,
    /// This host.
    pub(crate) host: HostId,
    /// What people call it.
    pub(crate) name: Name,
    /// The cluster that may sign for it.
    pub(crate) cluster: ClusterId,
    /// Digest of the token that it was enrolled with; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paste: Option<Digest>,
    /// The account of `elevate-link`, the one peer of link.sock.
    #[serde(default = "link_user")]
    pub(crate) link_user: Name,
}

fn link_user() -> Name {
    // The literal has the form of a name; the test below holds that.
    "elevate-link".parse().unwrap_or_else(|_| unreachable!())
}

/// Why the agent cannot know who it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file that cannot be used. Not there: the host is not enrolled.
    #[error("this host is not enrolled, or its files are not as enroll left them")]
    File {
        /// Which, and why.
        source: SafeError,
    },
    /// agent.toml is not valid.
    #[error("agent.toml is not valid")]
    Parse {
        /// Line, column and key.
        source: Box<toml::de::Error>,
    },
    /// The signers file is not valid.
    #[error("the signers of grants are not valid")]
    Signers {
        /// Which line.
        source: VerifyError,
    },
    /// The vouch key is not a plain private key.
    #[error("the vouch key is not a private key without a passphrase")]
    Key,
}

/// Who this host is and whom it trusts.
#[derive(Debug)]
pub(crate) struct Identity {
    /// agent.toml.
    pub(crate) config: Config,
    /// Whose grants are obeyed.
    pub(crate) signers: TrustedKeys,
    /// Signs what this host claims.
    pub(crate) vouch: PrivateKey,
}

/// Reads all of it. Anything unclear means that no grant is obeyed.
///
/// # Errors
/// A [`ConfigError`] that names the file.
pub(crate) fn load(paths: &Paths) -> Result<Identity, ConfigError> {
    let config = read(paths)?;
    let file = |path| safe::read(path, FILE_MAX).map_err(|source| ConfigError::File { source });
    let signers = TrustedKeys::from_signers(&file(&paths.grant_signers)?)
        .map_err(|source| ConfigError::Signers { source })?;
    let vouch = PrivateKey::from_openssh(file(&paths.vouch_key)?).map_err(|_| ConfigError::Key)?;
    if vouch.is_encrypted() {
        return Err(ConfigError::Key);
    }
    Ok(Identity { config, signers, vouch })
}

/// Reads agent.toml alone.
///
/// # Errors
/// A [`ConfigError`] that names the file.
pub(crate) fn read(paths: &Paths) -> Result<Config, ConfigError> {
    let text = safe::read(&paths.config, FILE_MAX).map_err(|source| ConfigError::File { source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse { source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "daemon = \"d.example:7022\"\nfingerprint = \"SHA256:x\"\nhost = \"00000000000000000000000001\"\n\
                        name = \"web1\"\ncluster = \"00000000000000000000000002\"\n";

    #[test]
    fn the_link_account_has_a_default_and_unknown_keys_are_refused() {
        let config: Config = toml::from_str(GOOD).unwrap();
        assert_eq!(config.link_user.as_str(), "elevate-link");
        let error = toml::from_str::<Config>(&format!("{GOOD}recording = true\n")).unwrap_err();
        assert!(error.to_string().contains("line 6") && error.to_string().contains("link_user"), "{error}");
    }

    #[test]
    fn r19_a_configuration_that_was_cut_anywhere_is_none_or_says_the_same() {
        let whole: Config = toml::from_str(GOOD).unwrap();
        for length in 0..GOOD.len() {
            if let Ok(cut) = toml::from_str::<Config>(&GOOD[..length]) {
                assert_eq!(cut, whole, "{length}");
                assert_eq!(length + 1, GOOD.len(), "only the last line end may be missing");
            }
        }
    }
}
