//! An invitation that is to take the place of a host that is there: one person's word is not enough, nor is it at once.
//!
//! In: invitations, an administrator's word, an enrolment. Out: whether it may. Root on the daemon's machine does it alone. Until
//! then the token opens nothing, and the host that is there stays what it is (threat H03).

use elevate_audit::{Kind, Subject};
use elevate_policy::moment_text;
use elevate_protocol::message::admin::AdminOutcome;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::ChangeView;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::dialogue::Dialogue;
use super::fault::{Told, refuse, refuse_hint};
use super::{Inner, changes, locks};
use crate::store::{HostToken, StoreError, Tx, Waits};

/// What waits, in events and lists.
pub(super) const WHAT: &str = "host";

fn subject(name: &Name) -> Subject {
    Subject { host: Some(name.clone()), ..Subject::default() }
}

/// What a new invitation for this name waits for. One of before for the same place gives way to it.
pub(super) async fn waits(tx: &mut Tx, talk: &Dialogue, name: &Name, valid: Span) -> Told<Option<Waits>> {
    for earlier in tx.replacements().await? {
        if earlier.name == *name {
            tx.burn_host_token(earlier.hash).await?;
            let kind = Kind::ChangeWithdrawn { what: UntrustedText::lossy(WHAT) };
            tx.record(talk.voice.did(subject(name), kind)).await?;
        }
    }
    if changes::side(&talk.voice.actor).is_none() || tx.host_named(name).await?.is_none() {
        return Ok(None);
    }
    let since = tx.now();
    Ok(Some(Waits { since, counts_at: Some(since.after(changes::WAIT)), confirmed_at: None, valid }))
}

/// Whether a token of a host may be used now: looked at in the transaction that uses it.
pub(super) async fn may(tx: &mut Tx, token: &HostToken) -> Told<Option<Refusal>> {
    let name = &token.name;
    let Some(by) = changes::side(&token.by) else { return Ok(None) };
    match &token.waits {
        Some(waits) if waits.waits(tx.now()) => {
            let until =
                waits.counts_at.map_or_else(String::new, |at| format!(", or until {}", moment_text(at)));
            // In the sentence, not as a hint: an agent has hints of its own.
            let message = format!(
                "this would take the place of {name}, and waits for a second administrator (elevatectl host confirm {name} {by}){until}"
            );
            Ok(Some(Refusal::new(Code::Pending, message)))
        }
        Some(_) => Ok(None),
        // Invited as a new one; another has come since.
        None if tx.host_named(name).await?.is_some() => {
            let message = format!("another host has enrolled as {name} since this invitation was made");
            let hint = format!("ask an administrator again: elevatectl host invite {name}");
            Ok(Some(Refusal::new(Code::NotEligible, message).hint(hint)))
        }
        None => Ok(None),
    }
}

/// A second administrator's word on the invitation that this person made.
pub(super) async fn confirm(core: &Inner, talk: &Dialogue, (name, by): (&Name, &Name)) -> Told<AdminOutcome> {
    let mut tx = core.store.write().await?;
    let now = tx.now();
    let mut waiting = tx.replacements().await?;
    waiting.retain(|token| token.name == *name && changes::side(&token.by) == Some(by));
    let found = waiting.iter().find_map(|token| Some((token, token.waits.as_ref()?)));
    let Some((token, waits)) = found.filter(|(_, waits)| waits.waits(now)) else {
        let message = format!("no invitation by {by} that would take the place of {name} waits");
        return refuse_hint(Code::Gone, message, "elevatectl host list");
    };
    if changes::side(&talk.voice.actor) == Some(by) {
        return refuse(Code::NotEligible, format!("{by} began this, and a second administrator confirms it"));
    }
    tx.confirm_host_token(token.hash, now.after(waits.valid)).await?;
    let (what, how) = (UntrustedText::lossy(WHAT), UntrustedText::lossy("confirmed"));
    tx.record(talk.voice.did(subject(name), Kind::ChangeCounts { what, how })).await?;
    tx.commit().await?;
    Ok(AdminOutcome::Ok)
}

/// A lock on the host, or on whoever invited, stops the clock of what waits.
pub(super) async fn hold(tx: &mut Tx, what: &LockWhat) -> Result<(), StoreError> {
    for token in tx.replacements().await? {
        let hit = match what {
            LockWhat::Host(name) => token.name == *name,
            LockWhat::Person(name) => changes::side(&token.by) == Some(name),
            LockWhat::Everything => true,
            LockWhat::Role(_) => false,
        };
        if hit && token.waits.as_ref().is_some_and(|waits| waits.waits(tx.now())) {
            tx.hold_host_token(token.hash).await?;
        }
    }
    Ok(())
}

/// What waits for the place of a host, as administrators see it.
pub(super) fn shown(
    waiting: &[HostToken],
    name: &Name,
    now: elevate_protocol::time::Timestamp,
) -> Option<ChangeView> {
    let token = waiting.iter().find(|token| token.name == *name)?;
    let waits = token.waits.as_ref().filter(|waits| waits.waits(now))?;
    Some(ChangeView {
        what: WHAT.to_owned(),
        since: waits.since,
        by: UntrustedText::lossy(&locks::who(&token.by)),
        counts_at: waits.counts_at,
    })
}
