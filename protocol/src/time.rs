//! Points and lengths of time, in whole seconds.
//!
//! In: what people write (`90s`, `1h30m`, `2d`, `PT1H30M`). Out: [`Timestamp`] (UTC seconds) and [`Span`].
//! Nothing here reads a clock: every "now" is an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// UTC seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// `span` later, held at the end of time rather than wrapping.
    #[must_use]
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(i64::from(span.0)))
    }

    /// `span` earlier.
    #[must_use]
    pub fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(i64::from(span.0)))
    }

    /// The time from `earlier` until this point; zero when it lies before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(u32::try_from(self.0.saturating_sub(earlier.0).max(0)).unwrap_or(u32::MAX))
    }
}

/// A length of time in whole seconds, at most about 136 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u32);

impl Span {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One minute.
    pub const MINUTE: Self = Self(60);
    /// One hour.
    pub const HOUR: Self = Self(3600);
    /// One day of 24 hours.
    pub const DAY: Self = Self(86_400);

    /// Both together, held at the longest span.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Why some text is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Nothing there.
    #[error("a duration is not empty; write 90s, 30m, 1h30m or 2d")]
    Empty,
    /// A number without its unit.
    #[error("{number} of what? write {number}m or {number}h")]
    NoUnit {
        /// The number as written.
        number: String,
    },
    /// Something that is no number with a unit.
    #[error("not a duration; write 90s, 30m, 1h30m or 2d")]
    Form,
    /// Longer than can be counted.
    #[error("too long")]
    TooLong,
    /// No time at all.
    #[error("a duration is longer than nothing")]
    Zero,
}

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        if text.is_empty() {
            return Err(SpanError::Empty);
        }
        if text.chars().all(|c| c.is_ascii_digit()) {
            return Err(SpanError::NoUnit { number: text.to_owned() });
        }
        let plain = match text.strip_prefix("PT").or_else(|| text.strip_prefix('P')) {
            Some(iso) => iso.replace('T', "").to_ascii_lowercase(),
            None => text.to_owned(),
        };
        if plain.is_empty() {
            return Err(SpanError::Form);
        }
        let mut seconds: u32 = 0;
        let mut number = String::new();
        let mut last_unit = u32::MAX;
        for c in plain.chars() {
            if c.is_ascii_digit() {
                number.push(c);
                continue;
            }
            let unit: u32 = match c {
                'd' => 86_400,
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return Err(SpanError::Form),
            };
            // Largest unit first and each once: `30m1h` and `1m1m` are typing errors, not durations.
            if number.is_empty() || unit >= last_unit {
                return Err(SpanError::Form);
            }
            last_unit = unit;
            let count: u32 = number.parse().map_err(|_| SpanError::TooLong)?;
            let part = count.checked_mul(unit).ok_or(SpanError::TooLong)?;
            seconds = seconds.checked_add(part).ok_or(SpanError::TooLong)?;
            number.clear();
        }
        if !number.is_empty() {
            return Err(SpanError::Form);
        }
        if seconds == 0 {
            return Err(SpanError::Zero);
        }
        Ok(Self(seconds))
    }
}

impl fmt::Display for Span {
    /// As people write it: `1h30m`, `59m`, `45s`; nothing is `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, letter) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
            let count = rest.checked_div(unit).unwrap_or(0);
            rest = rest.checked_rem(unit).unwrap_or(0);
            if count > 0 {
                write!(f, "{count}{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("PT1H30M", 5400),
            ("P1DT1S", 86_401),
        ] {
            assert_eq!(text.parse::<Span>(), Ok(Span(seconds)), "{text}");
        }
    }

    #[test]
    fn c09_odd_durations_are_refused() {
        assert_eq!("90".parse::<Span>(), Err(SpanError::NoUnit { number: "90".into() }));
        assert_eq!("".parse::<Span>(), Err(SpanError::Empty));
        assert_eq!("0s".parse::<Span>(), Err(SpanError::Zero));
        for text in
            ["-1h", "1h-", "NaN", "PT1000Y", "1.5h", "h", "30m1h", "1m1m", "1h 30m", "\u{661}h", "P", "PT"]
        {
            assert_eq!(text.parse::<Span>(), Err(SpanError::Form), "{text}");
        }
        for text in ["9223372036854775808s", "99999999d"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::TooLong), "{text}");
        }
    }

    #[test]
    fn spans_are_shown_as_they_are_written() {
        for text in ["1d1h1m1s", "59m", "1h30m"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!(Span::ZERO.to_string(), "0s");
    }
}
