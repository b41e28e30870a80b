//! Dates of a policy: TOML dates and date-times with an offset, as UTC seconds.
//!
//! In: a TOML date-time. Out: a point in time; `until = 2026-12-31` means through the end of that UTC day.
//! Spec: docs/policy.md "Dates". The calendar is the proleptic Gregorian one, as RFC 3339 has it.

use elevate_protocol::time::Timestamp;
use toml::value::{Datetime, Offset};

/// Which end of a day a bare date means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// `from`: the day's first second.
    Start,
    /// `until`: the first second after the day.
    End,
}

const DAY: i64 = 86_400;

/// The point that a date names. None: a time without a date, or a local time, whose zone nobody knows.
pub(crate) fn moment_from_toml(value: &Datetime, edge: Edge) -> Option<Timestamp> {
    // Held where `moment_text` can write it, so that a policy reads back as it is shown.
    moment(value, edge).map(|at| Timestamp(at.0.clamp(0, LAST_SECOND)))
}

fn moment(value: &Datetime, edge: Edge) -> Option<Timestamp> {
    let date = value.date?;
    let day = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let midnight = day.checked_mul(DAY)?;
    match (value.time, value.offset) {
        (None, None) if edge == Edge::Start => Some(Timestamp(midnight)),
        (None, None) => midnight.checked_add(DAY).map(Timestamp),
        (Some(time), Some(offset)) => {
            let clock = i64::from(time.hour)
                .checked_mul(3600)?
                .checked_add(i64::from(time.minute).checked_mul(60)?)?
                .checked_add(i64::from(time.second.unwrap_or(0)))?;
            let ahead = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes).checked_mul(60)?,
            };
            midnight.checked_add(clock)?.checked_sub(ahead).map(Timestamp)
        }
        (Some(_), None) | (None, Some(_)) => None,
    }
}

/// Days since 1970-01-01: whole years of 365 days, the leap days among them, and the days of the months.
#[expect(clippy::arithmetic_side_effects, reason = "years of four digits, months and days of two")]
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year starts in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_year = (153 * month + 2).div_euclid(5) + day - 1;
    365 * year + leaps + of_year - 719_468
}

/// `2027-01-01T00:00:00Z`, as TOML and RFC 3339 write it; held between the years 1970 and 9999.
#[expect(clippy::arithmetic_side_effects, reason = "the time is held within four-digit years first")]
#[must_use]
pub fn moment_text(at: Timestamp) -> String {
    let at = at.0.clamp(0, LAST_SECOND);
    let (day, second) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    // No year has more than 366 days, so this is never too late; it is a few years too early at most.
    let mut year = 1970 + day.div_euclid(366);
    while days_from_civil(year + 1, 1, 1) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_from_civil(year, month + 1, 1) <= day {
        month += 1;
    }
    let date = day - days_from_civil(year, month, 1) + 1;
    let (hour, minute) = (second.div_euclid(3600), second.rem_euclid(3600).div_euclid(60));
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{:02}Z", second.rem_euclid(60))
}

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, edge: Edge) -> Option<i64> {
        moment_from_toml(&text.parse().unwrap(), edge).map(|at| at.0)
    }

    /// Values of `date -u -d … +%s`.
    #[test]
    fn dates_are_utc_days_and_until_means_through_the_day() {
        assert_eq!(read("2026-12-31", Edge::Start), Some(1_798_675_200));
        assert_eq!(read("2026-12-31", Edge::End), Some(1_798_761_600));
        assert_eq!(read("2028-02-29", Edge::End), Some(1_835_481_600));
        assert_eq!(read("2026-12-31T18:00:00+02:00", Edge::End), Some(1_798_732_800));
        assert_eq!(read("1970-01-01T00:00:00Z", Edge::Start), Some(0));
        assert_eq!(read("2026-12-31T18:00:00", Edge::End), None);
        assert_eq!(read("18:00:00", Edge::End), None);
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        for seconds in [0, 951_782_399, 951_782_400, 1_798_761_599, 1_798_761_600, 4_102_444_800, LAST_SECOND]
        {
            let text = moment_text(Timestamp(seconds));
            assert_eq!(read(&text, Edge::End), Some(seconds), "{text}");
        }
        assert_eq!(moment_text(Timestamp(1_798_761_600)), "2027-01-01T00:00:00Z");
        assert_eq!(moment_text(Timestamp(i64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(moment_text(Timestamp(i64::MIN)), "1970-01-01T00:00:00Z");
    }
}
