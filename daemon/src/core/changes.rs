//! A factor in the place of another, and a key that a person did not have, wait: for a second administrator, or a day.
//!
//! In: an enrolment, a policy, an administrator's word, the time. Out: what counts, and events. The first factor and the first
//! keys of a person count at once, so that the first set-up is not locked out (threat D07).

use std::collections::HashSet;
use std::sync::PoisonError;

use elevate_audit::{Actor, Kind, Subject};
use elevate_policy::{Policy, moment_text};
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::AdminOutcome;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::ChangeView;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use super::dialogue::Dialogue;
use super::fault::{Fault, Told, refuse, refuse_hint};
use super::{Inner, locks, random};
use crate::store::{ChangeRow, Changed, KnownKey, StoreError, Tx, Voice};

/// How long a change waits when nobody confirms it.
pub(super) const WAIT: Span = Span::DAY;

/// Keys that are in the policy and do not count yet, by person and fingerprint.
pub(super) type Waiting = HashSet<(Name, String)>;

fn subject(person: &Name) -> Subject {
    Subject { person: Some(person.clone()), ..Subject::default() }
}

/// Begins to wait; another change of the same thing gives way. Says from when it counts by itself.
pub(super) async fn begin(
    tx: &mut Tx,
    voice: &Voice,
    (person, what): (&Name, Changed),
    begun_by: &Actor,
) -> Result<Timestamp, Fault> {
    for earlier in tx.changes_waiting().await? {
        if earlier.person == *person && earlier.what.word() == what.word() {
            withdraw(tx, voice, &earlier).await?;
        }
    }
    let counts_at = tx.now().after(WAIT);
    let word = UntrustedText::lossy(what.word());
    let change = ChangeRow {
        id: Nonce::from_random(random()?),
        person: person.clone(),
        what,
        begun_at: tx.now(),
        begun_by: begun_by.clone(),
        counts_at: Some(counts_at),
    };
    tx.insert_change(&change).await?;
    tx.record(voice.did(subject(person), Kind::ChangeWaits { what: word, counts_at })).await?;
    Ok(counts_at)
}

async fn withdraw(tx: &mut Tx, voice: &Voice, change: &ChangeRow) -> Result<(), StoreError> {
    tx.end_change(change.id).await?;
    let what = UntrustedText::lossy(change.what.word());
    tx.record(voice.did(subject(&change.person), Kind::ChangeWithdrawn { what })).await
}

/// A factor that waits goes.
pub(super) async fn withdraw_factor(tx: &mut Tx, voice: &Voice, person: &Name) -> Result<(), StoreError> {
    for change in tx.changes_waiting().await? {
        if change.person == *person && matches!(change.what, Changed::Factor { .. }) {
            withdraw(tx, voice, &change).await?;
        }
    }
    Ok(())
}

async fn settle(tx: &mut Tx, voice: &Voice, change: &ChangeRow, how: &str) -> Result<(), StoreError> {
    match &change.what {
        Changed::Factor { sealed, step } => tx.set_factor(&change.person, sealed, *step).await?,
        Changed::Key(fingerprint) => tx.know_key(&change.person, fingerprint).await?,
    }
    tx.end_change(change.id).await?;
    let (what, how) = (UntrustedText::lossy(change.what.word()), UntrustedText::lossy(how));
    tx.record(voice.did(subject(&change.person), Kind::ChangeCounts { what, how })).await
}

/// What has waited long enough counts.
pub(super) async fn due(tx: &mut Tx) -> Result<(), StoreError> {
    let now = tx.now();
    for change in tx.changes_waiting().await? {
        if change.counts_at.is_some_and(|at| at <= now) {
            settle(tx, &Voice::DAEMON, &change, "waited").await?;
        }
    }
    Ok(())
}

/// Whose word: whoever reloads by a signal is root on the daemon's machine as well.
pub(super) fn side(actor: &Actor) -> Option<&Name> {
    match actor {
        Actor::Person(name) => Some(name),
        Actor::Daemon | Actor::Root(_) | Actor::Host(_) | Actor::Unknown(_) => None,
    }
}

/// A second administrator's word: what waits counts at once.
pub(super) async fn confirm(core: &Inner, talk: &Dialogue, person: &Name, what: &str) -> Told<AdminOutcome> {
    let mut tx = core.store.write().await?;
    let mut waiting = tx.changes_waiting().await?;
    waiting.retain(|change| change.person == *person && change.what.word() == what);
    let Some(change) = waiting.first() else {
        let what = UntrustedText::lossy(what).escaped();
        return refuse_hint(Code::Gone, format!("no {what} of {person} waits"), "elevatectl person list");
    };
    if side(&change.begun_by) == side(&talk.voice.actor) {
        let at = change
            .counts_at
            .map_or_else(String::new, |at| format!("; it counts by itself at {}", moment_text(at)));
        return refuse(
            Code::NotEligible,
            format!(
                "{} began this, and a second administrator confirms it{at}",
                locks::who(&change.begun_by)
            ),
        );
    }
    settle(&mut tx, &talk.voice, change, "confirmed").await?;
    let left = waiting_keys(&mut tx).await?;
    tx.commit().await?;
    drop(set_waiting(core, left));
    Ok(AdminOutcome::Ok)
}

