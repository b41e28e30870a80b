//! How many wrong codes, and what they lead to.
//!
//! In: what is remembered of a person's doors. Out: whether a code is looked at, and what a wrong one adds.
//! Spec: docs/architecture.md "The second factor": 5 wrong → growing delay, 10 → that door locked 15 min, all doors at 30.
//! One door counts for at most 10 of the 30: a host that lies locks its own door and no other.

use elevate_audit::LockScope;
use elevate_protocol::time::{Span, Timestamp};

use crate::store::FailureRow;

/// The door of everybody's own key.
pub(crate) const KEY_DOOR: &str = "key";
/// All doors together.
const ALL_DOORS: &str = "*";
/// Codes that one challenge takes.
pub(crate) const CHALLENGE_TRIES: u8 = 3;
/// How long a challenge lives.
pub(crate) const CHALLENGE_LIFE: Span = Span(300);
/// Codes that one invitation takes.
pub(crate) const INVITATION_TRIES: u32 = 5;
const DELAY_FROM: u32 = 5;
const DOOR_LOCK_AT: u32 = 10;
const ALL_LOCK_AT: u32 = 30;
const LOCK: Span = Span(15 * 60);

/// Until when no code is looked at, and whether that is a lock rather than a delay.
pub(crate) fn closed_until(failures: &[FailureRow], door: &str, now: Timestamp) -> Option<(Timestamp, bool)> {
    let rows = || failures.iter().filter(|row| row.door == door || row.door == ALL_DOORS);
    let locked = rows().map(|row| row.locked_until).filter(|until| *until > now).max();
    let delayed = rows().map(|row| row.next_at).filter(|next| *next > now).max();
    locked.map(|until| (until, true)).or_else(|| delayed.map(|until| (until, false)))
}

/// Until when this door is locked, for showing.
#[must_use]
pub(crate) fn locked_until(failures: &[FailureRow], door: &str, now: Timestamp) -> Option<Timestamp> {
    closed_until(failures, door, now).filter(|(_, locked)| *locked).map(|(until, _)| until)
}

/// What one more wrong code leads to: rows to write, the door's first, and what got locked.
pub(super) fn one_more(
    failures: &[FailureRow],
    door: &str,
    now: Timestamp,
) -> (Vec<FailureRow>, Option<(LockScope, Timestamp)>) {
    let before = failures.iter().find(|row| row.door == door).map_or(0, |row| row.count);
    let count = before.saturating_add(1);
    let mut row =
        FailureRow { door: door.to_owned(), count, next_at: Timestamp(0), locked_until: Timestamp(0) };
    let mut locked = None;
    if count >= DELAY_FROM {
        // 5, 10, 20, 40, 80 s.
        let step = count.saturating_sub(DELAY_FROM).min(8);
        row.next_at = now.after(Span(5u32.saturating_mul(1 << step)));
    }
    if count >= DOOR_LOCK_AT {
        row.locked_until = now.after(LOCK);
        locked = Some((LockScope::Door, row.locked_until));
    }
    let others = failures.iter().filter(|other| other.door != door && other.door != ALL_DOORS);
    let total =
        others.map(|other| other.count.min(DOOR_LOCK_AT)).fold(count.min(DOOR_LOCK_AT), u32::saturating_add);
    let mut rows = vec![row];
    if total >= ALL_LOCK_AT {
        let until = now.after(LOCK);
        rows.push(FailureRow {
            door: ALL_DOORS.to_owned(),
            count: total,
            next_at: Timestamp(0),
            locked_until: until,
        });
        locked = Some((LockScope::AllDoors, until));
    }
    (rows, locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(failures: &mut Vec<FailureRow>, door: &str, now: i64) -> Option<(LockScope, Timestamp)> {
        let (rows, locked) = one_more(failures, door, Timestamp(now));
        for row in rows {
            failures.retain(|old| old.door != row.door);
            failures.push(row);
        }
        locked
    }

    #[test]
    fn d02_five_wrong_codes_delay_and_ten_lock_the_door() {
        let mut failures = Vec::new();
        for n in 1..=10 {
            let locked = fail(&mut failures, "web1", 100);
            assert_eq!(locked.is_some(), n == 10, "{n}");
            let closed = closed_until(&failures, "web1", Timestamp(100));
            let wait = match n {
                1..=4 => None,
                5 => Some((Timestamp(105), false)),
                6 => Some((Timestamp(110), false)),
                9 => Some((Timestamp(180), false)),
                10 => Some((Timestamp(1000), true)),
                _ => closed,
            };
            assert_eq!(closed, wait, "{n}");
            assert_eq!(closed_until(&failures, "web2", Timestamp(100)), None, "{n}");
        }
        assert_eq!(locked_until(&failures, "web1", Timestamp(999)), Some(Timestamp(1000)));
        assert_eq!(locked_until(&failures, "web1", Timestamp(1000)), None);
        // The lock is over, the count is not: one more wrong code locks again.
        assert_eq!(fail(&mut failures, "web1", 2000), Some((LockScope::Door, Timestamp(2900))));
    }

    #[test]
    fn d02_one_lying_host_locks_one_door_and_three_doors_lock_all() {
        let mut failures = Vec::new();
        for _ in 0..100 {
            assert!(matches!(fail(&mut failures, "web1", 100), None | Some((LockScope::Door, _))));
        }
        assert_eq!(closed_until(&failures, KEY_DOOR, Timestamp(100)), None);
        for _ in 0..10 {
            fail(&mut failures, "web2", 100);
        }
        for n in 1..=10 {
            let locked = fail(&mut failures, "web3", 100);
            assert_eq!(matches!(locked, Some((LockScope::AllDoors, _))), n == 10, "{n}");
        }
        assert_eq!(closed_until(&failures, KEY_DOOR, Timestamp(100)), Some((Timestamp(1000), true)));
    }
}
