//! Where the keys live that sign: as the configuration names them, as the rows say, and how one follows when a key has moved.
//!
//! In: the configured places, the store's rows, the folder of keys. Out: the signers; rows that say where each was taken from last. So a
//! key that moved into an agent is found there when the configuration names the next one. Spec: docs/config.md "Keys".

use std::path::{Path, PathBuf};

use elevate_protocol::message::admin::{KeyType, Signs};
use elevate_protocol::time::Timestamp;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::own_key::{self, EVERYTHING};
use super::{CoreError, KeySetup, random};
use crate::keys::{self, GRANT_FILE, HOST_CA_FILE, USER_CA_FILE};
use crate::signer::Signer;
use crate::store::{Authority, Glimpse, Store, StoreError, Tx};

/// Before the socket, in the place of a key behind an agent.
const BEHIND: &str = "agent:";

/// Where the keys are that sign one thing.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) signs: Signs,
    /// The agent's key that the configuration names.
    pub(super) agent: Option<&'a Signer>,
    /// The file of the first one; a new one's name begins so.
    pub(super) file: &'static str,
    setup: &'a KeySetup,
}

/// A key that a start needs.
pub(super) struct InUse {
    pub(super) number: u64,
    public: String,
    place: String,
}

impl KeySetup {
    pub(super) fn home(&self, signs: Signs) -> Home<'_> {
        let (agent, file) = match signs {
            Signs::Grants => (&self.agent, GRANT_FILE),
            Signs::SshUserCa => (&self.user_ca, USER_CA_FILE),
            Signs::SshHostCa => (&self.host_ca, HOST_CA_FILE),
        };
        Home { signs, agent: agent.as_ref(), file, setup: self }
    }
}

/// The setting of daemon.toml that names the key.
pub(super) fn setting(signs: Signs) -> &'static str {
    match signs {
        Signs::Grants => "keys.grant",
        Signs::SshUserCa => "keys.ssh_user_ca",
        Signs::SshHostCa => "keys.ssh_host_ca",
    }
}

/// `file`, or where the agent is.
pub(super) fn place_of(signer: &Signer, file: &str) -> String {
    signer.socket().map_or_else(|| file.to_owned(), |socket| format!("{BEHIND}{}", socket.display()))
}

/// The name of the file of a key that is not the first.
pub(super) fn file_of(file: &str, key: &PublicKey) -> String {
    let print = key.fingerprint(HashAlg::Sha256);
    let letters: String = print.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{file}-{letters}")
}

