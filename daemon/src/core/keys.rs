//! Which grant key signs, and the change from one to the next (threat K05).
//!
//! In: the configured key, the store's rows. Out: the signer; at a rotation one transaction with a document for every host, by the
//! key before: each host's log is in order, so a host that is away learns of the new key before it meets its first document.

use std::path::PathBuf;

use elevate_audit::{Kind, Subject};
use elevate_protocol::document::{Keys, SigningKey};
use elevate_protocol::id::HostId;
use elevate_protocol::message::admin::{AdminOutcome, KeyState, KeyType, KeyView, Signs};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::signers::{SIGNERS_MAX, TrustedKey, TrustedKeys};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::{Algorithm, HashAlg, PublicKey};

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse, refuse_hint};
use super::places::{self, place_of};
use super::{CoreError, Inner, cas, own_key};
use crate::issue::Issuer;
use crate::keys;
use crate::log::chain;
use crate::signer::{SignError, Signer};
use crate::store::{Activation, Authority, Store, StoredDocument, Tx, Voice};

/// How long the key before is believed: longer than any grant lasts.
pub(super) const OVERLAP: Span = Span(25 * 3600);
/// Why there is no further key.
pub(super) const TOO_MANY: &str = "too many keys overlap: wait until one of them is over";
/// Beside the end of the last grant.
const MARGIN: Span = Span::MINUTE;

/// Where grant keys come from.
pub(crate) struct KeySetup {
    /// The folder of key files.
    pub(crate) folder: PathBuf,
    /// Whose the files have to be.
    pub(crate) owner: u32,
    /// The agent's key that the configuration names.
    pub(crate) agent: Option<Signer>,
    /// The same for the key that signs SSH certificates for people.
    pub(crate) user_ca: Option<Signer>,
    /// The same for the key that signs SSH certificates for hosts.
    pub(crate) host_ca: Option<Signer>,
}

pub(super) fn line(key: &PublicKey) -> Result<String, Fault> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    bare.to_openssh().map_err(|_| Fault::Broken { what: "a key that signs" })
}

pub(super) fn fingerprint(public: &str) -> UntrustedText {
    let key = PublicKey::from_openssh(public).ok();
    UntrustedText::lossy(&key.map(|key| key.fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default())
}

/// The key that signs, and those of agents that may have something left to sign. On a new store the configured one, which then is
/// the first.
pub(super) async fn known(store: &Store, setup: &KeySetup) -> Result<Vec<Signer>, CoreError> {
    let mut tx = store.write().await?;
    let home = setup.home(Signs::Grants);
    let rows = home.in_use(&mut tx).await?;
    if !rows.is_empty() {
        return rows.iter().map(|row| home.signer(row)).collect();
    }
    let first = match home.agent {
        Some(signer) => signer.clone(),
        None => Signer::here(home.first()?),
    };
    tx.replace_grant_key(tx.now(), (&line(first.public_key())?, &place_of(&first, home.file))).await?;
    tx.commit().await?;
    Ok(vec![first])
}

/// Asks the key that signs whether it does, outside of any transaction; none: it does.
pub(super) async fn look(core: &Inner) -> Result<Option<SignError>, Fault> {
    let (number, signer) = core.issuer.signer(&mut core.store.glance().await?).await?;
    let problem = signer.probe().await.err();
    noted(core, number, problem.as_ref(), &[]).await?;
    Ok(problem)
}

/// Notes whether a key signed. That the one that signs now is away, and that it is back, is an event each. Who waits for what was
/// to be signed looks again.
pub(super) async fn noted(
    core: &Inner,
    number: u64,
    problem: Option<&SignError>,
    waiting: &[StoredDocument],
) -> Result<(), Fault> {
    let current = core.store.glance().await?.signing_key().await?;
    if current.is_none_or(|(current, _)| current != number) || !core.issuer.note(problem.is_some()) {
        return Ok(());
    }
    let kind = match problem.map(|error| chain(error)) {
        Some(why) => {
            crate::log::error(&format!("no grant can be signed: {why}"));
            Kind::KeyAway { why: UntrustedText::lossy(&why) }
        }
        None => Kind::KeyBack {},
    };
    let mut tx = core.store.write().await?;
    waiting.iter().filter_map(|document| document.activation).for_each(|id| tx.touch(id));
    tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    tx.commit().await?;
    Ok(())
}

/// Refuses what would start or lengthen a right while what signs is away. Without hosts nothing is signed.
pub(super) async fn ready(core: &Inner, activation: &Activation) -> Told<()> {
    if activation.hosts.is_empty() || look(core).await?.is_none() {
        return Ok(());
    }
    let message = "the daemon cannot sign grants at the moment: nothing was started or lengthened";
    refuse_hint(Code::Internal, message, "an administrator sees why: sudo elevatectl key list")
}

/// How another key comes to sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    /// How long the key before is believed; none: as long as usual.
    pub(super) overlap: Option<Span>,
    /// Of which type a new file is to be; none: that of the key before.
    pub(super) key_type: Option<KeyType>,
}

