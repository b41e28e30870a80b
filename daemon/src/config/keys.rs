//! `[keys]`: where the daemon's signing keys live.
//!
//! In: the table's text. Out: [`KeyPlaces`]. Spec: docs/config.md "Keys".

use std::path::PathBuf;

use elevate_protocol::signers::TrustedKey;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::signer::Signer;

/// What to write.
pub(super) const FORM: &str =
    "\"file\" or { agent = \"/run/…/socket\", key = \"ssh-ed25519 … or ecdsa-sha2-nistp256 …\" }";

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyPlaces {
    /// The key that signs grants, or that will after the next rotation.
    grant: KeyPlace,
}

/// Where one key lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write \"file\" or { agent = \"/run/…/socket\", key = \"ssh-ed25519 …\" }")]
enum KeyPlace {
    /// In the folder of keys.
    File(FileWord),
    /// Behind an ssh-agent socket.
    Agent(AgentKey),
}

impl Default for KeyPlace {
    fn default() -> Self {
        Self::File(FileWord::File)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum FileWord {
    #[serde(rename = "file")]
    File,
}

/// A key of an ssh-agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentKey {
    /// Its socket.
    agent: PathBuf,
    /// The public key, of which the type is pinned too.
    key: String,
}

impl KeyPlaces {
    /// Whether the names are those of a socket and of a key that may sign.
    pub(super) fn is_usable(&self) -> bool {
        match &self.grant {
            KeyPlace::File(FileWord::File) => true,
            KeyPlace::Agent(_) => self.signer().is_some(),
        }
    }

    /// The agent's key; none: keys are files.
    #[must_use]
    pub(crate) fn signer(&self) -> Option<Signer> {
        let KeyPlace::Agent(AgentKey { agent, key }) = &self.grant else { return None };
        let key = PublicKey::from_openssh(key.trim()).ok()?;
        let known = TrustedKey::new(&key, None).is_ok() && agent.is_absolute();
        known.then(|| Signer::agent(agent.clone(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_file_or_behind_a_socket_and_nothing_else() {
        let parse = |text: &str| toml::from_str::<KeyPlaces>(text);
        assert!(parse("").unwrap().signer().is_none());
        assert!(parse("grant = \"file\"").unwrap().is_usable());
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
        let ed = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC";
        for key in [p256, ed] {
            let places = parse(&format!("grant = {{ agent = \"/run/a\", key = \"{key}\" }}")).unwrap();
            assert!(places.is_usable(), "{key}");
            assert_eq!(toml::from_str::<KeyPlaces>(&toml::to_string(&places).unwrap()).unwrap(), places);
        }
        for (agent, key) in [("run/a", ed), ("/run/a", "ssh-rsa AAAA"), ("/run/a", "")] {
            let places = parse(&format!("grant = {{ agent = \"{agent}\", key = \"{key}\" }}")).unwrap();
            assert!(!places.is_usable(), "{agent} {key}");
        }
        assert!(parse("grant = \"agent\"").unwrap_err().to_string().contains("write \"file\""));
    }
}
