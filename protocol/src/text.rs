//! Text that somebody chose: reasons, titles, tickets, prompts of other modules.
//!
//! In: any UTF-8. Out: only escaped text. Threats I16, B12, B13: no control byte of a person reaches a
//! terminal, a log line or a file. The type has no `Display` on purpose.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest text kept, in bytes.
pub const TEXT_MAX: usize = 1024;

/// Why some text was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than [`TEXT_MAX`].
    #[error("the text has {found} bytes, at most {TEXT_MAX}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// A control or direction-changing character.
    #[error("the text has the control character U+{code:04X}; write it without")]
    Control {
        /// The character's code point.
        code: u32,
    },
}

/// Text that a person or a peer chose. At most [`TEXT_MAX`] bytes and without control characters when it was
/// parsed; shown only through [`UntrustedText::escaped`].
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UntrustedText(String);

impl UntrustedText {
    /// The text with everything but printable characters replaced, fit for a terminal or a log line.
    #[must_use]
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// The raw characters, for comparing and for storing as a value; never for showing.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Takes any text: what is not printable is escaped, what is too long is cut.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut kept = String::new();
        for shown in text.chars().map(|c| if is_hostile(c) { escape(&c.to_string()) } else { c.to_string() })
        {
            if kept.len().saturating_add(shown.len()) > TEXT_MAX {
                break;
            }
            kept.push_str(&shown);
        }
        Self(kept)
    }
}

impl FromStr for UntrustedText {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > TEXT_MAX {
            return Err(TextError::TooLong { found: text.len() });
        }
        match text.chars().find(|c| is_hostile(*c)) {
            Some(c) => Err(TextError::Control { code: u32::from(c) }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for UntrustedText {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<UntrustedText> for String {
    fn from(text: UntrustedText) -> Self {
        text.0
    }
}

impl fmt::Debug for UntrustedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.escaped())
    }
}

/// C0, DEL, C1, line and paragraph separators, and every character that changes direction or hides
/// (Unicode Bidi_Control and the zero-width characters).
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// `text` with each hostile character written as `\u{…}`; fit for a terminal or a log line.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// An error and its causes on one line, outermost first. The causes may quote others: escape it before it is shown.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b13_hostile_text_never_reaches_a_terminal() {
        let hostile = "\x1b]52;c;ZXZpbA==\x07 \u{9b}31m \u{202e}gnp.exe \r\n \0";
        assert!(matches!(hostile.parse::<UntrustedText>(), Err(TextError::Control { code: 0x1b })));
        let shown = UntrustedText::lossy(hostile).escaped();
        assert!(shown.chars().all(|c| !is_hostile(c)), "{shown}");
        assert!(shown.contains("\\u{1b}") && shown.contains("\\u{202e}"));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let parse = "x".parse::<u8>().unwrap_err();
        let outer = crate::frame::FrameError::Stream { source: std::io::Error::other(parse.clone()) };
        assert_eq!(chain(&outer), format!("the stream failed: {parse}"));
    }

    #[test]
    fn text_is_bounded() {
        assert_eq!(
            "x".repeat(TEXT_MAX + 1).parse::<UntrustedText>(),
            Err(TextError::TooLong { found: TEXT_MAX + 1 })
        );
        assert_eq!(UntrustedText::lossy(&"\x1b".repeat(5000)).raw().len() % 6, 0);
        assert!(UntrustedText::lossy(&"\x1b".repeat(5000)).raw().len() <= TEXT_MAX);
    }
}
