//! The one reader of clocks in this crate.
//!
//! In: the kernel's clocks. Out: the wall clock for grants, a monotonic clock for deadlines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use elevate_protocol::time::Timestamp;

/// The wall clock, since 1970.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX)
}

/// Time since the machine started, suspended time included: the clock of `starttime` in /proc.
pub(crate) fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// The wall clock; a clock before 1970 is far too late for any grant rather than early.
pub(crate) fn now() -> Timestamp {
    Timestamp(i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX))
}

/// The moment `wait` from here.
pub(crate) fn deadline(wait: Duration) -> Instant {
    let start = Instant::now();
    start.checked_add(wait).unwrap_or(start)
}

/// Time left until `deadline`, none once it has passed.
pub(crate) fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