/// A new key: the agent's that the configuration names, or a new file.
pub(super) async fn next(
    core: &Inner,
    (signs, before): (Signs, &PublicKey),
    key_type: Option<KeyType>,
) -> Told<(Signer, String)> {
    let home = core.keys.home(signs);
    if let Some(agent) = home.agent {
        if key_type.is_some() {
            return refuse_hint(
                Code::Usage,
                "the next key is the agent's of daemon.toml, which is of the type that it is",
                format!(
                    "rotate without --type, or write {} = \"file\" and restart elevated",
                    places::setting(signs)
                ),
            );
        }
        let known = own_key::all(&mut core.store.read().await?).await?;
        if known.contains(&line(agent.public_key())?) {
            return refuse_hint(
                Code::Usage,
                "the agent's key of daemon.toml signs already, or did before",
                format!(
                    "write the next key in daemon.toml ({}), restart elevated, then rotate",
                    places::setting(signs)
                ),
            );
        }
        if let Err(error) = agent.probe().await {
            return refuse(Code::Usage, chain(&error));
        }
        return Ok((agent.clone(), place_of(agent, home.file)));
    }
    // Whoever checks takes the type of the key before; another one is for somebody to decide.
    let like_before =
        if before.algorithm() == Algorithm::Ed25519 { KeyType::Ed25519 } else { KeyType::Ecdsa };
    let key = home.fresh(key_type.unwrap_or(like_before))?;
    let name = places::file_of(home.file, key.public_key());
    if let Err(error) = keys::write_signing(&core.keys.folder.join(&name), &key) {
        return refuse(Code::Internal, chain(&error));
    }
    Ok((Signer::here(key), name))
}

/// From when on the key before is believed no more: not before the last grant that it signed can end.
async fn until(tx: &mut Tx, overlap: Option<Span>) -> Told<Timestamp> {
    let until = tx.now().after(overlap.unwrap_or(OVERLAP));
    let last = tx.in_phase("active").await?.into_iter().filter_map(|one| one.ends_at_most).max();
    match last.map(|last| last.after(MARGIN)) {
        Some(least) if least > until => {
            let least = least.since(tx.now());
            let message = "a grant that the key before signed may last longer than that overlap";
            refuse_hint(Code::Usage, message, format!("--overlap {least} or more, or revoke it first"))
        }
        Some(_) | None => Ok(until),
    }
}

/// Replaces the key that signs, all or nothing.
pub(super) async fn rotate(core: &Inner, talk: &Dialogue, how: Rotation) -> Told<AdminOutcome> {
    can_tell(core).await?;
    let (_, before) = core.issuer.signer(&mut core.store.read().await?).await?;
    let (signer, place) = next(core, (Signs::Grants, before.public_key()), how.key_type).await?;
    replace(core, &talk.voice, how.overlap, (signer, place)).await?;
    list(core).await
}

/// Refuses a change that hosts could not be told of.
pub(super) async fn can_tell(core: &Inner) -> Told<()> {
    let Some(error) = look(core).await? else { return Ok(()) };
    let why = format!(
        "the key that signs now has to tell the hosts of the next one, and does not: {}",
        chain(&error)
    );
    refuse_hint(Code::Usage, why, "bring it back; without it hosts have to be enrolled again")
}

async fn replace(
    core: &Inner,
    voice: &Voice,
    overlap: Option<Span>,
    (signer, place): (Signer, String),
) -> Told<()> {
    let mut tx = core.store.write().await?;
    let until = until(&mut tx, overlap).await?;
    let current = core.issuer.signer(&mut tx).await?;
    // Before the store says so: the change after this one may share its commit.
    core.issuer.learn(signer.clone());
    tx.replace_grant_key(until, (&line(signer.public_key())?, &place)).await?;
    if believed(&mut tx).await?.len() > SIGNERS_MAX {
        return refuse(Code::Usage, TOO_MANY);
    }
    let hosts = tell(&core.issuer, &mut tx, &current).await?;
    let (from, to) = (current.1.public_key(), signer.public_key());
    rotated(&mut tx, voice, (Signs::Grants, from, to), (until, hosts)).await?;
    tx.commit().await?;
    core.issuer.bell.notify_one();
    Ok(())
}

/// Tells every host which keys count from here on, in a document by `signer`. How many hosts.
pub(super) async fn tell(issuer: &Issuer, tx: &mut Tx, signer: &(u64, Signer)) -> Result<u64, Fault> {
    let hosts: Vec<HostId> = tx.hosts().await?.iter().map(|host| host.id).collect();
    tell_these(issuer, tx, signer, &hosts).await?;
    Ok(u64::try_from(hosts.len()).unwrap_or(u64::MAX))
}

