//! Locks: what is locked begins nothing and decides nothing, whatever the policy says.
//!
//! In: who asks and what it is about. Out: nothing, or a refusal that says who locked it, since when and until when.
//! Looked at before a code is asked for, and again in the transaction that would give the right (threats C06, D02).

mod act;
mod report;

use elevate_audit::{Actor, Kind, LockKind, Subject};
use elevate_policy::moment_text;
use elevate_protocol::message::lock::{LockView, LockWhat};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;

use super::dialogue::Dialogue;
use super::fault::{Stop, Told};
use super::{Inner, Speaker, ask, restore};
use crate::issue::about;
use crate::store::{Activation, LockRow, StoreError, Tx};

pub(super) use act::{list, lock, lock_me, unlock};

/// What may be locked of something.
#[derive(Debug, Default)]
pub(super) struct Concern<'a> {
    pub(super) person: Option<&'a Name>,
    pub(super) role: Option<&'a Name>,
    pub(super) hosts: Vec<&'a Name>,
}

impl<'a> Concern<'a> {
    /// Everything that an activation is about.
    pub(super) fn of(activation: &'a Activation) -> Self {
        Self {
            person: Some(&activation.person),
            role: Some(&activation.role),
            hosts: activation.hosts.iter().map(|host| &host.name).collect(),
        }
    }

    /// Whoever speaks, and the host that it comes through. Root on this machine is nobody whom a lock keeps out.
    fn of_speaker(talk: &'a Dialogue) -> Option<Self> {
        match &talk.speaker {
            Speaker::Root { .. } => None,
            Speaker::Person { name, .. } | Speaker::OnHost { name, .. } => Some(Self {
                person: Some(name),
                role: None,
                hosts: talk.here.iter().map(|here| &here.name).collect(),
            }),
        }
    }

    /// Whether a lock is on one of these.
    pub(super) fn is_hit_by(&self, what: &LockWhat) -> bool {
        match what {
            LockWhat::Person(name) => self.person == Some(name),
            LockWhat::Role(name) => self.role == Some(name),
            LockWhat::Host(name) => self.hosts.contains(&name),
            LockWhat::Everything => true,
        }
    }
}

/// The lock that lasts longest of those on something; none: it is not locked.
pub(super) async fn bar(tx: &mut Tx, concern: &Concern<'_>) -> Result<Option<LockRow>, StoreError> {
    longest(tx, concern, |_| true).await
}

async fn longest(
    tx: &mut Tx,
    concern: &Concern<'_>,
    counts: impl Fn(&LockRow) -> bool,
) -> Result<Option<LockRow>, StoreError> {
    let locks = tx.locks().await?.into_iter().filter(|lock| counts(lock) && concern.is_hit_by(&lock.what));
    Ok(locks.max_by_key(|lock| (restore::is_gate(lock), lock.until.map_or(i64::MAX, |at| at.0))))
}

/// Whether this person is locked, or everything is.
pub(super) async fn is_locked(tx: &mut Tx, person: &Name) -> Result<bool, StoreError> {
    let concern = Concern { person: Some(person), ..Concern::default() };
    Ok(bar(tx, &concern).await?.is_some())
}

/// Refuses in a transaction that would give a right; it is dropped by the caller's `?`.
pub(super) async fn unlocked(tx: &mut Tx, talk: &Dialogue, activation: Option<&Activation>) -> Told<()> {
    let concerns = [Concern::of_speaker(talk), activation.map(Concern::of)];
    for concern in concerns.iter().flatten() {
        if let Some(lock) = bar(tx, concern).await? {
            return Err(Stop::Refuse(refusal(&lock)));
        }
    }
    Ok(())
}

/// Before anything else: whoever is locked, or asks through a locked host, gets no further with what gives or decides.
pub(super) async fn admit(core: &Inner, talk: &Dialogue, asked: &Ask) -> Told<()> {
    // A certificate is asked for often: its locks are looked at with everything else of it.
    if matches!(asked, Ask::Certificate(_)) {
        return Ok(());
    }
    let found = barred(&mut core.store.glance().await?, talk, asked).await?;
    match found {
        None => Ok(()),
        Some(lock) => keep_out(core, talk, (asked, &lock)).await,
    }
}

/// The lock that keeps an ask out by whoever makes it.
pub(super) async fn barred(tx: &mut Tx, talk: &Dialogue, asked: &Ask) -> Result<Option<LockRow>, StoreError> {
    let Some(concern) = Concern::of_speaker(talk).filter(|_| ask::gives_or_decides(asked)) else {
        return Ok(None);
    };
    // Whoever locks themself takes a right away, whatever the daemon has forgotten.
    let locks_me = matches!(asked, Ask::LockMe { .. });
    let counts = |lock: &LockRow| !(locks_me && restore::is_gate(lock));
    longest(tx, &concern, counts).await
}

