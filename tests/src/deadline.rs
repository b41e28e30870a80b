//! The one place where the bed waits for a condition that has no event.
//!
//! In: a condition, a limit. Out: its value, or an error that names what was awaited.
//! Runs as: anybody. Spec: tests/README.md "Rules for tests".

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const STEP: Duration = Duration::from_millis(5);

/// Ask again and again until the condition holds.
///
/// # Errors
/// It does not hold within `limit`; the error names `what`.
pub fn eventually(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    obtain(limit, what, || holds().then_some(()))
}

/// Ask again and again until there is a value.
///
/// # Errors
/// There is none within `limit`; the error names `what`.
pub fn obtain<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ask() {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_an_error_with_its_name() {
        let error = eventually(Duration::ZERO, "the moon turns green", || false).unwrap_err();
        assert_eq!(error.to_string(), "not within 0ns: the moon turns green");
    }

    #[test]
    fn the_condition_is_asked_again() {
        let mut asked = 0;
        let third = || {
            asked += 1;
            (asked == 3).then_some("yes")
        };
        assert_eq!(obtain(Duration::from_secs(9), "the third time", third).unwrap(), "yes");
    }
}
