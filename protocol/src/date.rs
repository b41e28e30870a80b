//! UTC seconds as the 14 digits and `Z` of sudoers(5) NOTAFTER and of ssh-keygen(1) valid-before, by arithmetic alone: no
//! zone of this process plays a part.
//!
//! In: [`Timestamp`]. Out: `20261121200000Z`, or a refusal outside 1970 to 9999. Threats A14, X-a.

use crate::time::Timestamp;

/// A point in time that has no 14 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a second between 1970 and 9999", at.0)]
pub struct DateError {
    /// The point.
    pub at: Timestamp,
}

const DAY: i64 = 86_400;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

/// Days since 1970 of the first of March of `year`, in the proleptic Gregorian calendar.
fn march_first(year: i64) -> i64 {
    let leaps = year.div_euclid(4).saturating_sub(year.div_euclid(100)).saturating_add(year.div_euclid(400));
    year.saturating_mul(365).saturating_add(leaps).saturating_sub(719_468)
}

/// `at` as sudoers writes it.
///
/// # Errors
/// [`DateError`] before 1970 and after 9999.
pub fn write(at: Timestamp) -> Result<String, DateError> {
    if !(0..=LAST).contains(&at.0) {
        return Err(DateError { at });
    }
    let (days, second) = (at.0.div_euclid(DAY), at.0.rem_euclid(DAY));
    // Years that begin in March put the leap day last. The first guess is never too early and at most one year too late.
    let guess = days.saturating_mul(400).div_euclid(146_097).saturating_add(1971);
    let mut year = guess;
    while march_first(year) > days {
        year = year.saturating_sub(1);
    }
    let mut day = days.saturating_sub(march_first(year));
    let mut month: i64 = 3;
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if day < length {
            break;
        }
        day = day.saturating_sub(length);
        month = month.saturating_add(1);
    }
    if month > 12 {
        (month, year) = (month.saturating_sub(12), year.saturating_add(1));
    }
    let (hour, minute) = (second.div_euclid(3600), second.rem_euclid(3600).div_euclid(60));
    let (day, second) = (day.saturating_add(1), second.rem_euclid(60));
    Ok(format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z"))
}

/// Reads back what `write` wrote; written separately from it, by counting up.
#[must_use]
pub fn read(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let field = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (field(0, 4)?, field(4, 6)?, field(6, 8)?);
    let (hour, minute, second) = (field(8, 10)?, field(10, 12)?, field(12, 14)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before_month = usize::try_from(month.checked_sub(1)?).ok()?;
    let length = *lengths.get(before_month)?;
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut days: i64 = (1970..year).map(|past| if leap(past) { 366 } else { 365 }).sum();
    days = days
        .saturating_add(lengths.iter().take(before_month).sum::<i64>())
        .saturating_add(day)
        .saturating_sub(1);
    let clock = hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second);
    Some(Timestamp(days.saturating_mul(DAY).saturating_add(clock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a14_odd_dates_have_fourteen_digits_and_z_or_are_refused() {
        for (seconds, text) in [
            (0, "19700101000000Z"),
            (951_782_400, "20000229000000Z"),
            (2_147_483_647, "20380119031407Z"),
            (2_147_483_648, "20380119031408Z"),
            (4_294_967_295, "21060207062815Z"),
            (4_294_967_296, "21060207062816Z"),
            (4_107_542_400, "21000301000000Z"),
            (1_483_228_799, "20161231235959Z"),
            (LAST, "99991231235959Z"),
        ] {
            assert_eq!(write(Timestamp(seconds)).as_deref(), Ok(text));
        }
        for seconds in [-1, i64::MIN, LAST + 1, i64::MAX] {
            assert_eq!(write(Timestamp(seconds)), Err(DateError { at: Timestamp(seconds) }));
        }
        for text in [
            "20261121200000",
            "2026112120Z",
            "20261121200000+0200",
            "20260230000000Z",
            "20261121240000Z",
            "20161231235960Z",
            "2026112120000éZ",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    /// X-a: the process's zone must not decide when a right ends.
    #[test]
    fn a14_the_form_is_the_same_under_thirty_zones() {
        if std::env::var_os("ELEVATE_DATE_CHILD").is_some() {
            println!("date={}", write(Timestamp(1_795_291_200)).unwrap());
            return;
        }
        let zones = [
            "UTC",
            "UTC+12",
            "UTC-14",
            "Asia/Kolkata",
            "right/UTC",
            "Pacific/Honolulu",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Pacific/Apia",
            "America/St_Johns",
            "Africa/Casablanca",
            "Asia/Tehran",
            "Pacific/Chatham",
            "Antarctica/Troll",
            "Europe/Dublin",
            "America/Caracas",
            "Asia/Pyongyang",
            "Pacific/Kiritimati",
            "Atlantic/Azores",
            "Asia/Tokyo",
            "America/Sao_Paulo",
            "Africa/Cairo",
            "Indian/Maldives",
            "Asia/Gaza",
            "America/Nuuk",
            "",
            ":/etc/passwd",
            "nonsense",
        ];
        assert_eq!(zones.len(), 30);
        for zone in zones {
            let own = std::env::current_exe().unwrap();
            let output = std::process::Command::new(own)
                .args(["a14_the_form_is_the_same_under_thirty_zones", "--nocapture"])
                .env("TZ", zone)
                .env("ELEVATE_DATE_CHILD", "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("date=20261121200000Z"), "{zone}: {text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_reads_back(seconds in 0..=LAST) {
            prop_assert_eq!(read(&write(Timestamp(seconds)).unwrap()), Some(Timestamp(seconds)));
        }
    }
}
