//! A person's second factor: enrolling it with key and invitation together, looking at it, trying it.
//!
//! In: [`Ask::FactorAdd`] and its like. Out: the seed once, as a URI, to that person's own key; never to a host (threat D12).

use elevate_audit::{Kind, Subject};
use elevate_protocol::digest::Digest;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::person::{Ask, Challenge, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{AccountView, FactorView};
use elevate_protocol::name::Name;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;

use super::dialogue::{Demand, Dialogue, Recovery, closed};
use super::fault::{Told, refuse, refuse_hint};
use super::{Core, Inner, Speaker, changes, locks, random};
use crate::factor::{
    self, CHALLENGE_LIFE, Checked, FactorError, INVITATION_TRIES, NewFactor, RecoveryAttempt, RecoveryCode,
};
use crate::store::{Changed, Tx};

/// What lets a person enrol a factor, beside their own key.
enum Basis {
    /// An administrator's invitation.
    Invitation(Digest),
    /// A recovery code, which is used up.
    Recovery,
}

/// What came of a first code.
enum Tried {
    /// Wrong; so many tries are left.
    Wrong(u32),
    /// The factor counts.
    Counts,
    /// The factor takes another's place, and waits.
    Waits(Timestamp),
}

pub(super) async fn add(core: &Core, talk: &mut Dialogue, ask: &Ask, invitation: &Secret) -> Told<Outcome> {
    let inner = core.inner();
    let person = talk.person()?.clone();
    let basis = match RecoveryCode::typed(invitation) {
        Some(code) => recovered(inner, talk, &person, code).await?,
        None => {
            let hash = token_hash(invitation);
            invited(inner, &person, hash).await?;
            Basis::Invitation(hash)
        }
    };
    let fresh = NewFactor::fresh(person.clone())?;
    talk.tell(Reply::Seed { uri: fresh.uri()? }).await?;
    let id = Nonce::from_random(random()?);
    let prompt = UntrustedText::lossy("Code from the new entry");
    talk.tell(Reply::Challenge(Challenge { id, ask: ask.digest()?, prompt })).await?;
    let clock = inner.clock.clone();
    let until = clock.now().after(CHALLENGE_LIFE);
    tokio::select! {
        done = first_code(inner, talk, (id, &basis), &fresh) => done,
        () = clock.sleep_until(until) => refuse(Code::Factor, "no code came in time; nothing was changed"),
    }
}

/// A recovery code in the place of an administrator's invitation.
async fn recovered(core: &Inner, talk: &Dialogue, person: &Name, code: RecoveryCode) -> Told<Basis> {
    let subject = subject(person);
    let attempt = RecoveryAttempt { person, door: &talk.door(), code, purpose: "enrol", subject: &subject };
    match factor::check_recovery(&core.store, &core.hasher, &talk.voice, attempt).await {
        Ok((Checked::Accepted, _)) => Ok(Basis::Recovery),
        Ok((Checked::Closed { until, locked }, at)) => closed(until, at, locked),
        Ok((Checked::Rejected { .. } | Checked::Reused | Checked::NoFactor, _)) => {
            refuse(Code::Factor, "that recovery code is not right, or was used")
        }
        Err(FactorError::Busy) => refuse(Code::Busy, "others are at it; try again"),
        Err(error) => Err(error.into()),
    }
}

/// Whether the invitation is this person's, in time, unused and not tried too often. One answer for all that is wrong.
async fn invited(core: &Inner, person: &Name, hash: Digest) -> Told<()> {
    let mut tx = core.store.read().await?;
    let now = tx.now();
    let fits = tx.invitation(hash).await?.is_some_and(|row| {
        row.person == *person
            && row.used_at.is_none()
            && now < row.valid_until
            && row.tries < INVITATION_TRIES
    });
    if fits {
        return Ok(());
    }
    refuse_hint(
        Code::Factor,
        "this invitation is not valid: not yours, used, expired or tried too often",
        format!("ask an administrator for a new one: elevatectl person invite {person}"),
    )
}

async fn first_code(
    core: &Inner,
    talk: &mut Dialogue,
    (id, basis): (Nonce, &Basis),
    fresh: &NewFactor,
) -> Told<Outcome> {
    let mut own_tries = INVITATION_TRIES;
    loop {
        let code = match talk.hear().await? {
            Say::Answer { challenge, code } if challenge == id => code,
            Say::Answer { .. }
            | Say::Confirm { .. }
            | Say::Hello { .. }
            | Say::Ask(_)
            | Say::Input { .. }
            | Say::Leave
            | Say::Use(_)
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_) => return refuse(Code::Factor, "a code for this challenge was asked for"),
        };
        own_tries = own_tries.saturating_sub(1);
        let done = match try_code(core, talk, (basis, &code, own_tries), fresh).await? {
            Tried::Counts => Ok(Outcome::Ok),
            Tried::Waits(counts_at) => Ok(Outcome::Waits { counts_at }),
            Tried::Wrong(left) => Err(left),
        };
        let left = match done {
            Ok(outcome) => {
                talk.tell(Reply::Verdict { accepted: true, tries: 0, message: None }).await?;
                return Ok(outcome);
            }
            Err(left) => left,
        };
        let tries = u8::try_from(left).unwrap_or(0);
        let message = Some("that is not the code of the new entry; is the phone's clock right?".to_owned());
        talk.tell(Reply::Verdict { accepted: false, tries, message }).await?;
        if left == 0 {
            return refuse(Code::Factor, "the invitation was tried too often; ask for a new one");
        }
    }
}

