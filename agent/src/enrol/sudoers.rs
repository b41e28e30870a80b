//! Whether sudo can read every sudoers(5) file.
//!
//! In: visudo of the installed sudo. Out: what it says.

use std::time::Duration;

use crate::child;
use crate::flavour::{self, Dialect};

/// How long visudo may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether `visudo -c` of the installed sudo takes every file; what it says otherwise. None when there is no visudo.
#[must_use]
pub(crate) fn parses(dialect: Dialect) -> Option<Result<(), String>> {
    let visudo = flavour::visudo(dialect)?;
    let answer = child::run(&visudo, &["-c"], DEADLINE).ok()?;
    Some(if answer.code == Some(0) { Ok(()) } else { Err(format!("{}{}", answer.stdout, answer.stderr)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sudoers_of_this_machine_parse() {
        assert_eq!(parses(Dialect::Classic), Some(Ok(())));
    }
}
