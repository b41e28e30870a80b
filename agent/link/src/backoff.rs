//! How long to wait before the next attempt: quick at first, then doubling, with jitter.
//!
//! In: one random byte each time. Out: a delay. Spec: ARCHITECTURE §7 "reconnect with jitter, cap 60 s".

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const CAP: Duration = Duration::from_secs(60);
const DOUBLINGS_MAX: u32 = 9;

/// Counts attempts that failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// The last attempt worked: the next failure waits shortly again.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }

    /// Half of the delay is certain, the other half is random, so that a thousand hosts do not come back at once.
    pub(crate) fn next_delay(&mut self, random: u8) -> Duration {
        let whole = FIRST.saturating_mul(1u32 << self.failed.min(DOUBLINGS_MAX)).min(CAP);
        self.failed = self.failed.saturating_add(1);
        let half = whole.checked_div(2).unwrap_or(whole);
        let part = half.saturating_mul(u32::from(random)).checked_div(255).unwrap_or(half);
        half.saturating_add(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_begin_again_after_success() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..11).map(|_| backoff.next_delay(255).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(backoff.next_delay(0), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next_delay(0), Duration::from_millis(100));
    }
}
