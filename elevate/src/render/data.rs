//! Data for programs: one JSON value, printed in the form that was asked for.
//!
//! In: a value with its schema. Out: text for stdout. What people read is made elsewhere. Spec: docs/cli.md "Output".

use serde_json::Value;

use super::{csv, yaml};

/// The form of data for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON on one line.
    Line,
    /// JSON on several lines: somebody looks.
    Lines,
    /// One YAML document.
    Yaml,
    /// CSV with a head.
    Csv,
}

/// The text of a value, without its last line end; nothing to print for a list without entries in CSV.
#[must_use]
pub fn text(form: Form, value: &Value) -> Option<String> {
    match form {
        Form::Line => Some(value.to_string()),
        Form::Lines => Some(format!("{value:#}")),
        Form::Yaml => Some(yaml::document(value)),
        Form::Csv => Some(csv::table(value).join("\n")).filter(|text| !text.is_empty()),
    }
}

/// A stream of values: one line each, or one document each; CSV gets its head before the first.
#[derive(Debug)]
pub struct Stream {
    form: Form,
    columns: &'static [&'static str],
    begun: bool,
}

impl Stream {
    /// Of values with these fields.
    #[must_use]
    pub fn new(form: Form, columns: &'static [&'static str]) -> Self {
        Self { form, columns, begun: false }
    }

    /// The next value.
    #[must_use]
    pub fn next(&mut self, value: &Value) -> String {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.form {
            Form::Line | Form::Lines => value.to_string(),
            Form::Yaml => yaml::document(value),
            Form::Csv if first => format!("{}\n{}", csv::head(self.columns), csv::line(value, self.columns)),
            Form::Csv => csv::line(value, self.columns),
        }
    }
}

/// Fields of an event.
pub const EVENT: &[&str] =
    &["seq", "at", "code", "person", "role", "host", "activation", "actor", "door", "host_id", "details"];
/// Fields of an activation that is watched.
pub const ACTIVATION: &[&str] = &[
    "id",
    "person",
    "role",
    "state",
    "hosts",
    "duration_seconds",
    "reason",
    "ticket",
    "asked_at",
    "lapses_at",
    "starts_at",
    "ends_at",
    "seconds_left",
    "needs",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stream_has_one_head_and_documents_of_their_own() {
        let value = json!({ "seq": 7, "code": "=x" });
        let mut csv = Stream::new(Form::Csv, &["seq", "code"]);
        assert_eq!([csv.next(&value), csv.next(&value)], ["seq,code\n7,\"'=x\"", "7,\"'=x\""]);
        assert_eq!(Stream::new(Form::Yaml, &[]).next(&value), "---\ncode: \"=x\"\nseq: 7");
        assert_eq!(Stream::new(Form::Lines, &[]).next(&value), r#"{"code":"=x","seq":7}"#);
        assert_eq!(text(Form::Csv, &json!({ "schema": "x/1", "hosts": [] })), None);
    }
}
