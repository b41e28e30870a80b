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

/// The same, for a key that is there twice.
pub(super) const OWN: &str = "a key of its own: grant, ssh_user_ca and ssh_host_ca are three";

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyPlaces {
    /// The key that signs grants, or that will after the next rotation.
    grant: KeyPlace,
    /// The key that signs SSH certificates for people.
    ssh_user_ca: KeyPlace,
    /// The key that signs SSH certificates for hosts.
    ssh_host_ca: KeyPlace,
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
    /// The key whose place names no socket, or no key that may sign; none: all are good.
    pub(super) fn unusable(&self) -> Option<&'static str> {
        let all = [
            ("keys.grant", &self.grant),
            ("keys.ssh_user_ca", &self.ssh_user_ca),
            ("keys.ssh_host_ca", &self.ssh_host_ca),
        ];
        all.into_iter().find(|(_, place)| !place.is_usable()).map(|(name, _)| name)
    }

    /// The key that another one before it names too: each signs one thing; none: there is no such.
    pub(super) fn shared(&self) -> Option<&'static str> {
        let (grant, people, hosts) = (self.grant(), self.ssh_user_ca(), self.ssh_host_ca());
        let alike = |one: &Option<Signer>, other: &Option<Signer>| match (one, other) {
            (Some(one), Some(other)) => one.public_key().key_data() == other.public_key().key_data(),
            (None, _) | (_, None) => false,
        };
        if alike(&hosts, &grant) || alike(&hosts, &people) {
            return Some("keys.ssh_host_ca");
        }
        alike(&people, &grant).then_some("keys.ssh_user_ca")
    }

    /// The agent's key for grants; none: keys are files.
    #[must_use]
    pub(crate) fn grant(&self) -> Option<Signer> {
        self.grant.signer()
    }

    /// The agent's key for SSH certificates of hosts; none: it is a file.
    #[must_use]
    pub(crate) fn ssh_host_ca(&self) -> Option<Signer> {
        self.ssh_host_ca.signer()
    }

    /// The agent's key for SSH certificates; none: it is a file.
    #[must_use]
    pub(crate) fn ssh_user_ca(&self) -> Option<Signer> {
        self.ssh_user_ca.signer()
    }
}

impl KeyPlace {
    fn is_usable(&self) -> bool {
        match self {
            Self::File(FileWord::File) => true,
            Self::Agent(_) => self.signer().is_some(),
        }
    }

    fn signer(&self) -> Option<Signer> {
        let Self::Agent(AgentKey { agent, key }) = self else { return None };
        let key = PublicKey::from_openssh(key.trim()).ok()?;
        let known = TrustedKey::new(&key, None).is_ok() && agent.is_absolute();
        known.then(|| Signer::agent(agent.clone(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e02_a_key_signs_one_thing() {
        let one = "\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC\"";
        let two =
            "\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC again\"";
        for (first, second, found) in [
            ("grant", "ssh_user_ca", "keys.ssh_user_ca"),
            ("grant", "ssh_host_ca", "keys.ssh_host_ca"),
            ("ssh_user_ca", "ssh_host_ca", "keys.ssh_host_ca"),
        ] {
            let text = format!(
                "{first} = {{ agent = \"/run/a\", key = {one} }}\n{second} = {{ agent = \"/run/b\", key = {two} }}"
            );
            assert_eq!(toml::from_str::<KeyPlaces>(&text).unwrap().shared(), Some(found), "{text}");
        }
        assert_eq!(KeyPlaces::default().shared(), None);
    }

    #[test]
    fn a_key_is_a_file_or_behind_a_socket_and_nothing_else() {
        let parse = |text: &str| toml::from_str::<KeyPlaces>(text);
        assert!(parse("").unwrap().grant().is_none() && parse("").unwrap().ssh_user_ca().is_none());
        assert_eq!(parse("grant = \"file\"\nssh_user_ca = \"file\"").unwrap().unusable(), None);
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
        let ed = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC";
        for key in [p256, ed] {
            let places = parse(&format!("grant = {{ agent = \"/run/a\", key = \"{key}\" }}")).unwrap();
            assert_eq!(places.unusable(), None, "{key}");
            assert!(places.grant().is_some() && places.ssh_user_ca().is_none());
            assert_eq!(toml::from_str::<KeyPlaces>(&toml::to_string(&places).unwrap()).unwrap(), places);
        }
        for (agent, key) in [("run/a", ed), ("/run/a", "ssh-rsa AAAA"), ("/run/a", "")] {
            for name in ["grant", "ssh_user_ca", "ssh_host_ca"] {
                let places = parse(&format!("{name} = {{ agent = \"{agent}\", key = \"{key}\" }}")).unwrap();
                assert_eq!(places.unusable(), Some(&*format!("keys.{name}")), "{agent} {key}");
            }
        }
        assert!(parse("grant = \"agent\"").unwrap_err().to_string().contains("write \"file\""));
    }
}