impl Home<'_> {
    /// The key of a row. The configuration says where an agent is now; the row says which key it must be.
    pub(super) fn signer(&self, row: &InUse) -> Result<Signer, CoreError> {
        let public = row.key()?;
        if let Some(agent) = self.named(&public) {
            return Ok(agent.clone());
        }
        if let Some(socket) = row.place.strip_prefix(BEHIND) {
            return Ok(Signer::agent(PathBuf::from(socket), public));
        }
        let path = self.path(&row.place);
        let key = keys::read_signing_of(self.setup.owner, &path).map_err(|source| CoreError::Key {
            signs: self.signs,
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            source,
        })?;
        if key.public_key().key_data() != public.key_data() {
            return Err(CoreError::OtherKey { path });
        }
        Ok(Signer::here(key))
    }

    /// The type of a first key. sshd checks a person's certificate several times in a login, and Ed25519 slowly; whom a host's certificate
    /// meets may take nothing else, and our own programs check documents (decision 47).
    pub(super) fn usual(&self) -> KeyType {
        match self.signs {
            Signs::SshUserCa => KeyType::Ecdsa,
            Signs::Grants | Signs::SshHostCa => KeyType::Ed25519,
        }
    }

    /// A new key.
    pub(super) fn fresh(&self, key_type: KeyType) -> Result<PrivateKey, getrandom::Error> {
        loop {
            let seed = Zeroizing::new(random::<32>()?);
            let made = match key_type {
                KeyType::Ed25519 => Some(Ed25519Keypair::from_seed(&seed).into()),
                KeyType::Ecdsa => keys::p256(&seed),
            };
            if let Some(key) = made {
                return Ok(key);
            }
        }
    }

    /// The file of the first key, which is there.
    pub(super) fn first(&self) -> Result<PrivateKey, CoreError> {
        keys::read_signing_of(self.setup.owner, &self.path(self.file))
            .map_err(|source| CoreError::FirstKey { signs: self.signs, source })
    }

    fn named(&self, key: &PublicKey) -> Option<&Signer> {
        self.agent.filter(|agent| agent.public_key().key_data() == key.key_data())
    }

    fn path(&self, place: &str) -> PathBuf {
        self.setup.folder.join(Path::new(place).file_name().unwrap_or_default())
    }

    /// Where a key is, when that is not where its row says: in the agent that is named with it, or, from an agent that is not named, back
    /// in its file.
    fn moved(&self, row: &InUse) -> Result<Option<String>, CoreError> {
        let public = row.key()?;
        if let Some(agent) = self.named(&public) {
            return Ok(Some(place_of(agent, self.file)).filter(|place| *place != row.place));
        }
        if !row.place.starts_with(BEHIND) {
            return Ok(None);
        }
        let holds = |name: &String| {
            keys::read_signing_of(self.setup.owner, &self.path(name))
                .is_ok_and(|key| key.public_key().key_data() == public.key_data())
        };
        Ok([self.file.to_owned(), file_of(self.file, &public)].into_iter().find(holds))
    }

    /// The keys that a start needs; none: it makes the first one.
    pub(super) async fn in_use(&self, tx: &mut Tx) -> Result<Vec<InUse>, StoreError> {
        let of = match self.signs {
            Signs::Grants => {
                // One that was replaced may have something left to sign only where an agent was to sign it.
                let rows =
                    tx.grant_keys().await?.into_iter().filter(|row| {
                        row.until.is_none() || row.place.starts_with(BEHIND) || row.waiting > 0
                    });
                let needed = |row: crate::store::GrantKeyRow| InUse {
                    number: row.number,
                    public: row.public,
                    place: row.place,
                };
                return Ok(rows.map(needed).collect());
            }
            Signs::SshUserCa => Authority::People,
            Signs::SshHostCa => Authority::Hosts,
        };
        let rows = tx.cas(of).await?.into_iter().filter(|row| !row.over);
        Ok(rows.map(|row| InUse { number: row.number, public: row.public, place: row.place }).collect())
    }
}

impl InUse {
    fn key(&self) -> Result<PublicKey, Fault> {
        PublicKey::from_openssh(&self.public).map_err(|_| Fault::Broken { what: "the row of a key" })
    }
}

/// At a start, before any key is taken: has the rows say where each is taken from.
pub(super) async fn follow(store: &Store, setup: &KeySetup) -> Result<(), CoreError> {
    let mut tx = store.write().await?;
    let mut said = Vec::new();
    for signs in EVERYTHING {
        let home = setup.home(signs);
        for row in home.in_use(&mut tx).await? {
            if let Some(place) = home.moved(&row)? {
                tx.move_key(signs, (&row.public, &place)).await?;
                let line = format!("the key for {} moved from {} to {place}", what(signs), row.place);
                said.push((row.place.starts_with(BEHIND) && !place.starts_with(BEHIND), line));
            }
        }
    }
    if !said.is_empty() {
        tx.commit().await?;
    }
    for (is_back, line) in said {
        if is_back {
            crate::log::warning(&format!("{line}: its file lies there still"));
        } else {
            crate::log::info(&line);
        }
    }
    Ok(())
}

/// What a start would refuse of the keys of a data folder, whether or not a daemon works on it. Nothing is changed. A database that is not
/// there, or that only a daemon puts together, says nothing.
///
/// # Errors
/// What the start would say, or that something cannot be looked at.
pub(crate) async fn look(setup: &KeySetup, folder: &Path, now: Timestamp) -> Result<(), CoreError> {
    let Some(Glimpse { mut tx, .. }) = Glimpse::of(folder, now).await? else { return Ok(()) };
    for signs in EVERYTHING {
        let home = setup.home(signs);
        for row in home.in_use(&mut tx).await? {
            home.signer(&row)?;
        }
    }
    own_key::check_all(&mut tx, setup).await
}

/// What a key signs, for people.
pub(super) fn what(signs: Signs) -> &'static str {
    match signs {
        Signs::Grants => "grants",
        Signs::SshUserCa => "SSH certificates of people",
        Signs::SshHostCa => "SSH certificates of hosts",
    }
}
