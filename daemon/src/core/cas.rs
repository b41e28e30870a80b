//! Which keys sign SSH certificates, for people and for hosts: made at the first start, or the agent's that the configuration names; then
//! the next one, after a rotation. Both are trusted until the one before is over.
//!
//! In: the configured place, the store's rows. Out: the keys, ready to sign; their public halves for hosts, in a document for each, and for
//! people (threat E02: they sign nothing else).

use std::path::Path;

use elevate_audit::{Kind, Subject};
use elevate_protocol::host_ssh::HOST_LIFE;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::{AdminOutcome, KeyState, KeyView, Signs};
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::ssh::{CAS_MAX, Cas};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use ssh_key::PrivateKey;

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse};
use super::keys::{
    OVERLAP, Rotation, TOO_MANY, can_tell, configured, fingerprint, line, next, rotated, tell,
};
use super::places::{Home, place_of};
use super::{CoreError, Inner, KeySetup, keys as grant_keys, own_key};
use crate::issue::Issuer;
use crate::issue::ca::{Ca, Which};
use crate::issue::host_certificate::LEAD;
use crate::keys;
use crate::log::chain;
use crate::signer::Signer;
use crate::store::{Authority, CaRow, Store, Tx, Voice};

const BROKEN: Fault = Fault::Broken { what: "the key for certificates" };

pub(super) fn signs(of: Authority) -> Signs {
    match of {
        Authority::People => Signs::SshUserCa,
        Authority::Hosts => Signs::SshHostCa,
    }
}

/// How long the key before is trusted when nobody says. Of hosts: until the last certificate that it signed is over, wherever the host is.
fn usual_overlap(of: Authority) -> Span {
    match of {
        Authority::People => OVERLAP,
        Authority::Hosts => Span(HOST_LIFE.0.saturating_add(LEAD.0).saturating_add(Span::HOUR.0)),
    }
}

/// The keys that are trusted. On a new store the configured one, which then is the first; those of people are asked for first.
pub(super) async fn known(
    (store, issuer): (&Store, &Issuer),
    setup: &KeySetup,
    of: Authority,
) -> Result<Ca, CoreError> {
    let home = setup.home(signs(of));
    let mut tx = store.write().await?;
    let serial = tx.next_serial(of).await?;
    let rows = home.in_use(&mut tx).await?;
    if !rows.is_empty() {
        let trusted: Result<_, CoreError> =
            rows.iter().map(|row| Ok((row.number, home.signer(row)?))).collect();
        return Ok(Ca::new(trusted?, serial));
    }
    let signer = match home.agent {
        Some(signer) => signer.clone(),
        None => Signer::here(first(&home, &setup.folder)?),
    };
    own_key::check(&mut tx, signs(of), signer.public_key()).await?;
    let row = (line(signer.public_key())?, place_of(&signer, home.file));
    let number = tx.replace_ca(of, tx.now(), (&row.0, &row.1)).await?;
    if of == Authority::Hosts && !tx.hosts().await?.is_empty() {
        // Those that enrolled before there was such a key take no certificate of a key that they do not know.
        let by = issuer.signer(&mut tx).await.map_err(Fault::from)?;
        tell(issuer, &mut tx, &by).await?;
    }
    tx.commit().await?;
    Ok(Ca::new(vec![(number, signer)], serial))
}

/// The file, or a new one: one that is there already was made by a start that got no further.
fn first(home: &Home<'_>, folder: &Path) -> Result<PrivateKey, CoreError> {
    let path = folder.join(home.file);
    if std::fs::symlink_metadata(&path).is_err() {
        let made = keys::write_signing(&path, &home.fresh(home.usual())?);
        made.map_err(|source| CoreError::FirstKey { signs: home.signs, source })?;
    }
    home.first()
}

/// What hosts, and of hosts people, are to trust.
pub(super) async fn trusted(tx: &mut Tx, of: Authority) -> Result<Cas, Fault> {
    let rows = tx.cas(of).await?.into_iter().filter(|row| !row.over);
    let keys: Result<Vec<_>, _> = rows.map(|row| row.public.parse()).collect();
    Cas::try_from(keys.map_err(|_| BROKEN)?).map_err(|_| BROKEN)
}

