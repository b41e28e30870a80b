//! What this module says to people, and the one way in which it says it.
//!
//! In: text from our own programs, the daemon, the policy. Out: one filtered, bounded line that says who speaks (threat B12).
//! libpam's conversation takes the text as it is: there is no format string on this way.

use elevate_protocol::secret::Secret;
use elevate_protocol::text;

/// Longest line shown, in bytes.
const LINE_MAX: usize = 512;

/// The conversation with the person, as libpam offers it.
pub(crate) trait Conversation {
    /// Tells something.
    fn tell(&self, line: &Line);
    /// Tells that something went wrong.
    fn warn(&self, line: &Line);
    /// Asks for something that is not shown while it is typed; none when that fails.
    fn ask(&self, line: &Line) -> Option<Secret>;
}

/// A line that is fit for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(String);

impl Line {
    /// Filters and cuts `text`, and puts our name before it.
    pub(crate) fn new(text: &str) -> Self {
        Self::with_end(text, "")
    }

    /// The same with `: ` at its end, for a prompt.
    pub(crate) fn prompt(text: &str) -> Self {
        Self::with_end(text.trim_end_matches([':', ' ']), ": ")
    }

    fn with_end(text: &str, end: &str) -> Self {
        let mut line = String::from("elevate: ");
        let room = LINE_MAX.saturating_sub(line.len()).saturating_sub(end.len());
        let mut used = 0usize;
        for letter in text::escape(text).chars() {
            used = used.saturating_add(letter.len_utf8());
            if used > room {
                break;
            }
            line.push(letter);
        }
        line.push_str(end);
        Self(line)
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_hostile_prompts_are_filtered_cut_and_named() {
        let line = Line::prompt(&format!("\x1b]0;x\x07 \r %s%n \u{202e} {}", "x".repeat(100_000)));
        assert!(
            line.as_str().len() <= 512
                && line.as_str().starts_with("elevate: ")
                && line.as_str().ends_with(": ")
        );
        assert!(line.as_str().contains("%s%n") && !line.as_str().chars().any(char::is_control));
        assert_eq!(Line::prompt("Code for alice: ").as_str(), "elevate: Code for alice: ");
        assert!(Line::new(&"é".repeat(400)).as_str().len() <= 512);
    }
}
