//! Times as people read them and as scripts do.
//!
//! In: UTC seconds, now, the zone. Out: `14:40 CET (59m)`, `2026-11-22 14:40 CET`, RFC 3339.

use elevate_protocol::time::{Span, Timestamp};
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::At;

/// What is shown for a time that no calendar has.
const NO_TIME: &str = "at no time";

/// The time of day, with the date when it is another day.
#[must_use]
pub fn clock(time: Timestamp, at: &At) -> String {
    let (Some(then), Some(now)) = (zoned(time, &at.zone), zoned(at.now, &at.zone)) else {
        return NO_TIME.to_owned();
    };
    let form = if then.date() == now.date() { "%H:%M %Z" } else { "%Y-%m-%d %H:%M %Z" };
    then.strftime(form).to_string()
}

/// A point ahead with what is left until it: `14:40 CET (59m)`.
#[must_use]
pub fn until(time: Timestamp, at: &At) -> String {
    format!("{} ({})", clock(time, at), short(time.since(at.now)))
}

/// A point behind: `14:40 CET (3m ago)`.
#[must_use]
pub fn ago(time: Timestamp, at: &At) -> String {
    format!("{} ({} ago)", clock(time, at), short(at.now.since(time)))
}

/// A length in at most two units, rounded down: `45s`, `59m`, `1h30m`, `2d3h`.
#[must_use]
pub fn short(span: Span) -> String {
    let grain = match span.0 {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3600,
    };
    Span(span.0.saturating_sub(span.0.checked_rem(grain).unwrap_or(0))).to_string()
}

/// `2026-11-21T20:00:00Z`.
#[must_use]
pub fn rfc3339(time: Timestamp) -> Option<String> {
    jiff::Timestamp::from_second(time.0).ok().map(|time| time.to_string())
}

fn zoned(time: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    jiff::Timestamp::from_second(time.0).ok().map(|time| time.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: TimeZone) -> At {
        // 2026-11-21 13:41:00 UTC.
        At { now: Timestamp(1_795_268_460), zone }
    }

    #[test]
    fn times_are_shown_in_the_persons_zone_with_what_is_left() {
        let at = at(TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(until(Timestamp(1_795_268_460 + 3540), &at), "15:40 +01 (59m)");
        assert_eq!(clock(Timestamp(1_795_268_460 + 86_400), &at), "2026-11-22 14:41 +01");
        assert_eq!(ago(Timestamp(1_795_268_460 - 10), &at), "14:40 +01 (10s ago)");
        assert_eq!(until(Timestamp(0), &at), "1970-01-01 01:00 +01 (0s)");
        assert_eq!(clock(Timestamp(i64::MAX), &at), NO_TIME);
    }

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, shown) in [(45, "45s"), (119, "1m"), (5430, "1h30m"), (183_700, "2d3h"), (0, "0s")] {
            assert_eq!(short(Span(seconds)), shown);
        }
    }

    #[test]
    fn scripts_get_utc() {
        assert_eq!(rfc3339(Timestamp(1_795_268_460)).as_deref(), Some("2026-11-21T13:41:00Z"));
        assert_eq!(rfc3339(Timestamp(i64::MAX)), None);
    }
}
