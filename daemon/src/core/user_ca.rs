//! Which key signs SSH certificates for people: made at the first start, or the agent's that the configuration names; then the next one,
//! after a rotation. Hosts trust both until the one before is over.
//!
//! In: the configured place, the store's rows. Out: the keys, ready to sign; their public halves for hosts, in a document for each (threat
//! E02: they sign nothing else).

use elevate_audit::{Kind, Subject};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::{AdminOutcome, KeyState, KeyView, Signs};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::ssh::{USER_CAS_MAX, UserCas};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use zeroize::Zeroizing;

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse};
use super::keys::{
    OVERLAP, Source, TOO_MANY, can_tell, configured, fingerprint, line, next, place_of, rotated, signer_of,
    tell,
};
use super::{CoreError, Inner, KeySetup, keys as grant_keys, random};
use crate::issue::certificate::{UserCa, Which};
use crate::keys::{self, USER_CA_FILE};
use crate::log::chain;
use crate::signer::Signer;
use crate::store::{Store, Tx, UserCaRow, Voice};

const BROKEN: Fault = Fault::Broken { what: "the key for certificates" };

/// The keys that hosts trust. On a new store the configured one, which then is the first.
pub(super) async fn known(store: &Store, setup: &KeySetup) -> Result<UserCa, CoreError> {
    let mut tx = store.write().await?;
    let serial = tx.next_serial().await?;
    let rows = tx.user_cas().await?;
    if !rows.is_empty() {
        let at = |row: &UserCaRow| -> Result<_, CoreError> {
            let found = signer_of((&row.public, &row.place), (setup.user_ca.as_ref(), &setup.folder))?;
            Ok((row.number, found))
        };
        let trusted: Result<_, _> = rows.iter().filter(|row| !row.over).map(at).collect();
        return Ok(UserCa::new(trusted?, serial));
    }
    let signer = match &setup.user_ca {
        Some(signer) => signer.clone(),
        None => Signer::here(first(setup)?),
    };
    let row = (line(signer.public_key())?, place_of(&signer, USER_CA_FILE));
    let number = tx.replace_user_ca(tx.now(), (&row.0, &row.1)).await?;
    tx.commit().await?;
    Ok(UserCa::new(vec![(number, signer)], serial))
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

/// What hosts are to trust.
pub(super) async fn trusted(tx: &mut Tx) -> Result<UserCas, Fault> {
    let rows = tx.user_cas().await?.into_iter().filter(|row| !row.over);
    let keys: Result<Vec<_>, _> = rows.map(|row| row.public.parse()).collect();
    UserCas::try_from(keys.map_err(|_| BROKEN)?).map_err(|_| BROKEN)
}

/// The key that every host of a grant knows: a host that is away has not heard of the last rotation, and trusts the key before.
pub(super) async fn known_to(core: &Inner, grant: ActivationId) -> Result<Which, Fault> {
    if core.user_ca.is_one() || !core.store.glance().await?.has_unheard_keys(grant).await? {
        return Ok(Which::Newest);
    }
    Ok(Which::Oldest)
}

/// Replaces the key that signs certificates, all or nothing.
pub(super) async fn rotate(core: &Inner, talk: &Dialogue, overlap: Option<Span>) -> Told<AdminOutcome> {
    can_tell(core).await?;
    let rows = core.store.read().await?.user_cas().await?;
    // Looked at before a key is made, and again where nobody else can come between.
    if trusted_of(&rows) >= USER_CAS_MAX {
        return refuse(Code::Usage, TOO_MANY);
    }
    let source = Source {
        agent: core.keys.user_ca.as_ref(),
        setting: "keys.ssh_user_ca",
        file: USER_CA_FILE,
        known: rows.iter().map(|row| row.public.as_str()).collect(),
    };
    let (signer, place) = next(&source, &core.keys.folder).await?;
    let mut tx = core.store.write().await?;
    let until = tx.now().after(overlap.unwrap_or(OVERLAP));
    let before = tx.user_cas().await?.pop().ok_or(BROKEN)?;
    let number = tx.replace_user_ca(until, (&line(signer.public_key())?, &place)).await?;
    if trusted_of(&tx.user_cas().await?) > USER_CAS_MAX {
        return refuse(Code::Usage, TOO_MANY);
    }
    let by = core.issuer.signer(&mut tx).await?;
    let hosts = tell(core, &mut tx, &by).await?;
    let from = before.public.parse().map_err(|_| BROKEN)?;
    rotated(&mut tx, &talk.voice, (Signs::SshUserCa, &from, signer.public_key()), (until, hosts)).await?;
    tx.commit().await?;
    core.issuer.bell.notify_one();
    core.user_ca.learn(number, signer);
    grant_keys::list(core).await
}

fn trusted_of(rows: &[UserCaRow]) -> usize {
    rows.iter().filter(|row| !row.over).count()
}

/// Ends the trust in keys whose time is over; their numbers.
pub(super) async fn due(core: &Inner, tx: &mut Tx) -> Result<Vec<u64>, Fault> {
    let over = tx.end_user_cas().await?;
    if over.is_empty() {
        return Ok(Vec::new());
    }
    let by = core.issuer.signer(tx).await?;
    let hosts = tell(core, tx, &by).await?;
    for (_, public) in &over {
        let kind = Kind::KeyOver { key: fingerprint(public), hosts };
        tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    }
    Ok(over.into_iter().map(|(number, _)| number).collect())
}

/// After that is durable. Another rotation may have come meanwhile: its key stays.
pub(super) fn forget(core: &Inner, over: &[u64]) {
    core.user_ca.forget(over);
}

/// Which keys there are, and whether the one that signs can be asked.
pub(super) async fn list(core: &Inner) -> Told<Vec<KeyView>> {
    let rows = core.store.read().await?.user_cas().await?;
    let problem = match core.user_ca.signer() {
        Some(signer) => signer.probe().await.err(),
        None => None,
    };
    let problem = problem.map(|error| UntrustedText::lossy(&chain(&error)));
    let mut views = Vec::new();
    for row in rows {
        let state = match (row.until, row.over) {
            (None, _) => KeyState::Signs,
            (Some(_), false) => KeyState::Replaced,
            (Some(_), true) => KeyState::Over,
        };
        views.push(KeyView {
            signs: Signs::SshUserCa,
            state,
            fingerprint: fingerprint(&row.public),
            key: row.public,
            place: row.place,
            since: Some(row.since),
            until: row.until,
            waiting: 0,
            problem: problem.clone().filter(|_| state == KeyState::Signs),
        });
    }
    if let Some(agent) = &core.keys.user_ca {
        views.extend(configured(Signs::SshUserCa, agent, &views).await?);
    }
    Ok(views)
}
