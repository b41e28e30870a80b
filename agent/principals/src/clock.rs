//! The one reader of clocks in this program.
//!
//! In: the kernel. Out: UTC seconds and milliseconds of CLOCK_BOOTTIME; none where one of them is not known.

use std::time::{SystemTime, UNIX_EPOCH};

use elevate_protocol::time::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Both clocks.
pub(crate) fn read() -> Option<(Timestamp, u64)> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let (seconds, nanos) = (u64::try_from(boot.tv_sec()).ok()?, u64::try_from(boot.tv_nsec()).ok()?);
    let millis = seconds.checked_mul(1000)?.checked_add(nanos.checked_div(1_000_000)?)?;
    Some((Timestamp(i64::try_from(wall.as_secs()).ok()?), millis))
}
