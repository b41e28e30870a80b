//! Statements that answer nothing, kept back until something is asked or committed: one way to the database for several.
//!
//! In: statements with their values, in order, at last perhaps a question. Out: one text of all of them, run in that order, its rows. The database is a thread away and
//! the one writer is held meanwhile: what counts is how often, not how much. Spec: docs/decisions/0026.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};

/// Most statements that are kept back: each text is prepared once and remembered.
const MOST: usize = 8;

/// A value of a statement.
#[derive(Debug)]
pub(super) enum Value {
    /// Text, or none.
    Text(Option<String>),
    /// A number, or none.
    Number(Option<i64>),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// What is kept back.
#[derive(Debug, Default)]
pub(super) struct Later {
    text: String,
    values: Vec<Value>,
    statements: usize,
}

impl Later {
    /// One more. Its parameters `$1`, `$2` … are its own: they are counted on from those before it.
    pub(super) fn add(&mut self, statement: &str, values: impl IntoIterator<Item = Value>) {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        renumber(statement, self.values.len(), &mut self.text);
        self.values.extend(values);
        self.statements = self.statements.saturating_add(1);
    }

    /// One before all others, without parameters.
    pub(super) fn begin_with(&mut self, statement: &'static str) {
        self.text.insert_str(0, if self.is_empty() { "" } else { "; " });
        self.text.insert_str(0, statement);
        self.statements = self.statements.saturating_add(1);
    }

    /// Whether nothing is kept back.
    pub(super) fn is_empty(&self) -> bool {
        self.statements == 0
    }

    /// Whether it is time.
    pub(super) fn is_full(&self) -> bool {
        self.statements >= MOST
    }

    /// Runs everything that is kept back. The rows are those of the question at its end, where there is one.
    ///
    /// # Errors
    /// That of the first statement that fails; those after it are not run.
    pub(super) async fn run(self, connection: &mut AnyConnection) -> Result<Vec<AnyRow>, sqlx::Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let Self { text, values, .. } = self;
        // Put together of statements of this program; values of others are bound.
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        query.fetch_all(connection).await
    }
}

/// Appends `statement` with its parameters moved up by `by`. No statement here has a dollar sign elsewhere.
fn renumber(statement: &str, by: usize, into: &mut String) {
    let mut parts = statement.split('$');
    into.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        let (digits, rest) = part.split_at_checked(end).unwrap_or_default();
        let number = digits.parse::<usize>().map_or(0, |number| number.saturating_add(by));
        into.push('$');
        into.push_str(&number.to_string());
        into.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_on() {
        let mut later = Later::default();
        later.add("INSERT INTO a (x, y) VALUES ($1, $2)", ["x".into(), 2.into()]);
        later.add("UPDATE b SET x = $2 WHERE y = $1 OR z = $10", []);
        later.add("RELEASE change", []);
        later.begin_with("SAVEPOINT change");
        assert_eq!(
            later.text,
            "SAVEPOINT change; INSERT INTO a (x, y) VALUES ($1, $2); UPDATE b SET x = $4 WHERE y = $3 OR z = $12; RELEASE change"
        );
    }
}
