//! Waits with a person: until an activation is active and its hosts say so, or until it is over.
//!
//! In: changes of the store. Out: progress, then the outcome. Leaving changes nothing.

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::view::{ActivationView, HostState, State};
use elevate_protocol::time::{Span, Timestamp};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse};
use super::view::{Documents, view};
use super::{Core, Inner, request};
use crate::store::{Activation, Change};
use elevate_protocol::message::refusal::Code;

/// How long a host may take to say that a document is in force.
const CONFIRM_WITHIN: Span = Span(10);

/// Follows one activation of the speaker.
pub(super) async fn follow(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    (id, wait): (ActivationId, bool),
) -> Told<Outcome> {
    let inner = core.inner();
    let mut changes = inner.store.changes();
    let mut shown: Option<ActivationView> = None;
    let mut confirm_until: Option<Timestamp> = None;
    loop {
        let (activation, seen) = look(inner, id).await?;
        if shown.as_ref() != Some(&seen) {
            talk.tell(Reply::Progress(Box::new(seen.clone()))).await?;
            shown = Some(seen.clone());
        }
        let until = match &activation.state {
            // The daemon's own timer lapses it, and that change wakes us.
            State::Pending if wait => None,
            State::Approved => {
                request::start(inner, talk, ask, &activation).await?;
                continue;
            }
            State::Active if unsaid(&seen) => {
                let now = inner.clock.now();
                let until = *confirm_until.get_or_insert(now.after(CONFIRM_WITHIN));
                if now >= until {
                    return Ok(Outcome::Activation(Box::new(seen)));
                }
                Some(until)
            }
            State::Pending
            | State::Active
            | State::Denied { .. }
            | State::Withdrawn
            | State::Lapsed
            | State::Refused { .. }
            | State::Ended { .. } => return Ok(Outcome::Activation(Box::new(seen))),
        };
        wait_for(inner, talk, &mut changes, (id, until)).await?;
    }
}

/// Waits until the hosts of an activation said what became of its latest documents, 10 s at most.
pub(super) async fn settled(core: &Inner, talk: &mut Dialogue, id: ActivationId) -> Told<ActivationView> {
    let until = core.clock.now().after(CONFIRM_WITHIN);
    settled_until(core, talk, (id, until)).await
}

/// The same for several, 10 s at most for all of them together.
pub(super) async fn settled_all(
    core: &Inner,
    talk: &mut Dialogue,
    ids: &[ActivationId],
) -> Told<Vec<ActivationView>> {
    let until = core.clock.now().after(CONFIRM_WITHIN);
    let mut found = Vec::new();
    for id in ids {
        found.push(settled_until(core, talk, (*id, until)).await?);
    }
    Ok(found)
}

async fn settled_until(
    core: &Inner,
    talk: &mut Dialogue,
    (id, until): (ActivationId, Timestamp),
) -> Told<ActivationView> {
    let mut changes = core.store.changes();
    loop {
        let (_, seen) = look(core, id).await?;
        if !unsaid(&seen) || core.clock.now() >= until {
            return Ok(seen);
        }
        wait_for(core, talk, &mut changes, (id, Some(until))).await?;
    }
}

/// Whether a connected host has yet to say what became of a document.
fn unsaid(seen: &ActivationView) -> bool {
    seen.hosts.iter().any(|host| host.state == HostState::Sent)
}

async fn look(core: &Inner, id: ActivationId) -> Told<(Activation, ActivationView)> {
    let mut tx = core.store.read().await?;
    let policy = core.policy();
    let activation =
        tx.activation(id).await?.ok_or(Fault::Broken { what: "an activation that is followed" })?;
    let seen = view(core, &mut tx, &policy, &activation, Documents::Without).await?;
    Ok((activation, seen))
}

/// Returns at a change of this activation, or at `until`; stops when the person leaves.
async fn wait_for(
    core: &Inner,
    talk: &mut Dialogue,
    changes: &mut Receiver<Change>,
    (id, until): (ActivationId, Option<Timestamp>),
) -> Told<()> {
    let clock = core.clock.clone();
    let deadline = async move {
        match until {
            Some(until) => clock.sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = change_of(changes, id) => changed,
        () = deadline => Ok(()),
        stop = talk.hear_nothing() => Err(stop),
    }
}

async fn change_of(changes: &mut Receiver<Change>, id: ActivationId) -> Told<()> {
    loop {
        match changes.recv().await {
            Ok(Change::Activation(changed)) if changed == id => return Ok(()),
            Ok(
                Change::Activation(_)
                | Change::Documents(_)
                | Change::Accounts(_)
                | Change::Locks
                | Change::Cas
                | Change::Policy,
            ) => {}
            // Fell behind: look at everything again.
            Err(RecvError::Lagged(_)) => return Ok(()),
            Err(RecvError::Closed) => return refuse(Code::Unreachable, "the daemon is stopping"),
        }
    }
}
