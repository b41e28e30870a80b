//! Columns in, typed values out; a value that does not parse is a damaged row, never a default.
//!
//! In: rows of sqlx's Any. Out: protocol types. Only TEXT and BIGINT exist.

use std::str::FromStr;

use elevate_protocol::time::Timestamp;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;

/// One row of a table that is named in errors.
pub(super) struct Row<'a>(pub &'static str, pub &'a AnyRow);

impl Row<'_> {
    fn damaged(&self, column: &str) -> StoreError {
        StoreError::Damaged { table: self.0, reason: format!("column {column}") }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        Ok(self.1.try_get::<String, _>(column)?)
    }

    pub(super) fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        Ok(self.1.try_get::<Option<String>, _>(column)?)
    }

    pub(super) fn parsed<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| self.damaged(column))
    }

    pub(super) fn maybe_parsed<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text = self.maybe_text(column)?;
        text.map(|text| text.parse().map_err(|_| self.damaged(column))).transpose()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
            table: self.0,
            reason: format!("column {column}: {error}"),
        })
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        let number = self.1.try_get::<i64, _>(column)?;
        T::try_from(number).map_err(|_| self.damaged(column))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.1.try_get::<i64, _>(column)?))
    }

    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.1.try_get::<Option<i64>, _>(column)?.map(Timestamp))
    }
}

/// A count as the database has it.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as JSON text.
pub(super) fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Form { what, source: Box::new(source) })
}
