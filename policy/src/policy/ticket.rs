//! The pattern of a ticket (a change number): a regular expression that the whole ticket must match.
//!
//! In: the pattern's text. Out: [`TicketPattern`]. The engine is linear in the ticket's length whatever the
//! pattern, and the compiled pattern is bounded. Spec: docs/policy.md "ticket".

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

/// Longest pattern in bytes.
const PATTERN_MAX: usize = 256;
/// Largest compiled pattern in bytes.
const COMPILED_MAX: usize = 64 * 1024;
/// Longest ticket in bytes.
const TICKET_MAX: usize = 128;

/// Why some text is no pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Empty or too long.
    #[error("a pattern has 1 to {PATTERN_MAX} bytes, this has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// One that matches the empty ticket, and so asks for nothing.
    #[error("the pattern matches an empty ticket")]
    Empty,
    /// Not a regular expression, or one that grows too large.
    #[error("the pattern is not a regular expression that can be used")]
    Syntax {
        /// What the engine says.
        source: Box<regex::Error>,
    },
}

/// A pattern, anchored at both ends.
#[derive(Debug, Clone)]
pub struct TicketPattern {
    text: String,
    regex: Regex,
}

impl TicketPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`], when it is too long or no regular expression, or asks for nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > PATTERN_MAX {
            return Err(PatternError::Length { found: text.len() });
        }
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(COMPILED_MAX)
                .dfa_size_limit(COMPILED_MAX)
                .nest_limit(16)
                .build()
                .map_err(|e| PatternError::Syntax { source: Box::new(e) })
        };
        // Alone first: "a)|(b" would otherwise become a pattern inside the anchors.
        build(text)?;
        let regex = build(&format!(r"\A(?:{text})\z"))?;
        if regex.is_match("") {
            return Err(PatternError::Empty);
        }
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole ticket matches.
    #[must_use]
    pub fn matches(&self, ticket: &str) -> bool {
        ticket.len() <= TICKET_MAX && self.regex.is_match(ticket)
    }
}

impl PartialEq for TicketPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TicketPattern {}

impl Serialize for TicketPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_matches_as_a_whole_or_not_at_all() {
        let pattern = TicketPattern::parse("INC-[0-9]+|CHG-[0-9]+").unwrap();
        assert!(pattern.matches("INC-4211") && pattern.matches("CHG-1"));
        for ticket in ["", "xINC-1", "INC-1 ", "INC-1\n", "INC-", "inc-1"] {
            assert!(!pattern.matches(ticket), "{ticket:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_leave_its_anchors_or_ask_for_nothing_or_grow() {
        assert!(matches!(TicketPattern::parse("a)|(b"), Err(PatternError::Syntax { .. })));
        assert!(matches!(TicketPattern::parse(".*"), Err(PatternError::Empty)));
        assert!(matches!(TicketPattern::parse(""), Err(PatternError::Length { found: 0 })));
        assert!(matches!(TicketPattern::parse(&"a".repeat(257)), Err(PatternError::Length { found: 257 })));
        assert!(matches!(TicketPattern::parse("((a{100}){100}){100}"), Err(PatternError::Syntax { .. })));
    }
}
