//! A database that is older than what was seen: nothing is issued until root on the daemon's machine goes on with it.
//!
//! In: what the witness of the store says, root's word. Out: a lock on everything, set by the daemon itself, that only this word
//! lifts; with it, what the older database gave is over, and what may have been used since counts no longer. Spec: docs/faults.md.

use std::path::Path;

use elevate_audit::{Actor, Kind, Subject};
use elevate_protocol::document::{Act, Document, EndCause};
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RestoreView};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::Reply;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::dialogue::Dialogue;
use super::end::everything;
use super::fault::{Fault, Told, refuse};
use super::{Inner, Speaker, export, random};
use crate::factor::step_at;
use crate::issue::about;
use crate::store::{Glimpse, LockRow, Older, StoreError, StoredDocument, Tx, Voice};

/// In `meta`, while the gate is closed.
const META: &str = "restore";
const MESSAGE: &str =
    "the daemon was restored from a backup: it does not know what happened since, and starts nothing";

/// What shows that the database is older than what was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// The first event that is not known; none: it is not known which.
    pub(crate) from: Option<u64>,
    /// How many events there had been, if that is known.
    pub(crate) seen: Option<u64>,
    /// For people.
    pub(crate) why: String,
}

/// Whether a lock is the closed gate: the daemon sets no other.
pub(super) fn is_gate(lock: &LockRow) -> bool {
    lock.by == Actor::Daemon
}

/// The lock that is the closed gate; none: it is open.
pub(crate) async fn gate(tx: &mut Tx) -> Result<Option<LockRow>, StoreError> {
    Ok(tx.locks().await?.into_iter().find(is_gate))
}

/// What everybody hears meanwhile who would begin something.
pub(super) fn refusal() -> Refusal {
    Refusal::new(Code::Locked, MESSAGE).hint("root on the daemon's machine decides: elevatectl restore")
}

/// Closes the gate; one that is closed already stays as it is.
pub(crate) async fn close(core: &Inner, tx: &mut Tx, evidence: &Evidence) -> Result<(), Fault> {
    if gate(tx).await?.is_some() {
        return Ok(());
    }
    // What the witness is of may yet be laid back, and then fits it.
    core.store.hold_witness(true);
    let Evidence { from, seen, why } = evidence;
    let said = UntrustedText::lossy(why);
    let lock = LockRow {
        id: Nonce::from_random(random()?),
        what: LockWhat::Everything,
        since: tx.now(),
        by: Actor::Daemon,
        until: None,
        reason: said.clone(),
    };
    tx.insert_lock(&lock).await?;
    tx.hold_all_changes().await?;
    let text = serde_json::to_string(evidence)?;
    tx.set_meta(META, &text).await?;
    let kind = Kind::RestoreFound { from: *from, seen: *seen, why: said };
    tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    crate::log::error(&format!("{MESSAGE}: {why}; see: elevatectl restore"));
    Ok(())
}

/// At a start, before any door opens: what the store has found, and a gate that was closed before.
pub(super) async fn look(core: &Inner, tx: &mut Tx) -> Result<(), Fault> {
    if let Some(older) = core.store.older() {
        let evidence =
            Evidence { from: Some(tx.next_seq().await?), seen: older.seen, why: older.why.clone() };
        close(core, tx, &evidence).await?;
    }
    if let Some(lock) = gate(tx).await? {
        core.store.hold_witness(true);
        crate::log::warning(&format!(
            "nothing is issued: {}; see: elevatectl restore",
            lock.reason.escaped()
        ));
    }
    Ok(())
}

async fn evidence(tx: &mut Tx) -> Result<Evidence, Fault> {
    Ok(serde_json::from_str(&tx.meta_or(META, "").await?)?)
}

/// Whether a host is not sent a document while the gate is closed: what may have ended since the backup begins nowhere and lasts no
/// longer. With root's word it has ended, and its end is sent behind it.
pub(crate) async fn withholds(tx: &mut Tx, document: &StoredDocument) -> Result<bool, Fault> {
    let Some(id) = document.activation else { return Ok(false) };
    match serde_json::from_str::<Document>(&document.body)?.act {
        Act::Grant(_) | Act::Extend(_) => {}
        Act::End(_) | Act::Keys(_) => return Ok(false),
    }
    if gate(tx).await?.is_none() {
        return Ok(false);
    }
    Ok(tx.activation(id).await?.is_some_and(|one| one.is_active()))
}

