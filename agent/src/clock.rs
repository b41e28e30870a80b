//! The one reader of clocks in this program.
//!
//! In: the kernel. Out: [`Timestamp`] by the wall clock, [`Boot`] by CLOCK_BOOTTIME, and the timer that wakes the agent.
//! CLOCK_BOOTTIME goes on in suspend and nobody can set it (clock_gettime(2)).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use elevate_protocol::time::{Span, Timestamp};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds since the machine booted, suspend included.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Boot(pub(crate) u64);

impl Boot {
    /// `seconds` later; earlier when negative.
    #[must_use]
    pub(crate) fn after_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add_signed(seconds.saturating_mul(1000)))
    }

    /// `span` later.
    #[must_use]
    pub(crate) fn after(self, span: Span) -> Self {
        self.after_seconds(i64::from(span.0))
    }

    /// `time` later, to the millisecond.
    #[must_use]
    pub(crate) fn after_millis(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from here to `later`; zero when it has passed.
    #[must_use]
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// Whole seconds from here to `later`, rounded up; zero when it has passed.
    #[must_use]
    pub(crate) fn seconds_to(self, later: Self) -> Span {
        Span(u32::try_from(later.0.saturating_sub(self.0).div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// CLOCK_BOOTTIME.
    pub(crate) boot: Boot,
}

impl Moment {
    /// Seconds by which the wall clock was set since `before`; back when negative.
    #[must_use]
    pub(crate) fn stepped_since(self, before: Self) -> i64 {
        let passed =
            i64::try_from(self.boot.0.saturating_sub(before.boot.0).div_euclid(1000)).unwrap_or(i64::MAX);
        self.wall.0.saturating_sub(before.wall.0).saturating_sub(passed)
    }
}

/// Reads both clocks. A wall clock before 1970 reads as 1970.
#[must_use]
pub(crate) fn read() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wall = Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    // CLOCK_BOOTTIME exists since Linux 2.6.39; without it nothing is ever before its deadline.
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec()).unwrap_or(0).div_euclid(1_000_000);
        seconds.saturating_mul(1000).saturating_add(millis)
    });
    Moment { wall, boot: Boot(boot) }
}

/// A timer on CLOCK_BOOTTIME.
#[derive(Debug)]
pub(crate) struct Alarm(TimerFd);

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// What timerfd_create(2) says.
    pub(crate) fn new() -> nix::Result<Self> {
        TimerFd::new(TimerClock::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC).map(Self)
    }

    /// Rings once at `deadline`; at once when that has passed.
    ///
    /// # Errors
    /// What timerfd_settime(2) says.
    pub(crate) fn set(&self, deadline: Boot) -> nix::Result<()> {
        // A time of zero would unset the timer instead of ringing.
        let time = TimeSpec::from_duration(Duration::from_millis(deadline.0.max(1)));
        self.0.set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    /// Waits until it rings.
    ///
    /// # Errors
    /// What read(2) says.
    pub(crate) fn wait(&self) -> nix::Result<()> {
        self.0.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_rings_at_its_deadline_and_at_once_when_that_has_passed() {
        let alarm = Alarm::new().unwrap();
        let start = read().boot;
        alarm.set(Boot(start.0 + 50)).unwrap();
        alarm.wait().unwrap();
        assert!(read().boot.0 >= start.0 + 50);
        alarm.set(Boot(0)).unwrap();
        alarm.wait().unwrap();
    }

    #[test]
    fn a_wall_clock_that_was_set_is_told_from_one_that_walks() {
        let at = |wall, boot| Moment { wall: Timestamp(wall), boot: Boot(boot) };
        assert_eq!(at(1_600, 700_900).stepped_since(at(1_000, 100_000)), 0);
        assert_eq!(at(0, 100_500).stepped_since(at(3_600, 100_000)), -3_600);
        // Suspended for an hour: both went on.
        assert_eq!(at(4_600, 3_700_000).stepped_since(at(1_000, 100_000)), 0);
        assert_eq!(at(91_000, 101_000).stepped_since(at(1_000, 100_000)), 89_999);
    }

    #[test]
    fn time_left_is_rounded_up() {
        assert_eq!(Boot(1_000).seconds_to(Boot(2_001)), Span(2));
        assert_eq!(Boot(2_000).seconds_to(Boot(1_000)), Span(0));
        assert_eq!(Boot(5_000).after_seconds(-9), Boot(0));
    }
}
