//! How many refusals of strangers are recorded: a key of nobody must not be able to fill the log (threats H02, H09).
//!
//! In: where a refusal came from, the time. Out: whether it is recorded, and how many before it were not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use elevate_protocol::time::{Span, Timestamp};

/// Counted over this time.
const WINDOW: Span = Span::MINUTE;
/// Recorded of one address.
const EACH_MAX: u32 = 10;
/// Recorded of all addresses, so that one with many addresses gains nothing.
const ALL_MAX: u32 = 60;

/// Counts refusals.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    since: Option<Timestamp>,
    /// At most [`ALL_MAX`] addresses: one that is not recorded is not remembered.
    of: HashMap<IpAddr, u32>,
    all: u32,
    left_out: u64,
}

/// What becomes of one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Recorded.
    Record {
        /// Refusals before it that were not.
        left_out: u64,
    },
    /// Not recorded, the first one since the last that was: worth a line in the daemon's own log.
    FirstLeftOut,
    /// Not recorded.
    LeftOut,
}

impl Strangers {
    /// Counts one refusal.
    pub(super) fn refused(&self, from: IpAddr, now: Timestamp) -> Entry {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins anew as well.
        if counts.since.is_none_or(|since| now < since || now >= since.after(WINDOW)) {
            counts.since = Some(now);
            counts.of.clear();
            counts.all = 0;
        }
        let mine = counts.of.get(&from).copied().unwrap_or(0);
        if mine >= EACH_MAX || counts.all >= ALL_MAX {
            counts.left_out = counts.left_out.saturating_add(1);
            return if counts.left_out == 1 { Entry::FirstLeftOut } else { Entry::LeftOut };
        }
        counts.of.insert(from, mine.saturating_add(1));
        counts.all = counts.all.saturating_add(1);
        Entry::Record { left_out: std::mem::take(&mut counts.left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_bounded_for_one_address_and_for_all_and_told_later() {
        let strangers = Strangers::default();
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        for _ in 0..10 {
            assert_eq!(strangers.refused(address(1), Timestamp(100)), Entry::Record { left_out: 0 });
        }
        assert_eq!(strangers.refused(address(1), Timestamp(100)), Entry::FirstLeftOut);
        assert_eq!(strangers.refused(address(1), Timestamp(159)), Entry::LeftOut);
        assert_eq!(strangers.refused(address(2), Timestamp(159)), Entry::Record { left_out: 2 });
        let many = (3..=200).map(|n| strangers.refused(address(n), Timestamp(159)));
        let recorded = many.filter(|entry| matches!(entry, Entry::Record { .. })).count();
        assert_eq!(recorded, 49);
        assert_eq!(strangers.refused(address(1), Timestamp(160)), Entry::Record { left_out: 149 });
        assert_eq!(strangers.refused(address(1), Timestamp(5)), Entry::Record { left_out: 0 });
    }
}