/// Which certificates of hosts people are to believe.
pub(super) async fn of_hosts(tx: &mut Tx) -> Told<Outcome> {
    let cas = trusted(tx, Authority::Hosts).await?;
    let revoked = tx.revoked_hosts().await?.try_into();
    Ok(Outcome::HostCas { cas, revoked: revoked.map_err(|_| Fault::Broken { what: "hosts of before" })? })
}

/// The key that every host of a grant knows: a host that is away has not heard of the last rotation, and trusts the key before.
pub(super) async fn known_to(core: &Inner, grant: ActivationId) -> Result<Which, Fault> {
    if core.user_ca.ca.is_one() || !core.store.glance().await?.has_unheard_keys(grant).await? {
        return Ok(Which::Newest);
    }
    Ok(Which::Oldest)
}

/// The key that signs for hosts: one that is new signs only when everybody who logs in has had the time to hear of it.
pub(crate) async fn signing_for_hosts(tx: &mut Tx) -> Result<Which, Fault> {
    let now = tx.now();
    let rows: Vec<CaRow> = tx.cas(Authority::Hosts).await?.into_iter().filter(|row| !row.over).collect();
    let heard = rows.iter().rfind(|row| row.since.after(LEAD) <= now);
    Ok(heard.or(rows.first()).map_or(Which::Newest, |row| Which::Number(row.number)))
}

/// Replaces the key that signs certificates, all or nothing.
pub(super) async fn rotate(
    core: &Inner,
    talk: &Dialogue,
    of: Authority,
    how: Rotation,
) -> Told<AdminOutcome> {
    can_tell(core).await?;
    let rows = core.store.read().await?.cas(of).await?;
    // Looked at before a key is made, and again where nobody else can come between.
    if trusted_of(&rows) >= CAS_MAX {
        return refuse(Code::Usage, TOO_MANY);
    }
    let before = core.ca(of).signer().ok_or(BROKEN)?;
    let (signer, place) = next(core, (signs(of), before.public_key()), how.key_type).await?;
    let mut tx = core.store.write().await?;
    let until = tx.now().after(how.overlap.unwrap_or(usual_overlap(of)));
    let before = tx.cas(of).await?.pop().ok_or(BROKEN)?;
    let number = tx.replace_ca(of, until, (&line(signer.public_key())?, &place)).await?;
    if trusted_of(&tx.cas(of).await?) > CAS_MAX {
        return refuse(Code::Usage, TOO_MANY);
    }
    let by = core.issuer.signer(&mut tx).await?;
    let hosts = tell(&core.issuer, &mut tx, &by).await?;
    let from = before.public.parse().map_err(|_| BROKEN)?;
    rotated(&mut tx, &talk.voice, (signs(of), &from, signer.public_key()), (until, hosts)).await?;
    tx.commit().await?;
    core.issuer.bell.notify_one();
    core.ca(of).learn(number, signer);
    grant_keys::list(core).await
}

fn trusted_of(rows: &[CaRow]) -> usize {
    rows.iter().filter(|row| !row.over).count()
}

/// Ends the trust in keys whose time is over; which, by their numbers.
pub(super) async fn due(core: &Inner, tx: &mut Tx) -> Result<Vec<(Authority, u64)>, Fault> {
    let mut over = Vec::new();
    for of in [Authority::People, Authority::Hosts] {
        over.extend(tx.end_cas(of).await?.into_iter().map(|(number, public)| (of, number, public)));
    }
    if over.is_empty() {
        return Ok(Vec::new());
    }
    let by = core.issuer.signer(tx).await?;
    let hosts = tell(&core.issuer, tx, &by).await?;
    for (_, _, public) in &over {
        let kind = Kind::KeyOver { key: fingerprint(public), hosts };
        tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    }
    Ok(over.into_iter().map(|(of, number, _)| (of, number)).collect())
}

/// After that is durable. Another rotation may have come meanwhile: its key stays.
pub(super) fn forget(core: &Inner, over: &[(Authority, u64)]) {
    over.iter().for_each(|(of, number)| core.ca(*of).forget(*number));
}

/// Which keys there are, and whether the one that signs can be asked.
pub(super) async fn list(core: &Inner, of: Authority) -> Told<Vec<KeyView>> {
    let rows = core.store.read().await?.cas(of).await?;
    let problem = match core.ca(of).signer() {
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
            signs: signs(of),
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
    if let Some(agent) = core.keys.home(signs(of)).agent {
        views.extend(configured(signs(of), agent, &views).await?);
    }
    Ok(views)
}
