//! Requests that wait, and staying to see them change.
//!
//! In: [`Which`]. Out: activations; with `watch` a [`Reply::Progress`] for each change until the person leaves.

use std::collections::BTreeMap;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::person::{Outcome, Reply};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::ActivationView;
use tokio::sync::broadcast::error::RecvError;

use super::dialogue::Dialogue;
use super::fault::{Stop, Told, refuse};
use super::listing::to_review;
use super::view::{Documents, view, views};
use super::{Core, Inner, choose};
use crate::store::{Activation, Tx};

/// Which requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Which {
    pub(super) to_review: bool,
    pub(super) mine: bool,
    pub(super) watch: bool,
}

pub(super) async fn requests(core: &Core, talk: &mut Dialogue, which: Which) -> Told<Outcome> {
    let inner = core.inner();
    if !which.watch {
        let found = current(inner, talk, which).await?;
        return Ok(Outcome::Activations(found.into_values().collect()));
    }
    let Some(_place) = inner.talks.stay() else { return refuse(Code::Busy, "too many are watching") };
    match watch(inner, talk, which).await {
        // Leaving is how watching ends.
        Err(Stop::Left) | Ok(()) => Err(Stop::Left),
        Err(stop) => Err(stop),
    }
}

async fn watch(core: &Inner, talk: &mut Dialogue, which: Which) -> Told<()> {
    let mut changes = core.store.changes();
    let mut shown: BTreeMap<ActivationId, ActivationView> = BTreeMap::new();
    loop {
        let found = current(core, talk, which).await?;
        for (id, seen) in &found {
            if shown.get(id) != Some(seen) {
                talk.tell(Reply::Progress(Box::new(seen.clone()))).await?;
            }
        }
        // What waits no longer is told once more, with what became of it.
        for id in shown.keys().filter(|id| !found.contains_key(id)) {
            let mut tx = core.store.read().await?;
            if let Some(gone) = tx.activation(*id).await? {
                let last = view(core, &mut tx, &core.policy(), &gone, Documents::Without).await?;
                drop(tx);
                talk.tell(Reply::Progress(Box::new(last))).await?;
            }
        }
        shown = found;
        tokio::select! {
            changed = changes.recv() => match changed {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return refuse(Code::Unreachable, "the daemon is stopping"),
            },
            stop = talk.hear_nothing() => return Err(stop),
        }
    }
}

async fn current(
    core: &Inner,
    talk: &Dialogue,
    which: Which,
) -> Told<BTreeMap<ActivationId, ActivationView>> {
    let mut tx = core.store.read().await?;
    let mut found: Vec<Activation> = Vec::new();
    // Neither said: both, as far as this door shows them.
    let both = !which.to_review && !which.mine;
    if which.mine || both {
        found.extend(own_open(&mut tx, talk).await?);
    }
    if (which.to_review || both) && talk.here.is_none() {
        found.extend(to_review(core, &mut tx, talk).await?);
    }
    let seen = views(core, &mut tx, &core.policy(), &found).await?;
    Ok(seen.into_iter().map(|one| (one.id, one)).collect())
}

async fn own_open(tx: &mut Tx, talk: &Dialogue) -> Told<Vec<Activation>> {
    let mut mine = tx.live_of(talk.person()?).await?;
    mine.retain(|one| one.is_open() && choose::seen_here(talk, one));
    Ok(mine)
}
