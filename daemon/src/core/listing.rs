//! Looking: what I have, what I may, one activation.
//!
//! In: asks without effect. Out: views. Through a host's door only what is about that host.

use std::collections::BTreeMap;

use elevate_policy::{eligible_roles, may_decide};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::view::{ActivationView, EligibilityView, OverviewView, State};
use elevate_protocol::name::Name;
use elevate_protocol::time::Span;

use super::ask::HOST_ANSWER_MAX;
use super::dialogue::Dialogue;
use super::facts::{host_facts, request_of};
use super::fault::{Fault, Told};
use super::host_names::beside;
use super::view::{self, Documents, view, views};
use super::{Core, Inner, Speaker, choose, locks};
use crate::store::{Activation, Tx};

/// How far back a history goes when nobody says.
const HISTORY: Span = Span(90 * 86_400);

pub(super) async fn overview(core: &Core, talk: &Dialogue) -> Told<Outcome> {
    let inner = core.inner();
    let person = talk.person()?.clone();
    let mut tx = inner.store.read().await?;
    let policy = inner.policy();
    let mut live = tx.live_of(&person).await?;
    live.retain(|one| choose::seen_here(talk, one));
    let (active, waiting): (Vec<Activation>, Vec<Activation>) =
        live.into_iter().partition(Activation::is_active);
    let review = if talk.here.is_some() { Vec::new() } else { to_review(inner, &mut tx, talk).await? };
    Ok(Outcome::Overview(OverviewView {
        person,
        active: views(inner, &mut tx, &policy, &active).await?,
        waiting: views(inner, &mut tx, &policy, &waiting).await?,
        to_review: views(inner, &mut tx, &policy, &review).await?,
        eligible: eligibilities(inner, &mut tx, talk).await?,
    }))
}

pub(super) async fn eligible(core: &Core, talk: &Dialogue) -> Told<Outcome> {
    let mut tx = core.inner().store.read().await?;
    Ok(Outcome::Eligible(eligibilities(core.inner(), &mut tx, talk).await?))
}

/// Roles of the speaker, with the enrolled hosts; through a host's door those that have this host.
async fn eligibilities(core: &Inner, tx: &mut Tx, talk: &Dialogue) -> Told<Vec<EligibilityView>> {
    let policy = core.policy();
    let hosts = match &talk.here {
        Some(here) => vec![here.clone()],
        None => tx.hosts().await?,
    };
    let now = tx.now();
    let mut mine = eligible_roles(&policy, talk.person()?, now);
    if let Some(here) = &talk.here {
        let facts = host_facts(here);
        mine.retain(|eligible| eligible.role.covers(&facts).is_ok() && super::enforces(here, eligible.role));
    }
    // A host's door is told of no other host, and so not whose a name is.
    let names = if talk.here.is_some() { BTreeMap::new() } else { beside(&hosts) };
    Ok(mine.iter().map(|eligible| view::eligibility(eligible, (&hosts, &names))).collect())
}

pub(super) async fn activations(core: &Core, talk: &Dialogue, all: bool) -> Told<Outcome> {
    let inner = core.inner();
    let person = talk.person()?;
    let mut tx = inner.store.read().await?;
    let mut mine = if all { tx.activations_of(person).await? } else { tx.live_of(person).await? };
    mine.retain(|one| choose::seen_here(talk, one));
    let mut shown = views(inner, &mut tx, &inner.policy(), &mine).await?;
    if all {
        newest(&mut shown)?;
    }
    Ok(Outcome::Activations(shown))
}

/// What was asked for in the time before now: one's own; of others what one has approved or denied, and nothing else.
pub(super) async fn history(
    core: &Core,
    talk: &Dialogue,
    person: Option<&Name>,
    since: Option<Span>,
) -> Told<Outcome> {
    let inner = core.inner();
    let me = talk.person()?;
    let whose = person.unwrap_or(me);
    let mut tx = inner.store.read().await?;
    let from = tx.now().before(since.unwrap_or(HISTORY));
    let mut found = tx.asked_since(whose, from).await?;
    found.retain(|one| choose::seen_here(talk, one));
    if whose != me {
        let mut decided = Vec::new();
        for one in found {
            if decided_by(&mut tx, &one, me).await? {
                decided.push(one);
            }
        }
        found = decided;
    }
    let mut shown = views(inner, &mut tx, &inner.policy(), &found).await?;
    newest(&mut shown)?;
    Ok(Outcome::Activations(shown))
}

async fn decided_by(tx: &mut Tx, activation: &Activation, person: &Name) -> Told<bool> {
    if matches!(&activation.state, State::Denied { by, .. } if by == person) {
        return Ok(true);
    }
    let approvals = tx.approvals(activation.id).await?;
    Ok(approvals.iter().any(|(approval, _)| approval.approver == *person))
}

/// As many of the newest as one answer carries; the whole history is in the log.
fn newest(shown: &mut Vec<ActivationView>) -> Result<(), Fault> {
    let mut left = HOST_ANSWER_MAX.saturating_sub(1024);
    let mut fit = 0usize;
    for one in shown.iter() {
        // Each has a comma after it.
        let size = serde_json::to_vec(one)?.len().saturating_add(1);
        let Some(rest) = left.checked_sub(size) else { break };
        left = rest;
        fit = fit.saturating_add(1);
    }
    shown.truncate(fit);
    Ok(())
}

/// One's own, or one that one may decide about; root sees every one.
pub(super) async fn show(core: &Core, talk: &Dialogue, prefix: &IdPrefix, documents: bool) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let policy = inner.policy();
    let found = match &talk.speaker {
        Speaker::Root { .. } => choose::named(&mut tx, prefix).await?,
        Speaker::OnHost { .. } => choose::own(&mut tx, talk, prefix).await?,
        Speaker::Person { name, .. } => {
            let found = choose::named(&mut tx, prefix).await?;
            let decides = !locks::is_locked(&mut tx, name).await?;
            if found.person == *name || (decides && reviews(inner, &mut tx, talk, &found).await?) {
                found
            } else {
                choose::own(&mut tx, talk, prefix).await?
            }
        }
    };
    let documents = if documents { Documents::With } else { Documents::Without };
    Ok(Outcome::Activation(Box::new(view(inner, &mut tx, &policy, &found, documents).await?)))
}

async fn reviews(core: &Inner, tx: &mut Tx, talk: &Dialogue, activation: &Activation) -> Told<bool> {
    if !(activation.is_open() || activation.is_active()) {
        return Ok(false);
    }
    let request = request_of(tx, core.store.cluster(), activation).await?;
    Ok(may_decide(&core.policy(), talk.person()?, &request, tx.now()).is_ok())
}

/// Pending requests that the speaker may decide.
pub(super) async fn to_review(core: &Inner, tx: &mut Tx, talk: &Dialogue) -> Told<Vec<Activation>> {
    let mut found = Vec::new();
    if locks::is_locked(tx, talk.person()?).await? {
        return Ok(found);
    }
    for one in tx.in_phase("pending").await? {
        if reviews(core, tx, talk, &one).await? {
            found.push(one);
        }
    }
    Ok(found)
}