/// One try.
async fn try_code(
    core: &Inner,
    talk: &Dialogue,
    (basis, code, own_tries): (&Basis, &Secret, u32),
    fresh: &NewFactor,
) -> Told<Tried> {
    let person = talk.person()?.clone();
    talk.stands(core)?;
    let mut tx = core.store.write().await?;
    locks::unlocked(&mut tx, talk, None).await?;
    let (tries, by) = match basis {
        Basis::Recovery => (INVITATION_TRIES.saturating_sub(own_tries), talk.voice.actor.clone()),
        Basis::Invitation(hash) => {
            tx.count_try(*hash).await?;
            let Some(row) = tx.invitation(*hash).await? else {
                return refuse(Code::Factor, "the invitation is gone");
            };
            if row.used_at.is_some() || tx.now() >= row.valid_until || row.tries > INVITATION_TRIES {
                return refuse(Code::Factor, "the invitation is no longer valid; ask for a new one");
            }
            (row.tries, row.by)
        }
    };
    let Some(step) = fresh.step_of(&factor::Code::typed(code), tx.now())? else {
        let purpose = UntrustedText::lossy("enrol");
        let kind = Kind::FactorRejected { purpose, failures: tries, next_at: None };
        tx.record(talk.voice.did(subject(&person), kind)).await?;
        tx.commit().await?;
        return Ok(Tried::Wrong(INVITATION_TRIES.saturating_sub(tries)));
    };
    if let Basis::Invitation(hash) = basis
        && !tx.burn_invitation(*hash).await?
    {
        return refuse(Code::Factor, "the invitation was used meanwhile");
    }
    let sealed = fresh.seal(&core.seal)?;
    let tried = if tx.had_factor(&person).await? {
        let what = Changed::Factor { sealed, step };
        Tried::Waits(changes::begin(&mut tx, &talk.voice, (&person, what), &by).await?)
    } else {
        tx.set_factor(&person, &sealed, step).await?;
        tx.record(talk.voice.did(subject(&person), Kind::FactorEnrolled {})).await?;
        Tried::Counts
    };
    tx.commit().await?;
    Ok(tried)
}

pub(super) async fn list(core: &Core, talk: &Dialogue) -> Told<Outcome> {
    let mut tx = core.inner().store.read().await?;
    Ok(Outcome::Factors(factors(&mut tx, talk).await?))
}

async fn factors(tx: &mut Tx, talk: &Dialogue) -> Told<Vec<FactorView>> {
    let person = talk.person()?;
    let Some(row) = tx.factor(person).await? else { return Ok(Vec::new()) };
    let failures = tx.failures(person).await?;
    let recovery =
        tx.recovery_set(person).await?.map(|set| u32::try_from(set.hashes.len()).unwrap_or(u32::MAX));
    Ok(vec![FactorView {
        kind: "totp".to_owned(),
        since: row.since,
        used_at: row.used_at,
        recovery,
        locked_until: factor::locked_until(&failures, &talk.door(), tx.now()),
    }])
}

/// One code, without any other effect than that it is used.
pub(super) async fn test(core: &Core, talk: &mut Dialogue, ask: &Ask) -> Told<Outcome> {
    let inner = core.inner();
    let person = talk.person()?.clone();
    let demand = Demand {
        ask,
        bound_to: ask.digest()?,
        purpose: "test",
        what: "try the code, without any effect".to_owned(),
        subject: subject(&person),
        recovery: Recovery::Refused,
    };
    talk.challenge(inner, demand).await?;
    let mut tx = inner.store.write().await?;
    tx.record(talk.voice.did(subject(&person), Kind::FactorTested {})).await?;
    tx.commit().await?;
    Ok(Outcome::Ok)
}

pub(super) async fn whoami(core: &Core, talk: &Dialogue) -> Told<Outcome> {
    let person = talk.person()?.clone();
    let through = match (&talk.speaker, &talk.here) {
        (_, Some(here)) => here.name.to_string(),
        (Speaker::Person { key, .. }, None) => key.clone(),
        (Speaker::Root { .. } | Speaker::OnHost { .. }, None) => String::new(),
    };
    let mut tx = core.inner().store.read().await?;
    Ok(Outcome::Account(AccountView {
        groups: core.inner().policy().groups_of(&person),
        person,
        through: UntrustedText::lossy(&through),
        factors: factors(&mut tx, talk).await?,
    }))
}

/// What is stored of a token: 128 random bits need no salt and no slow hash.
pub(super) fn token_hash(token: &Secret) -> Digest {
    Digest::of(token.expose().as_bytes())
}

fn subject(person: &Name) -> Subject {
    Subject { person: Some(person.clone()), ..Subject::default() }
}
