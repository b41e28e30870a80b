//! One line per event of the program's own life, to standard error, for the journal or a terminal.
//!
//! In: text that may hold what others sent. Out: one escaped line (threats B12, B13, I16). Not the audit log.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

pub(crate) use elevate_protocol::text::chain;
use elevate_protocol::text::escape;
use serde::{Deserialize, Serialize};

/// Longest line in bytes.
const LINE_MAX: usize = 2048;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warning,
    /// What happens seldom and is normal.
    #[default]
    Info,
    /// Every connection.
    Debug,
}

static MOST: AtomicU8 = AtomicU8::new(2);

impl Level {
    fn rank(self) -> u8 {
        match self {
            Self::Error => 0,
            Self::Warning => 1,
            Self::Info => 2,
            Self::Debug => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Says from now on what is at most this detailed.
pub(crate) fn set_level(level: Level) {
    MOST.store(level.rank(), Ordering::Relaxed);
}

fn line(level: Level, text: &str) -> String {
    let mut shown = escape(text);
    if let Some((end, _)) = shown.char_indices().find(|(at, _)| *at >= LINE_MAX) {
        shown.truncate(end);
        shown.push('…');
    }
    format!("elevated: {}: {shown}\n", level.word())
}

fn say(level: Level, text: &str) {
    if level.rank() <= MOST.load(Ordering::Relaxed) {
        // A closed standard error must not stop the daemon.
        drop(std::io::stderr().lock().write_all(line(level, text).as_bytes()));
    }
}

/// What needs somebody.
pub(crate) fn error(text: &str) {
    say(Level::Error, text);
}

/// What may need somebody.
pub(crate) fn warning(text: &str) {
    say(Level::Warning, text);
}

/// What happens seldom and is normal.
pub(crate) fn info(text: &str) {
    say(Level::Info, text);
}

/// Every connection.
pub(crate) fn debug(text: &str) {
    say(Level::Debug, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_what_others_send_is_one_line_without_control_characters() {
        let shown = line(Level::Info, "key of \"x\nelevated: error: forged\x1b[2J\u{202e}\"");
        assert_eq!(shown.matches('\n').count(), 1);
        assert!(shown.ends_with('\n') && !shown.contains('\x1b') && !shown.contains('\u{202e}'));
        assert!(line(Level::Debug, &"ä".repeat(5000)).len() < LINE_MAX + 40);
    }
}
