//! A host whose log is not ours: one of us was restored from a backup, and it is not for us to say that ours is right.
//!
//! In: epoch, place and head of a host's hello. Out: a new epoch of its log, which begins with the word of the host's root. What was
//! active there is over: nobody here knows what became of it. Spec: docs/wire.md "Epochs".

use elevate_audit::Kind;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::HostId;
use elevate_protocol::message::agent::AgentHello;
use elevate_protocol::signed::{TrustedKeys, verify_document};

use super::{Cut, subject};
use crate::core::Core;
use crate::core::keys;
use crate::core::restore::{self, Evidence};
use crate::issue::close;
use crate::store::{HostRow, StoreError, Tx, Voice};

/// Whether the host has applied the log that we have, or the beginning of it.
pub(super) async fn is_ours(core: &Core, host: &HostRow, agent: &AgentHello) -> Result<bool, Cut> {
    let mut tx = core.inner().store.glance().await?;
    same(&mut tx, host, agent).await.map_err(Cut::from)
}

async fn same(tx: &mut Tx, host: &HostRow, agent: &AgentHello) -> Result<bool, StoreError> {
    if agent.epoch != host.epoch || agent.seq > host.issued {
        return Ok(false);
    }
    // A place that both have can have been taken twice: once before the restore, once after.
    Ok(tx.head(host.id, (host.epoch, agent.seq)).await? == agent.head)
}

/// Whether the host shows a document for it that our key has signed and that our log has not: then we knew more than we do now.
/// Only so: what a host merely says must cost no other host anything.
async fn is_newer(core: &Core, tx: &mut Tx, (host, agent): (&HostRow, &AgentHello)) -> Result<bool, Cut> {
    let Some(last) = &agent.last else { return Ok(false) };
    // The key that signs now: one that was replaced may be in anybody's hands (threat K05).
    let (_, signer) = core.inner().issuer().signer(tx).await?;
    let Ok(keys) = TrustedKeys::one(signer.public_key().clone()) else { return Ok(false) };
    let Ok(verified) = verify_document(last, &keys, &host.id) else { return Ok(false) };
    let document = verified.document();
    let said = (document.cluster, document.epoch, document.seq) == (core.cluster(), agent.epoch, agent.seq);
    let ours = tx.documents_from(host.id, agent.epoch, agent.seq, 1).await?;
    Ok(said && !ours.iter().any(|ours| ours.seq == agent.seq && ours.body == last.body))
}

/// Begins the next epoch of the host's log, unless it waits already for the word of the host's root. The host as it is then.
pub(super) async fn begin(core: &Core, id: HostId, agent: &AgentHello) -> Result<HostRow, Cut> {
    let mut tx = core.inner().store.write().await?;
    let gone = || Cut::Lost("the host enrolled anew meanwhile");
    let host = tx.host(id).await?.ok_or_else(gone)?;
    // Another connection of the same host may have come first.
    if agent.epoch < host.epoch || same(&mut tx, &host, agent).await? {
        return Ok(host);
    }
    let epoch = agent.epoch.max(host.epoch).saturating_add(1);
    if !host.excused && is_newer(core, &mut tx, (&host, agent)).await? {
        let name = &host.name;
        let why =
            format!("{name} has document {} of epoch {}, signed here and not known", agent.seq, agent.epoch);
        // Which event was the first is not known; the place of this one is after it.
        restore::close(core.inner(), &mut tx, &Evidence { from: None, seen: None, why }).await?;
    }
    tx.begin_epoch(id, epoch).await?;
    let kind = Kind::HostEpoch { epoch, before: agent.epoch, place: agent.seq };
    tx.record(Voice::DAEMON.did(subject(&host), kind)).await?;
    for mut activation in tx.in_phase("active").await? {
        let Some(part) = activation.hosts.iter_mut().find(|part| part.id == id) else { continue };
        part.lost = Some(EndCause::Restored);
        tx.end_told(activation.id, id).await?;
        if activation.hosts.iter().all(|part| part.lost.is_some()) {
            close(&mut tx, &Voice::DAEMON, (EndCause::Restored, None), &mut activation).await?;
        } else {
            tx.update_activation(&activation).await?;
        }
    }
    tx.await_no_ends(id).await?;
    // A CA that was replaced since the backup, by either side's knowledge, would refuse every certificate there.
    keys::tell_anew(core.inner(), &mut tx, id).await?;
    let begun = tx.host(id).await?.ok_or_else(gone)?;
    tx.commit().await?;
    core.inner().issuer().bell.notify_one();
    Ok(begun)
}
