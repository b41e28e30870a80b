//! Other labels for a host: as if another policy came into force, for that host (threat C07).
//!
//! In: an administrator's word. Out: labels, an event, End documents for what the labels no longer give.

use std::collections::BTreeMap;

use elevate_audit::{Kind, Subject};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::Name;

use super::Inner;
use super::dialogue::Dialogue;
use super::fault::{Told, refuse};
use super::invite::LABELS_MAX;
use super::reload::put_in_force;

/// What to change.
pub(super) struct Labels<'a> {
    pub(super) set: &'a BTreeMap<Name, Name>,
    pub(super) remove: &'a [Name],
}

pub(super) async fn label(core: &Inner, talk: &Dialogue, name: &Name, change: Labels<'_>) -> Told<()> {
    // A policy that is being put in force meanwhile would be looked at with half of it.
    let _one_at_a_time = core.reloading.lock().await;
    let mut tx = core.store.write().await?;
    let Some(host) = tx.host_named(name).await? else {
        return refuse(Code::UnknownHost, format!("{name} is not enrolled"));
    };
    let mut labels = host.labels.clone();
    for key in change.remove {
        if labels.remove(key).is_none() {
            return refuse(Code::Usage, format!("{name} has no label {key}"));
        }
    }
    labels.extend(change.set.clone());
    if labels.len() > LABELS_MAX {
        return refuse(Code::Usage, format!("a host has at most {LABELS_MAX} labels"));
    }
    if labels == host.labels {
        return Ok(());
    }
    tx.set_labels(host.id, &labels).await?;
    let subject = Subject { host: Some(name.clone()), host_id: Some(host.id), ..Subject::default() };
    tx.record(talk.voice.did(subject, Kind::HostLabelled { labels })).await?;
    // The policy is the same, and so are its keys.
    put_in_force(core, &mut tx, &core.policy(), &talk.voice).await?;
    tx.commit().await?;
    // Its connection knows the labels before; the next one, in a moment, the new ones.
    core.agents.drop_host(host.id);
    Ok(())
}