/// What waits for a person, as administrators see it.
pub(super) fn shown(waiting: &[ChangeRow], person: &Name) -> Vec<ChangeView> {
    let mine = waiting.iter().filter(|change| change.person == *person);
    mine.map(|change| ChangeView {
        what: change.what.word().to_owned(),
        since: change.begun_at,
        by: UntrustedText::lossy(&locks::who(&change.begun_by)),
        counts_at: change.counts_at,
    })
    .collect()
}

/// What a policy's keys are beside those that counted and those that wait.
#[derive(Default)]
struct Compared {
    /// Of people who never had one.
    first: Vec<(Name, String)>,
    /// Of people who had others.
    fresh: Vec<(Name, String)>,
    /// Counted, and are in the policy no longer.
    gone: Vec<(Name, String)>,
    /// Waited, and are in the policy no longer.
    stale: Vec<ChangeRow>,
}

fn compare(policy: &Policy, known: &[KnownKey], waiting: &[ChangeRow]) -> Compared {
    let mut held = HashSet::new();
    for person in policy.people() {
        held.extend(person.keys.iter().map(|key| (person.name.clone(), key.fingerprint.to_string())));
    }
    let mut compared = Compared::default();
    for (person, fingerprint) in &held {
        let is_first = !known.iter().any(|key| key.person == *person);
        let counts =
            known.iter().any(|key| key.person == *person && key.fingerprint == *fingerprint && !key.is_gone);
        let waits =
            waiting.iter().any(|change| change.person == *person && change.what.word() == fingerprint);
        if is_first {
            compared.first.push((person.clone(), fingerprint.clone()));
        } else if !counts && !waits {
            compared.fresh.push((person.clone(), fingerprint.clone()));
        }
    }
    let away = |person: &Name, key: &str| !held.contains(&(person.clone(), key.to_owned()));
    let gone = known.iter().filter(|key| !key.is_gone && away(&key.person, &key.fingerprint));
    compared.gone = gone.map(|key| (key.person.clone(), key.fingerprint.clone())).collect();
    let is_stale = |change: &&ChangeRow| match &change.what {
        Changed::Key(fingerprint) => away(&change.person, fingerprint),
        Changed::Factor { .. } => false,
    };
    compared.stale = waiting.iter().filter(is_stale).cloned().collect();
    compared
}

/// Compares a policy's keys with those that counted. Keys that went count no longer at once; new ones wait.
pub(super) async fn keys_of(tx: &mut Tx, policy: &Policy, voice: &Voice) -> Result<Waiting, Fault> {
    let (known, waiting) = (tx.known_keys().await?, tx.changes_waiting().await?);
    let compared = compare(policy, &known, &waiting);
    for (person, fingerprint) in compared.first {
        tx.know_key(&person, &fingerprint).await?;
    }
    for (person, fingerprint) in compared.gone {
        tx.forget_key(&person, &fingerprint).await?;
    }
    for change in compared.stale {
        withdraw(tx, voice, &change).await?;
    }
    for (person, fingerprint) in compared.fresh {
        begin(tx, voice, (&person, Changed::Key(fingerprint)), &voice.actor).await?;
    }
    Ok(waiting_keys(tx).await?)
}

/// Keys that wait.
pub(super) async fn waiting_keys(tx: &mut Tx) -> Result<Waiting, StoreError> {
    let waiting = tx.changes_waiting().await?;
    let key = |change: ChangeRow| match change.what {
        Changed::Key(fingerprint) => Some((change.person, fingerprint)),
        Changed::Factor { .. } => None,
    };
    Ok(waiting.into_iter().filter_map(key).collect())
}

/// Puts in force which keys wait: before the policy that has them, after the commit that lets them count.
/// Gives those of before.
pub(super) fn set_waiting(core: &Inner, waiting: Waiting) -> Waiting {
    std::mem::replace(&mut *core.waiting.write().unwrap_or_else(PoisonError::into_inner), waiting)
}

/// Whether a key of the policy does not count yet.
pub(super) fn waits(core: &Inner, person: &Name, fingerprint: &str) -> bool {
    let waiting = core.waiting.read().unwrap_or_else(PoisonError::into_inner);
    waiting.iter().any(|(name, key)| name == person && key == fingerprint)
}
