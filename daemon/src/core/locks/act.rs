//! Setting and lifting locks. What a lock concerns ends with it, in one transaction.
//!
//! In: what, for how long, why. Out: End documents, refused requests, events, and what is to be told.

use elevate_audit::Kind;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::AdminOutcome;
use elevate_protocol::message::lock::{LockWhat, LockedView};
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::report::{Touching, report};
use super::{Concern, kind, shown, subject, words};
use crate::core::dialogue::{Demand, Dialogue, Recovery};
use crate::core::end::everything;
use crate::core::fault::{Fault, Stop, Told, refuse, refuse_hint};
use crate::core::settle::{Start, settle};
use crate::core::{Core, Inner, random, replace, restore};
use crate::issue::about;
use crate::store::{Activation, LockRow, Tx, Voice};

/// Locks in force at a time. Each request looks at all of them.
const LOCKS_MAX: usize = 1000;
/// A year: what is to last longer is a matter of the policy.
const TTL_MAX: Span = Span(365 * 86_400);

/// An administrator locks something.
pub(in crate::core) async fn lock(
    core: &Core,
    talk: &mut Dialogue,
    what: &LockWhat,
    wish: (Option<Span>, &UntrustedText),
) -> Told<Outcome> {
    let view = set(core.inner(), talk, what, wish).await?;
    Ok(Outcome::Admin(AdminOutcome::Locked(Box::new(view))))
}

/// A person locks themself. The own key may: it takes rights away. A host's word for who asks may not: it takes a code.
pub(in crate::core) async fn lock_me(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    (ttl, reason): (Option<Span>, Option<&UntrustedText>),
) -> Told<Outcome> {
    let inner = core.inner();
    let what = LockWhat::Person(talk.person()?.clone());
    if talk.here.is_some() {
        let demand = Demand {
            ask,
            bound_to: ask.digest()?,
            purpose: "lock me",
            what: format!("lock {} everywhere; a recovery code does as well", words(&what)),
            subject: subject(&what),
            recovery: Recovery::Does,
        };
        talk.challenge(inner, demand).await?;
    }
    let none = UntrustedText::lossy("locked by the person");
    let wish = (ttl, reason.unwrap_or(&none));
    let mut tries = inner.store.tries();
    let view = loop {
        match set(inner, talk, &what, wish).await {
            Err(Stop::Fault(fault)) if tries.again(&fault) => {}
            told => break told?,
        }
    };
    Ok(Outcome::Locked(Box::new(view)))
}

/// Locks something and says what that did.
async fn set(
    inner: &Inner,
    talk: &mut Dialogue,
    what: &LockWhat,
    (ttl, reason): (Option<Span>, &UntrustedText),
) -> Told<LockedView> {
    match ttl {
        Some(Span::ZERO) => return refuse(Code::Usage, "a lock lasts longer than no time"),
        Some(span) if span > TTL_MAX => {
            return refuse(Code::Usage, format!("a lock lasts at most {TTL_MAX}"));
        }
        Some(_) | None => {}
    }
    let mut tx = inner.store.write().await?;
    exists(inner, &mut tx, what).await?;
    if tx.locks().await?.len() >= LOCKS_MAX {
        return refuse(Code::Busy, format!("{LOCKS_MAX} locks are in force already"));
    }
    let row = LockRow {
        id: Nonce::from_random(random()?),
        what: what.clone(),
        since: tx.now(),
        by: talk.voice.actor.clone(),
        until: ttl.map(|span| tx.now().after(span)),
        reason: reason.clone(),
    };
    tx.insert_lock(&row).await?;
    let touching = sweep(inner, &mut tx, &talk.voice, &row).await?;
    tx.commit().await?;
    report(inner, talk, shown(&row), touching).await
}

/// A slip of the hand must not look like a lock. What is gone has no rights left to lock.
async fn exists(core: &Inner, tx: &mut Tx, what: &LockWhat) -> Told<()> {
    let policy = core.policy();
    let there = match what {
        LockWhat::Person(name) => policy.person(name).is_some(),
        LockWhat::Role(name) => policy.role(name).is_some(),
        LockWhat::Host(name) => tx.host_named(name).await?.is_some(),
        LockWhat::Everything => true,
    };
    if there {
        return Ok(());
    }
    let (code, list) = match what {
        LockWhat::Person(_) => (Code::Usage, "elevatectl person list"),
        LockWhat::Role(_) => (Code::UnknownRole, "elevatectl policy show"),
        LockWhat::Host(_) => (Code::UnknownHost, "elevatectl host list"),
        LockWhat::Everything => (Code::Internal, ""),
    };
    refuse_hint(code, format!("there is nothing to lock: {} is not known", words(what)), list)
}