/// The same for one host whose log begins anew: what it was told of keys since a backup that was laid back is not known.
pub(crate) async fn tell_anew(core: &Inner, tx: &mut Tx, host: HostId) -> Result<(), Fault> {
    let signer = core.issuer.signer(tx).await?;
    tell_these(&core.issuer, tx, &signer, &[host]).await
}

async fn tell_these(
    issuer: &Issuer,
    tx: &mut Tx,
    signer: &(u64, Signer),
    hosts: &[HostId],
) -> Result<(), Fault> {
    let user_ca = cas::trusted(tx, Authority::People).await?;
    let host_ca = cas::trusted(tx, Authority::Hosts).await?;
    let keys = Keys { grant: believed(tx).await?, user_ca, host_ca };
    Ok(issuer.keys(tx, signer, hosts, &keys).await?)
}

/// The event of a rotation.
pub(super) async fn rotated(
    tx: &mut Tx,
    voice: &Voice,
    (signs, from, to): (Signs, &PublicKey, &PublicKey),
    (until, hosts): (Timestamp, u64),
) -> Told<()> {
    let print = |key: &PublicKey| UntrustedText::lossy(&key.fingerprint(HashAlg::Sha256).to_string());
    let signs = UntrustedText::lossy(signs.word());
    let kind = Kind::KeyRotated { signs, from: print(from), to: print(to), until, hosts };
    tx.record(voice.did(Subject::default(), kind)).await?;
    Ok(())
}

/// Every key that is believed at this time.
async fn believed(tx: &mut Tx) -> Result<Vec<SigningKey>, Fault> {
    let now = tx.now();
    let rows = tx.grant_keys().await?;
    let live = rows.into_iter().filter(|row| row.until.is_none_or(|until| now < until));
    Ok(live.map(|row| SigningKey { key: row.public, until: row.until }).collect())
}

/// The signers file of a host that enrols: its log begins with the key that signs now.
pub(super) async fn signers(core: &Inner, tx: &mut Tx) -> Result<String, Fault> {
    let broken = |_| Fault::Broken { what: "the grant key" };
    TrustedKeys::one(core.issuer.signer(tx).await?.1.public_key().clone())
        .and_then(|keys| keys.to_signers())
        .map_err(broken)
}

/// Which keys there are, and whether the one that signs can be asked.
pub(super) async fn list(core: &Inner) -> Told<AdminOutcome> {
    let problem = look(core).await?.map(|error| UntrustedText::lossy(&chain(&error)));
    let mut tx = core.store.read().await?;
    let (rows, now) = (tx.grant_keys().await?, tx.now());
    drop(tx);
    let mut views: Vec<KeyView> = Vec::new();
    for row in rows {
        let state = match row.until {
            None => KeyState::Signs,
            Some(until) if now < until => KeyState::Replaced,
            Some(_) => KeyState::Over,
        };
        views.push(KeyView {
            signs: Signs::Grants,
            state,
            fingerprint: fingerprint(&row.public),
            key: row.public,
            place: row.place,
            since: Some(row.since),
            until: row.until,
            waiting: row.waiting,
            problem: problem.clone().filter(|_| state == KeyState::Signs),
        });
    }
    let signers = signers_of(&views)?;
    if let Some(agent) = &core.keys.agent {
        views.extend(configured(Signs::Grants, agent, &views).await?);
    }
    for of in [Authority::People, Authority::Hosts] {
        views.extend(cas::list(core, of).await?);
    }
    Ok(AdminOutcome::Keys { signers, keys: views })
}

/// The key that the configuration names, where it is none of those that sign or did.
pub(super) async fn configured(signs: Signs, agent: &Signer, known: &[KeyView]) -> Told<Option<KeyView>> {
    let key = line(agent.public_key())?;
    if known.iter().any(|view| view.key == key) {
        return Ok(None);
    }
    Ok(Some(KeyView {
        signs,
        state: KeyState::Next,
        fingerprint: fingerprint(&key),
        key,
        place: place_of(agent, ""),
        since: None,
        until: None,
        waiting: 0,
        problem: agent.probe().await.err().map(|error| UntrustedText::lossy(&chain(&error))),
    }))
}

/// For an auditor: every key that ever signed, each as far as it is believed.
fn signers_of(views: &[KeyView]) -> Result<String, Fault> {
    let broken = |_| Fault::Broken { what: "a grant key's row" };
    let mut text = String::new();
    for view in views {
        let key =
            PublicKey::from_openssh(&view.key).map_err(|_| Fault::Broken { what: "a grant key's row" })?;
        let one = TrustedKey::new(&key, None).map_err(broken)?;
        text.push_str(&one.to_signers_line(view.until).map_err(broken)?);
    }
    Ok(text)
}
