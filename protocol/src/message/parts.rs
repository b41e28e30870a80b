//! Answers that are longer than one frame: cut into [`Reply::Part`]s, and put together again.
//!
//! In: an [`Outcome`], or parts as they come. Out: replies that fit into frames, or the outcome. Bounded on both sides.
//! Spec: docs/wire.md "Long answers".

use super::person::{Outcome, Reply};

/// Longest text of a part in bytes. JSON within JSON: every byte of it may take two, and a host's connection puts its own around it.
const PART_MAX: usize = 96 * 1024;
/// Longest answer in bytes of JSON.
pub const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Why parts are no answer.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Longer than any answer may be.
    #[error("an answer has at most {ANSWER_MAX} bytes")]
    Length,
    /// Not the part that comes next.
    #[error("a part of an answer came out of turn")]
    Turn,
    /// Joined, they are no outcome.
    #[error("the parts of an answer are no answer")]
    Message {
        /// What serde says.
        source: serde_json::Error,
    },
}

/// The parts of an answer, in order; the last one has nothing left.
///
/// # Errors
/// [`PartError::Length`] when its JSON is longer than `most` bytes; [`PartError::Message`] when serde cannot write it.
pub fn split(outcome: &Outcome, most: usize) -> Result<Vec<Reply>, PartError> {
    let text = serde_json::to_string(outcome).map_err(|source| PartError::Message { source })?;
    if text.len() > most.min(ANSWER_MAX) {
        return Err(PartError::Length);
    }
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PART_MAX.min(rest.len())));
        pieces.push(piece.to_owned());
        rest = after;
    }
    let count = u32::try_from(pieces.len()).map_err(|_| PartError::Length)?;
    let left = (0..count).rev();
    Ok(pieces.into_iter().zip(left).map(|(text, left)| Reply::Part { text, left }).collect())
}

/// Puts parts together.
#[derive(Debug, Default)]
pub struct Joiner {
    text: String,
    left: Option<u32>,
}

impl Joiner {
    /// Takes the next part; the outcome when it was the last.
    ///
    /// # Errors
    /// A [`PartError`]; the conversation is to be closed then.
    pub fn take(&mut self, text: &str, left: u32) -> Result<Option<Outcome>, PartError> {
        if self.left.is_some_and(|before| before.checked_sub(1) != Some(left)) {
            return Err(PartError::Turn);
        }
        if self.text.len().saturating_add(text.len()) > ANSWER_MAX {
            return Err(PartError::Length);
        }
        self.left = Some(left);
        self.text.push_str(text);
        if left > 0 {
            return Ok(None);
        }
        serde_json::from_str(&self.text).map(Some).map_err(|source| PartError::Message { source })
    }
}

impl Reply {
    /// Whether nothing comes after it in its conversation.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::Done(_) | Self::Refused(_) | Self::Part { left: 0, .. } => true,
            Self::Hello { .. }
            | Self::Challenge(_)
            | Self::Prompt { .. }
            | Self::Notice { .. }
            | Self::Verdict { .. }
            | Self::Seed { .. }
            | Self::Progress(_)
            | Self::Event(_)
            | Self::Away(_)
            | Self::Part { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::message::admin::AdminOutcome;

    fn policy(text: String) -> Outcome {
        Outcome::Admin(AdminOutcome::Policy { text, digest: "sha256:0".to_owned() })
    }

    /// What a text of a policy is after being split and joined.
    fn there_and_back(text: &str) -> String {
        let mut joiner = Joiner::default();
        for part in split(&policy(text.to_owned()), ANSWER_MAX).unwrap() {
            // As it goes over a host's connection, in a frame with others' words around it.
            assert!(frame::encode(&part).unwrap().len() < frame::FRAME_MAX - 1024);
            let Reply::Part { text, left } = part else { panic!("{part:?}") };
            match joiner.take(&text, left).unwrap() {
                None => assert!(left > 0),
                Some(Outcome::Admin(AdminOutcome::Policy { text, .. })) => return text,
                Some(other) => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }

    #[test]
    fn a_long_answer_is_the_same_after_its_parts_were_joined() {
        for text in ["short".to_owned(), "\"quotes\" é\n".repeat(100_000), "\u{1}".repeat(500_000)] {
            assert!(there_and_back(&text) == text);
        }
    }

    #[test]
    fn b06_answers_have_a_bound_on_both_sides() {
        assert!(matches!(split(&policy("x".repeat(2000)), 1000), Err(PartError::Length)));
        assert!(matches!(split(&policy("x".repeat(ANSWER_MAX)), usize::MAX), Err(PartError::Length)));
        let mut joiner = Joiner::default();
        let piece = "x".repeat(PART_MAX);
        let last = (0..u32::MAX).rev().map(|left| joiner.take(&piece, left)).find(Result::is_err);
        assert!(matches!(last, Some(Err(PartError::Length))));
    }

    #[test]
    fn parts_out_of_turn_and_parts_of_something_else_are_refused() {
        for lefts in [[2, 0], [2, 2], [0, 0]] {
            let mut joiner = Joiner::default();
            let taken = lefts.map(|left| joiner.take("\"ok\"", left));
            assert!(matches!(taken.last(), Some(Err(PartError::Turn))), "{lefts:?}");
        }
        assert!(matches!(Joiner::default().take("{\"ok\"", 0), Err(PartError::Message { .. })));
    }
}
