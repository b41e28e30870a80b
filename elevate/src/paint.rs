//! Lines to show. The only form in which text reaches a terminal: every piece is escaped when it is put in.
//!
//! In: text of ours and of others, with a tone. Out: a line with or without colours. Threats B13, I16.

use elevate_protocol::text::escape;

/// How a piece is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// What the eye looks for: ids, roles.
    Strong,
    /// Granted, confirmed.
    Good,
    /// Waits, ends soon.
    Warn,
    /// Refused, failed.
    Bad,
    /// Aside.
    Faint,
    /// Black on white, whatever the terminal's colours are: a QR code.
    Print,
}

/// One line. Holds no control character, whatever was put in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pieces: Vec<(Tone, String)>,
}

impl Line {
    /// A line of one plain piece.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self::default().and(Tone::Plain, text)
    }

    /// A line of one piece.
    #[must_use]
    pub fn of(tone: Tone, text: &str) -> Self {
        Self::default().and(tone, text)
    }

    /// The same with one piece more.
    #[must_use]
    pub fn and(mut self, tone: Tone, text: &str) -> Self {
        self.pieces.push((tone, escape(text)));
        self
    }

    /// The same with one plain piece more.
    #[must_use]
    pub fn then(self, text: &str) -> Self {
        self.and(Tone::Plain, text)
    }

    /// The same with another line after it.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// Columns it takes, as far as characters tell.
    #[must_use]
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The text to write, without a line end.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut shown = String::new();
        for (tone, text) in &self.pieces {
            match tone.code().filter(|_| colour) {
                Some(code) => {
                    shown.push_str(code);
                    shown.push_str(text);
                    shown.push_str("\x1b[0m");
                }
                None => shown.push_str(text),
            }
        }
        shown
    }
}

impl Tone {
    /// The SGR sequence: fixed strings of ours, the only escape sequences this program writes.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("\x1b[1m"),
            Self::Good => Some("\x1b[32m"),
            Self::Warn => Some("\x1b[33m"),
            Self::Bad => Some("\x1b[31m"),
            Self::Faint => Some("\x1b[2m"),
            Self::Print => Some("\x1b[30;107m"),
        }
    }
}

/// Each line of a longer text, tabs as spaces; the line ends are the only control characters that count.
#[must_use]
pub fn lines_of(text: &str) -> Vec<Line> {
    text.lines().map(|line| Line::plain(&line.replace('\t', "    "))).collect()
}

/// JSON text that is safe on a terminal: DEL, C1, separators and direction marks as `\uXXXX`. What serde leaves as
/// it is stands inside JSON strings only, so this changes the writing and not the value.
#[must_use]
pub fn json_on_terminal(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        let one = c.to_string();
        if c == '\n' || escape(&one) == one {
            shown.push(c);
        } else {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}x\r\n\t\u{7f}";

    #[test]
    fn b13_no_piece_of_a_line_has_a_control_character() {
        let shown = Line::plain(HOSTILE).and(Tone::Bad, HOSTILE).with(Line::plain(HOSTILE)).render(false);
        assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown:?}");
        let colours = Line::of(Tone::Bad, HOSTILE).render(true);
        assert_eq!(colours.matches('\x1b').count(), 2, "only our own two sequences: {colours:?}");
    }

    #[test]
    fn b13_json_for_a_terminal_is_the_same_value_without_control_characters() {
        let value = serde_json::json!({ "reason": HOSTILE, "tag": "\u{e0041}" });
        let shown = json_on_terminal(&value.to_string());
        assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{e0041}'), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn longer_texts_keep_their_lines_and_nothing_else() {
        let lines: Vec<String> = lines_of("a\tb\r\nc\x07\n").iter().map(|line| line.render(true)).collect();
        assert_eq!(lines, ["a    b", "c\\u{7}"]);
    }
}
