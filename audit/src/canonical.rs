//! The one form of an event in bytes: a line of JSON with sorted keys, whole numbers only, no white space.
//!
//! In: an [`Event`]. Out: its canonical line, and back. A Merkle log over these lines can be built from event 0.
//! Spec: docs/events.md "Canonical form".

use serde_json::Value;

use crate::event::Event;

/// Longest canonical line in bytes, without a line end.
pub const EVENT_MAX: usize = 64 * 1024;

/// Why an event has no canonical form, or a line is no event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Serde refused; also for a line that is no event.
    #[error("not an event")]
    Form {
        /// What serde says.
        source: serde_json::Error,
    },
    /// A number with a fraction, which has no single form.
    #[error("an event holds whole numbers only")]
    Fraction,
    /// Longer than [`EVENT_MAX`].
    #[error("the event has {found} bytes, at most {EVENT_MAX}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// A line that is an event in another than the canonical form.
    #[error("the event is not in canonical form")]
    NotCanonical,
}

impl Event {
    /// The canonical line, without a line end.
    ///
    /// # Errors
    /// [`EventError::TooLong`] above [`EVENT_MAX`]; [`EventError::Form`] and [`EventError::Fraction`] for no value of these types.
    pub fn to_line(&self) -> Result<String, EventError> {
        let value = serde_json::to_value(self).map_err(|source| EventError::Form { source })?;
        let mut line = String::with_capacity(512);
        write_value(&value, &mut line)?;
        if line.len() > EVENT_MAX {
            return Err(EventError::TooLong { found: line.len() });
        }
        Ok(line)
    }

    /// Reads a canonical line.
    ///
    /// # Errors
    /// An [`EventError`]; [`EventError::NotCanonical`] when writing it again gives other bytes.
    pub fn from_line(line: &str) -> Result<Self, EventError> {
        if line.len() > EVENT_MAX {
            return Err(EventError::TooLong { found: line.len() });
        }
        let event: Self = serde_json::from_str(line).map_err(|source| EventError::Form { source })?;
        if event.to_line()? == line { Ok(event) } else { Err(EventError::NotCanonical) }
    }
}

/// Sorts by itself: whether serde_json's own map keeps an order depends on features that other crates may turn on.
fn write_value(value: &Value, line: &mut String) -> Result<(), EventError> {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<(&String, &Value)> = map.iter().collect();
            keys.sort_by(|a, b| a.0.cmp(b.0));
            line.push('{');
            for (index, (key, inner)) in keys.into_iter().enumerate() {
                if index > 0 {
                    line.push(',');
                }
                write_text(key, line)?;
                line.push(':');
                write_value(inner, line)?;
            }
            line.push('}');
        }
        Value::Array(list) => {
            line.push('[');
            for (index, inner) in list.iter().enumerate() {
                if index > 0 {
                    line.push(',');
                }
                write_value(inner, line)?;
            }
            line.push(']');
        }
        Value::Number(number) if number.is_f64() => return Err(EventError::Fraction),
        Value::Number(number) => line.push_str(&number.to_string()),
        Value::String(text) => write_text(text, line)?,
        Value::Bool(truth) => line.push_str(if *truth { "true" } else { "false" }),
        Value::Null => line.push_str("null"),
    }
    Ok(())
}

fn write_text(text: &str, line: &mut String) -> Result<(), EventError> {
    let quoted = serde_json::to_string(text).map_err(|source| EventError::Form { source })?;
    line.push_str(&quoted);
    Ok(())
}
