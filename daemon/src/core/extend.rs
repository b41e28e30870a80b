//! More time for an active grant, within the role's maximum: a fresh factor, no new approval (threat C09).
//!
//! In: [`Ask::Extend`]. Out: Extend documents, an event, the activation as it then is.

use elevate_policy::{ExtendFacts, Extension, Refusal as PolicyRefusal, extend as decide, extension_digest};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::dialogue::{Demand, Dialogue, Proven, Recovery};
use super::facts::request_of;
use super::fault::{Fault, Stop, Told};
use super::view::host_list;
use super::{Core, Inner, choose, confirm, keys, locks};
use crate::issue::about;
use crate::store::{Activation, Tx};

/// What is wished for.
pub(super) struct Wish<'a> {
    pub(super) id: Option<&'a IdPrefix>,
    pub(super) by: Span,
    pub(super) reason: Option<&'a UntrustedText>,
}

pub(super) async fn extend(core: &Core, talk: &mut Dialogue, ask: &Ask, wish: Wish<'_>) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let seen = choose::own_active(&mut tx, talk, wish.id).await?;
    choose::about_here_only(talk, &seen)?;
    locks::unlocked(&mut tx, talk, Some(&seen)).await?;
    let facts = facts(inner, &mut tx, &seen, (&wish, None)).await?;
    let now = tx.now();
    drop(tx);
    let decided = decide(&inner.policy(), &facts, now);
    if decided.as_ref().err().is_none_or(|refusal| refusal.code() == Code::Factor) {
        keys::ready(inner, &seen).await?;
    }
    let proven = match decided {
        Ok(_) => None,
        // Everything else was found good: only the code is missing.
        Err(refusal) if refusal.code() == Code::Factor => {
            let demand = Demand {
                ask,
                bound_to: extension_digest(&facts.ask())?,
                purpose: "extend",
                what: format!("extend {} on {} by {}", seen.role, host_list(&seen), wish.by),
                subject: about(&seen),
                recovery: Recovery::Refused,
            };
            Some(talk.challenge(inner, demand).await?)
        }
        Err(refusal) => return refused(&refusal),
    };
    commit(inner, talk, &seen, (&wish, proven)).await?;
    let shown = confirm::settled(inner, talk, seen.id).await?;
    Ok(Outcome::Activation(Box::new(shown)))
}

async fn commit(
    core: &Inner,
    talk: &Dialogue,
    seen: &Activation,
    (wish, proven): (&Wish<'_>, Option<Proven>),
) -> Told<()> {
    let mut tx = core.store.write().await?;
    let mut activation = tx.activation(seen.id).await?.ok_or(Fault::Broken { what: "a grant just shown" })?;
    if !activation.is_active() {
        return Err(Stop::Refuse(Refusal::new(Code::Gone, "the grant ended meanwhile")));
    }
    locks::unlocked(&mut tx, talk, Some(&activation)).await?;
    // The facts are those of now: another extension meanwhile is another end, for which this code does not count.
    let facts = facts(core, &mut tx, &activation, (wish, proven)).await?;
    let extension: Extension = match decide(&core.policy(), &facts, tx.now()) {
        Ok(extension) => extension,
        Err(refusal) => return refused(&refusal),
    };
    core.issuer.extend(&mut tx, &talk.voice, (&extension, wish.reason), &mut activation).await?;
    tx.commit().await?;
    Ok(())
}

async fn facts(
    core: &Inner,
    tx: &mut Tx,
    activation: &Activation,
    (wish, proven): (&Wish<'_>, Option<Proven>),
) -> Result<ExtendFacts, Fault> {
    let broken = Fault::Broken { what: "an active grant without its times" };
    let (Some(role_digest), Some(started_at), Some(not_after)) =
        (activation.granted_digest, activation.starts_at, activation.ends_at)
    else {
        return Err(broken);
    };
    Ok(ExtendFacts {
        request: request_of(tx, core.store.cluster(), activation).await?,
        role_digest,
        started_at,
        not_after,
        by: wish.by,
        reason: wish.reason.cloned(),
        factor: proven.map(Proven::proof),
    })
}

fn refused<T>(refusal: &PolicyRefusal) -> Told<T> {
    Err(Stop::Refuse(Refusal::from(refusal)))
}