/// Records that such a lock kept an ask out, and refuses. No transaction may be open.
pub(super) async fn keep_out<T>(core: &Inner, talk: &Dialogue, (asked, lock): (&Ask, &LockRow)) -> Told<T> {
    let person = Concern::of_speaker(talk).and_then(|concern| concern.person.cloned());
    refused(core, talk, Subject { person, ..Subject::default() }, (ask::word(asked), lock)).await
}

/// The same for what the ask is about.
pub(super) async fn admit_about(
    core: &Inner,
    talk: &Dialogue,
    activation: &Activation,
    word: &'static str,
) -> Told<()> {
    let found = bar(&mut core.store.glance().await?, &Concern::of(activation)).await?;
    match found {
        None => Ok(()),
        Some(lock) => refused(core, talk, about(activation), (word, &lock)).await,
    }
}

/// Records the refusal and makes it. No transaction may be open.
pub(super) async fn refused<T>(
    core: &Inner,
    talk: &Dialogue,
    subject: Subject,
    (word, lock): (&'static str, &LockRow),
) -> Told<T> {
    let refusal = refusal(lock);
    let mut tx = core.store.write().await?;
    let kind =
        Kind::LockRefused { ask: UntrustedText::lossy(word), why: UntrustedText::lossy(&refusal.message) };
    tx.record(talk.voice.did(subject, kind)).await?;
    tx.commit().await?;
    Err(Stop::Refuse(refusal))
}

/// By whom, since when, until when, why, and who lifts it.
pub(super) fn refusal(lock: &LockRow) -> Refusal {
    if restore::is_gate(lock) {
        return restore::refusal();
    }
    let until = lock
        .until
        .map_or_else(|| "until it is unlocked".to_owned(), |at| format!("until {}", moment_text(at)));
    let message = format!(
        "{} is locked by {} since {} {until}: {}",
        words(&lock.what),
        who(&lock.by),
        moment_text(lock.since),
        lock.reason.escaped()
    );
    Refusal::new(Code::Locked, message)
        .hint(format!("an administrator can lift it: elevatectl unlock {}", option(&lock.what)))
}

/// What a lock is on, for people.
fn words(what: &LockWhat) -> String {
    match what {
        LockWhat::Person(name) => name.to_string(),
        LockWhat::Role(name) => format!("the role {name}"),
        LockWhat::Host(name) => format!("the host {name}"),
        LockWhat::Everything => "everything".to_owned(),
    }
}

fn option(what: &LockWhat) -> String {
    match what {
        LockWhat::Person(name) => format!("--person {name}"),
        LockWhat::Role(name) => format!("--role {name}"),
        LockWhat::Host(name) => format!("--host {name}"),
        LockWhat::Everything => "--all".to_owned(),
    }
}

/// Somebody of the log, for people.
pub(super) fn who(actor: &Actor) -> String {
    match actor {
        Actor::Daemon => "the daemon".to_owned(),
        Actor::Person(name) => name.to_string(),
        Actor::Host(name) => format!("the host {name}"),
        Actor::Root(uid) => format!("uid {uid} on the daemon's machine"),
        Actor::Unknown(address) => format!("somebody at {address}"),
    }
}

fn kind(what: &LockWhat) -> LockKind {
    match what {
        LockWhat::Person(_) => LockKind::Person,
        LockWhat::Role(_) => LockKind::Role,
        LockWhat::Host(_) => LockKind::Host,
        LockWhat::Everything => LockKind::Everything,
    }
}

/// The subject of an event about a lock.
pub(super) fn subject(what: &LockWhat) -> Subject {
    let mut subject = Subject::default();
    match what {
        LockWhat::Person(name) => subject.person = Some(name.clone()),
        LockWhat::Role(name) => subject.role = Some(name.clone()),
        LockWhat::Host(name) => subject.host = Some(name.clone()),
        LockWhat::Everything => {}
    }
    subject
}

fn shown(lock: &LockRow) -> LockView {
    LockView {
        what: lock.what.clone(),
        since: lock.since,
        until: lock.until,
        by: UntrustedText::lossy(&who(&lock.by)),
        reason: lock.reason.clone(),
    }
}

/// The time of a lock is over.
pub(super) async fn expired(tx: &mut Tx, lock: &LockRow) -> Result<(), StoreError> {
    tx.end_lock(lock.id, lock.until.unwrap_or_else(|| tx.now())).await?;
    let kind = Kind::LockExpired { what: kind(&lock.what) };
    tx.record(crate::store::Voice::DAEMON.did(subject(&lock.what), kind)).await
}
