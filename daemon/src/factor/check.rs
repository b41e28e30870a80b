//! Looks at one code: is the door open, count, compare, use up. All in one transaction of the one writer, so that of
//! many at once exactly one counts (threat D04).
//!
//! In: a person, a door, a code. Out: [`Checked`], with its events recorded.

use elevate_audit::{Kind, Subject};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;

use super::limits::{closed_until, one_more};
use super::totp::{Code, step_of};
use super::{FactorError, SealKey};
use crate::store::{FailureRow, Tx, Voice};

/// What came of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Right, and never again.
    Accepted,
    /// Wrong, and counted. Before `next_at` no other is looked at.
    Rejected {
        /// None: at once.
        next_at: Option<Timestamp>,
    },
    /// Right, but used before. Not counted.
    Reused,
    /// Not looked at.
    Closed {
        /// Until when.
        until: Timestamp,
        /// A lock, or only a delay.
        locked: bool,
    },
    /// The person has no factor.
    NoFactor,
}

/// One code of one person at one door.
pub(crate) struct Attempt<'a> {
    pub(crate) person: &'a Name,
    pub(crate) door: &'a str,
    pub(crate) code: &'a Code,
    pub(crate) purpose: &'a str,
    pub(crate) subject: &'a Subject,
}

/// Checks a code and records what came of it. The transaction is to be committed whatever came of it.
///
/// # Errors
/// [`FactorError`] when it could not be looked at; then nothing is to be committed.
pub(crate) async fn check(
    tx: &mut Tx,
    seal: &SealKey,
    voice: &Voice,
    attempt: Attempt<'_>,
) -> Result<Checked, FactorError> {
    let now = tx.now();
    let Some(factor) = tx.factor(attempt.person).await? else { return Ok(Checked::NoFactor) };
    let failures = tx.failures(attempt.person).await?;
    if let Some((until, locked)) = closed_until(&failures, attempt.door, now) {
        return Ok(Checked::Closed { until, locked });
    }
    // Counted before it is compared, so that nothing between the two lets a try go free.
    let (rows, locked) = one_more(&failures, attempt.door, now);
    for row in &rows {
        tx.set_failures(attempt.person, row).await?;
    }
    let seed = seal.open(attempt.person, &factor.sealed)?;
    let Some(step) = step_of(&seed, attempt.code, now)? else {
        return rejected(tx, voice, &attempt, (&rows, locked)).await;
    };
    let purpose = UntrustedText::lossy(attempt.purpose);
    if !tx.burn_step(attempt.person, step).await? {
        restore(tx, &attempt, &failures, &rows).await?;
        tx.record(voice.did(attempt.subject.clone(), Kind::FactorReused { purpose })).await?;
        return Ok(Checked::Reused);
    }
    // The person proved to be there: this door, and the lock of all, begin anew.
    for row in rows {
        let zero = FailureRow { count: 0, next_at: Timestamp(0), locked_until: Timestamp(0), ..row };
        tx.set_failures(attempt.person, &zero).await?;
    }
    tx.record(voice.did(attempt.subject.clone(), Kind::FactorAccepted { purpose })).await?;
    Ok(Checked::Accepted)
}

async fn rejected(
    tx: &mut Tx,
    voice: &Voice,
    attempt: &Attempt<'_>,
    (rows, locked): (&[FailureRow], Option<(elevate_audit::LockScope, Timestamp)>),
) -> Result<Checked, FactorError> {
    let next_at = rows.iter().map(|row| row.next_at.max(row.locked_until)).max().filter(|at| *at > tx.now());
    let failures = rows.first().map_or(0, |row| row.count);
    let purpose = UntrustedText::lossy(attempt.purpose);
    let kind = Kind::FactorRejected { purpose, failures, next_at };
    tx.record(voice.did(attempt.subject.clone(), kind)).await?;
    if let Some((scope, until)) = locked {
        tx.record(voice.did(attempt.subject.clone(), Kind::FactorLocked { scope, until })).await?;
    }
    Ok(Checked::Rejected { next_at })
}

/// Takes back what [`one_more`] wrote.
async fn restore(
    tx: &mut Tx,
    attempt: &Attempt<'_>,
    before: &[FailureRow],
    written: &[FailureRow],
) -> Result<(), FactorError> {
    for row in written {
        let old = before.iter().find(|old| old.door == row.door).cloned();
        let none = FailureRow {
            door: row.door.clone(),
            count: 0,
            next_at: Timestamp(0),
            locked_until: Timestamp(0),
        };
        tx.set_failures(attempt.person, &old.unwrap_or(none)).await?;
    }
    Ok(())
}