/// Ends, refuses and withholds what a fresh lock concerns.
async fn sweep(core: &Inner, tx: &mut Tx, voice: &Voice, lock: &LockRow) -> Result<Touching, Fault> {
    let mut touching = Touching::default();
    if let LockWhat::Person(name) = &lock.what {
        tx.hold_changes(name).await?;
    }
    replace::hold(tx, &lock.what).await?;
    let policy = core.policy();
    let said = UntrustedText::lossy(&format!("{} is locked: {}", words(&lock.what), lock.reason.raw()));
    for mut one in everything(tx).await? {
        let hit = Concern::of(&one).is_hit_by(&lock.what);
        match (hit, one.is_active()) {
            (true, true) => {
                core.issuer().end(tx, voice, (EndCause::Revoked, Some(&said)), &mut one).await?;
                touching.ended.push(one);
            }
            (true, false) if matches!(lock.what, LockWhat::Person(_)) => {
                refuse_request(tx, voice, &said, &mut one).await?;
                touching.refused.push(one);
            }
            (true, false) => touching.withheld.push(one),
            (false, true) if approved_by(tx, &one, &lock.what).await? => touching.approved.push(one),
            (false, true) => {}
            // The word of whoever is locked counts no longer: what was approved may wait for others again.
            (false, false) => {
                settle(core, tx, (&Voice::DAEMON, &policy), &mut one, Start::Later).await?;
            }
        }
    }
    let count = |list: &[Activation]| u32::try_from(list.len()).unwrap_or(u32::MAX);
    let kind = Kind::LockSet {
        what: kind(&lock.what),
        until: lock.until,
        reason: lock.reason.clone(),
        ended: count(&touching.ended),
        refused: count(&touching.refused),
    };
    tx.record(voice.did(subject(&lock.what), kind)).await?;
    Ok(touching)
}

/// Whoever asked is in doubt, and so is what was asked: it does not wait for better days.
async fn refuse_request(
    tx: &mut Tx,
    voice: &Voice,
    why: &UntrustedText,
    one: &mut Activation,
) -> Result<(), Fault> {
    one.state = State::Refused { reason: why.escaped() };
    tx.update_activation(one).await?;
    tx.record(voice.did(about(one), Kind::RequestRefused { why: why.clone() })).await?;
    Ok(())
}

async fn approved_by(tx: &mut Tx, one: &Activation, what: &LockWhat) -> Result<bool, Fault> {
    let LockWhat::Person(name) = what else { return Ok(false) };
    Ok(tx.approvals(one.id).await?.iter().any(|(approval, _)| approval.approver == *name))
}

/// Lifts every lock on one thing. What was ended stays ended.
pub(in crate::core) async fn unlock(
    core: &Inner,
    talk: &Dialogue,
    what: &LockWhat,
    reason: &UntrustedText,
) -> Told<AdminOutcome> {
    let mut tx = core.store.write().await?;
    let now = tx.now();
    let (gates, found): (Vec<LockRow>, Vec<LockRow>) =
        tx.locks().await?.into_iter().filter(|lock| lock.what == *what).partition(restore::is_gate);
    if found.is_empty() && !gates.is_empty() {
        return Err(Stop::Refuse(restore::refusal()));
    }
    if found.is_empty() {
        return refuse_hint(Code::Gone, format!("{} is not locked", words(what)), "elevatectl locks");
    }
    for lock in &found {
        tx.end_lock(lock.id, now).await?;
        let kind = Kind::LockLifted { what: kind(&lock.what), reason: reason.clone() };
        tx.record(talk.voice.did(subject(what), kind)).await?;
    }
    tx.commit().await?;
    Ok(AdminOutcome::Unlocked(found.iter().map(shown).collect()))
}

/// Every lock in force.
pub(in crate::core) async fn list(core: &Inner) -> Told<AdminOutcome> {
    let mut tx = core.store.read().await?;
    Ok(AdminOutcome::Locks(tx.locks().await?.iter().map(shown).collect()))
}
