//! The one place of this program that reads a clock or the time zone.
//!
//! In: nothing. Out: UTC seconds, instants, the person's zone. Everything else gets them as arguments.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use elevate_protocol::time::Timestamp;
use jiff::tz::TimeZone;

use crate::render::At;

/// The wall clock, in UTC seconds. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The wall clock, to compare with the times of files.
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The clock that nobody sets: for deadlines.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// The moment and place that things are shown for.
#[must_use]
pub fn here() -> At {
    At { now: now(), zone: zone() }
}

/// The person's time zone, UTC when there is none.
#[must_use]
pub fn zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}
