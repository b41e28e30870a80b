//! Which key signs SSH certificates for people: made at the first start, or the agent's that the configuration names; from then on
//! that one and no other, since hosts trust it.
//!
//! In: the configured place, the store's row. Out: the key, ready to sign; its public half for hosts (threat E02: it signs nothing else).

use std::path::PathBuf;

use elevate_protocol::ssh::UserCas;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::keys::BEHIND;
use super::{CoreError, KeySetup, random};
use crate::issue::certificate::UserCa;
use crate::keys::{self, USER_CA_FILE};
use crate::signer::Signer;
use crate::store::{Store, Tx, UserCaRow};

const BROKEN: Fault = Fault::Broken { what: "the key for certificates" };

/// The key that signs certificates.
pub(super) async fn known(store: &Store, setup: &KeySetup) -> Result<UserCa, CoreError> {
    let mut tx = store.write().await?;
    let next = tx.next_serial().await?;
    if let Some(row) = tx.user_ca().await? {
        return Ok(UserCa::new(row.number, signer_of(&row, setup)?, next));
    }
    let signer = match &setup.user_ca {
        Some(signer) => signer.clone(),
        None => Signer::here(first(setup)?),
    };
    let place = signer
        .socket()
        .map_or_else(|| USER_CA_FILE.to_owned(), |socket| format!("{BEHIND}{}", socket.display()));
    let row = UserCaRow { number: 1, public: signer.line().map_err(|_| BROKEN)?, place };
    tx.insert_user_ca(&row).await?;
    tx.commit().await?;
    Ok(UserCa::new(row.number, signer, next))
}

/// The file, or a new one: one that is there already was made by a start that got no further.
fn first(setup: &KeySetup) -> Result<PrivateKey, CoreError> {
    let path = setup.folder.join(USER_CA_FILE);
    if std::fs::symlink_metadata(&path).is_err() {
        let seed = Zeroizing::new(random::<32>()?);
        keys::write_signing(&path, &PrivateKey::from(Ed25519Keypair::from_seed(&seed)))?;
    }
    Ok(keys::read_signing(&path)?)
}

/// The configuration says where it is now; the row says which key it must be.
fn signer_of(row: &UserCaRow, setup: &KeySetup) -> Result<Signer, CoreError> {
    let found = match (&setup.user_ca, row.place.strip_prefix(BEHIND)) {
        (Some(agent), _) => agent.clone(),
        (None, Some(socket)) => return Err(CoreError::OtherCa { place: PathBuf::from(socket) }),
        (None, None) => Signer::here(keys::read_signing(&setup.folder.join(USER_CA_FILE))?),
    };
    if found.line().map_err(|_| BROKEN)? == row.public {
        return Ok(found);
    }
    let file = || setup.folder.join(USER_CA_FILE);
    Err(CoreError::OtherCa { place: found.socket().map_or_else(file, ToOwned::to_owned) })
}

/// What hosts are to trust.
pub(super) async fn trusted(tx: &mut Tx) -> Result<UserCas, Fault> {
    let Some(row) = tx.user_ca().await? else { return Ok(UserCas::default()) };
    let key = row.public.parse().map_err(|_| BROKEN)?;
    UserCas::try_from(vec![key]).map_err(|_| BROKEN)
}
