//! Giving back: a request before it is decided, a grant before its time; and taking away.
//!
//! In: `Ask::Cancel`, `Ask::Drop`, an administrator's revocation. Out: End documents, events. Needs no factor.
//!
//! [`Ask::Cancel`]: elevate_protocol::message::person::Ask::Cancel

use elevate_audit::Kind;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::admin::{AdminOutcome, RevokeWhat};
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse, refuse_hint};
use super::view::{Documents, short, view, views};
use super::{Core, choose, confirm};
use crate::issue::about;
use crate::log::chain;
use crate::store::{Activation, Tx};

/// The person takes a request back.
pub(super) async fn cancel(core: &Core, talk: &mut Dialogue, prefix: &IdPrefix) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.write().await?;
    let mut mine = own_open(&mut tx, talk, prefix).await?;
    withdraw(&mut tx, talk, &mut mine).await?;
    let shown = view(inner, &mut tx, &inner.policy(), &mine, Documents::Without).await?;
    tx.commit().await?;
    Ok(Outcome::Activation(Box::new(shown)))
}

/// The person's own request that is still undecided or not started.
pub(super) async fn own_open(tx: &mut Tx, talk: &Dialogue, prefix: &IdPrefix) -> Told<Activation> {
    let mine = choose::own(tx, talk, prefix).await?;
    if mine.is_open() {
        return Ok(mine);
    }
    let name = short(tx, mine.id).await?;
    let message = format!("R-{name} is {}", mine.state.word());
    if mine.is_active() {
        return refuse_hint(Code::Gone, message, format!("elevate drop G-{name}"));
    }
    refuse(Code::Gone, message)
}

/// Takes an open request back: nobody's word on it counts any more.
pub(super) async fn withdraw(tx: &mut Tx, talk: &Dialogue, mine: &mut Activation) -> Told<()> {
    mine.state = State::Withdrawn;
    tx.update_activation(mine).await?;
    tx.record(talk.voice.did(about(mine), Kind::RequestWithdrawn {})).await?;
    Ok(())
}

/// The person gives grants back.
pub(super) async fn give_back(
    core: &Core,
    talk: &mut Dialogue,
    prefix: Option<&IdPrefix>,
    all: bool,
) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.write().await?;
    let mut grants = if all {
        let mut live = tx.live_of(&talk.person()?.clone()).await?;
        live.retain(|one| one.is_active() && choose::seen_here(talk, one));
        live
    } else {
        vec![choose::own_active(&mut tx, talk, prefix).await?]
    };
    for grant in &mut grants {
        inner.issuer.end(&mut tx, &talk.voice, (EndCause::Dropped, None), grant).await?;
    }
    tx.commit().await?;
    let mut shown = Vec::new();
    for grant in &grants {
        shown.push(confirm::settled(inner, talk, grant.id).await?);
    }
    match (all, shown.pop()) {
        (false, Some(only)) => Ok(Outcome::Activation(Box::new(only))),
        (_, last) => {
            shown.extend(last);
            Ok(Outcome::Activations(shown))
        }
    }
}

/// An administrator ends grants, and refuses what waits, of a grant, person, host or role.
pub(super) async fn revoke(
    core: &Core,
    talk: &mut Dialogue,
    what: &RevokeWhat,
    reason: &UntrustedText,
) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.write().await?;
    let mut hit = matching(&mut tx, what).await?;
    if hit.is_empty() {
        return refuse(Code::Gone, "nothing active or waiting fits");
    }
    for one in &mut hit {
        if one.is_active() {
            inner.issuer.end(&mut tx, &talk.voice, (EndCause::Revoked, Some(reason)), one).await?;
        } else {
            one.state = State::Refused { reason: format!("revoked: {}", reason.escaped()) };
            tx.update_activation(one).await?;
            let why = UntrustedText::lossy(&format!("revoked: {}", reason.raw()));
            tx.record(talk.voice.did(about(one), Kind::RequestRefused { why })).await?;
        }
    }
    tx.commit().await?;
    // What is shown is looked up when hosts hear of it already, not before. That it is done is no less true without it.
    let shown = match inner.store.read().await {
        Ok(mut tx) => views(inner, &mut tx, &inner.policy(), &hit).await,
        Err(error) => Err(error.into()),
    };
    match shown {
        Ok(shown) => Ok(Outcome::Admin(AdminOutcome::Revoked(shown))),
        Err(fault) => {
            crate::log::error(&chain(&fault));
            let message = "it is revoked, but what became of it cannot be shown at the moment";
            refuse_hint(Code::Internal, message, "elevatectl audit tail")
        }
    }
}

async fn matching(tx: &mut Tx, what: &RevokeWhat) -> Told<Vec<Activation>> {
    Ok(match what {
        RevokeWhat::Grant(prefix) => {
            let named = choose::named(tx, prefix).await?;
            if named.is_active() || named.is_open() { vec![named] } else { Vec::new() }
        }
        RevokeWhat::Person(name) => tx.live_of(name).await?,
        RevokeWhat::Host(name) => tx.live_at(name).await?,
        RevokeWhat::Role(name) => tx.live_in(name).await?,
    })
}

/// Every activation that is open or active.
pub(super) async fn everything(tx: &mut Tx) -> Result<Vec<Activation>, Fault> {
    let mut live = Vec::new();
    for phase in ["pending", "approved", "active"] {
        live.extend(tx.in_phase(phase).await?);
    }
    Ok(live)
}
