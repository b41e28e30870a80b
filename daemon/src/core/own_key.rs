//! A key signs one thing: grants, certificates for people or certificates for hosts (threat E02).
//!
//! In: the configured keys, the store's rows. Out: whether one of them signs, or did, or is to sign, something else too.

use elevate_protocol::message::admin::Signs;
use ssh_key::PublicKey;

use super::fault::Fault;
use super::keys::line;
use super::{CoreError, KeySetup};
use crate::store::{Authority, Tx};

/// What keys sign.
pub(super) const EVERYTHING: [Signs; 3] = [Signs::Grants, Signs::SshUserCa, Signs::SshHostCa];

/// The keys that sign this, or did.
async fn of(tx: &mut Tx, signs: Signs) -> Result<Vec<String>, Fault> {
    let authority = match signs {
        Signs::Grants => return Ok(tx.grant_keys().await?.into_iter().map(|row| row.public).collect()),
        Signs::SshUserCa => Authority::People,
        Signs::SshHostCa => Authority::Hosts,
    };
    Ok(tx.cas(authority).await?.into_iter().map(|row| row.public).collect())
}

/// The keys that sign anything, or did.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<String>, Fault> {
    let mut keys = Vec::new();
    for signs in EVERYTHING {
        keys.extend(of(tx, signs).await?);
    }
    Ok(keys)
}

/// Looks whether a key signs nothing but this.
pub(super) async fn check(tx: &mut Tx, signs: Signs, key: &PublicKey) -> Result<(), CoreError> {
    let key = line(key)?;
    for other in EVERYTHING.into_iter().filter(|other| *other != signs) {
        if of(tx, other).await?.contains(&key) {
            return Err(CoreError::SharedKey { one: signs.word(), other: other.word() });
        }
    }
    Ok(())
}

/// The same for every key that the configuration names. Those of the rows were looked at when they came there.
pub(super) async fn check_all(tx: &mut Tx, setup: &KeySetup) -> Result<(), CoreError> {
    let named = [
        (Signs::Grants, &setup.agent),
        (Signs::SshUserCa, &setup.user_ca),
        (Signs::SshHostCa, &setup.host_ca),
    ];
    for (signs, signer) in named {
        if let Some(signer) = signer {
            check(tx, signs, signer.public_key()).await?;
        }
    }
    Ok(())
}