/// What is known of a restore that waits.
pub(super) async fn show(core: &Inner) -> Told<AdminOutcome> {
    let mut tx = core.store.read().await?;
    let Some(LockRow { since, .. }) = gate(&mut tx).await? else { return Ok(AdminOutcome::Restore(None)) };
    let Evidence { from, seen, why } = evidence(&mut tx).await?;
    let why = UntrustedText::lossy(&why);
    Ok(AdminOutcome::Restore(Some(RestoreView { since, from, seen, why })))
}

/// What there is to say of a data folder before a daemon starts on it, or beside one that works on it; none: nothing, or it cannot
/// be seen.
///
/// # Errors
/// A [`StoreError`]; nothing is known then.
pub(crate) async fn seen_in(folder: &Path, now: Timestamp) -> Result<Option<String>, StoreError> {
    let Some(Glimpse { mut tx, older }) = Glimpse::of(folder, now).await? else { return Ok(None) };
    let (why, since) = match (gate(&mut tx).await?, older) {
        (Some(lock), _) => (lock.reason.escaped(), "nothing is issued"),
        (None, Some(Older { why, .. })) => (why, "a daemon that starts issues nothing"),
        (None, None) => return Ok(None),
    };
    Ok(Some(format!("{why}: {since} before root says so; see: elevatectl restore")))
}

/// Whoever looks for what is wrong, or does something beside it, is told that the gate is closed.
pub(super) async fn remind(core: &Inner, talk: &Dialogue, ask: &AdminAsk) -> Told<()> {
    // They speak of nothing else, or follow the log, which has the alert.
    let knows =
        matches!(ask, AdminAsk::RestoreShow | AdminAsk::RestoreAccept { .. } | AdminAsk::AuditTail { .. });
    if !knows && gate(&mut core.store.glance().await?).await?.is_some() {
        let text = UntrustedText::lossy(&format!("{MESSAGE}; see: elevatectl restore"));
        talk.tell(Reply::Notice { text }).await?;
    }
    Ok(())
}

/// Root goes on with the older database. Nobody's grant to administer says so: whose grants live is what is not known.
pub(super) async fn accept(core: &Inner, talk: &Dialogue, reason: &UntrustedText) -> Told<AdminOutcome> {
    match &talk.speaker {
        Speaker::Root { .. } => {}
        Speaker::Person { .. } | Speaker::OnHost { .. } => {
            return refuse(Code::WrongDoor, "only root on the daemon's machine says so");
        }
    }
    let mut tx = core.store.write().await?;
    let Some(lock) = gate(&mut tx).await? else {
        return refuse(Code::Gone, "no restore waits for a word");
    };
    let Evidence { from, .. } = evidence(&mut tx).await?;
    let (ended, refused) = end_everything(core, &mut tx, &talk.voice, reason).await?;
    tx.void_unsure(step_after(tx.now())).await?;
    tx.hold_all_changes().await?;
    tx.excuse_hosts().await?;
    tx.end_lock(lock.id, tx.now()).await?;
    tx.set_meta(META, "").await?;
    let serial = tx.skip_serials().await?;
    export::hold_back(&mut tx).await?;
    let kind = Kind::RestoreAccepted { from, reason: reason.clone(), ended, refused };
    tx.record(talk.voice.did(Subject::default(), kind)).await?;
    tx.commit().await?;
    core.user_ca.ca.go_on_from(serial);
    core.host_ca.ca.go_on_from(serial);
    // The word counts whatever becomes of this. A crash before the witness is written leaves the old one: the next start asks once more.
    if let Err(error) = core.store.settle_witness().await {
        crate::log::error(&format!("the witness is of the time before: {}", crate::log::chain(&error)));
    }
    core.store.hold_witness(false);
    Ok(AdminOutcome::Restored { ended, refused })
}

/// The latest step that may have been used by now: codes of the next one are taken too.
fn step_after(now: Timestamp) -> u64 {
    step_at(now).saturating_add(1)
}

/// What is in force or waits may have ended since the backup: all of it does.
async fn end_everything(
    core: &Inner,
    tx: &mut Tx,
    voice: &Voice,
    reason: &UntrustedText,
) -> Result<(u32, u32), Fault> {
    let why = UntrustedText::lossy(&format!("the daemon was restored from a backup: {}", reason.raw()));
    let (mut ended, mut refused) = (0u32, 0u32);
    for mut one in everything(tx).await? {
        if one.is_active() {
            core.issuer.end(tx, voice, (EndCause::Restored, Some(&why)), &mut one).await?;
            ended = ended.saturating_add(1);
            continue;
        }
        one.state = State::Refused { reason: why.escaped() };
        tx.update_activation(&one).await?;
        tx.record(voice.did(about(&one), Kind::RequestRefused { why: why.clone() })).await?;
        refused = refused.saturating_add(1);
    }
    Ok((ended, refused))
}
