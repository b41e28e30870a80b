//! TOML values with their places, and readers that report instead of failing.
//!
//! In: parsed TOML with spans. Out: typed values; each error goes into the [`Report`] and reading goes on.
//! Spec: docs/policy.md "Errors".

use elevate_protocol::name::Name;
use elevate_protocol::time::{Span, SpanError, Timestamp};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Severity};
use super::later;
use super::suggest::suggest;
use crate::policy::{Edge, moment_from_toml};

/// A place in one of the files: the file's number and a byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) at: usize,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Report<'a> {
    files: &'a [(String, String)],
    errors: Vec<(Place, Finding)>,
    warnings: Vec<(Place, Finding)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(files: &'a [(String, String)]) -> Self {
        Self { files, errors: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn error(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        let finding = self.finding(place, Severity::Error, message.into(), hint.into());
        keep(&mut self.errors, place, finding);
    }

    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        let finding = self.finding(place, Severity::Warning, message.into(), hint.into());
        keep(&mut self.warnings, place, finding);
    }

    fn finding(&self, place: Place, severity: Severity, message: String, hint: String) -> Finding {
        let (file, line, column) = self.position(place);
        Finding { file, line, column, severity, message, hint }
    }

    /// `main.toml:12:8`, to name a second place in a message.
    pub(super) fn shown(&self, place: Place) -> String {
        let (file, line, column) = self.position(place);
        format!("{file}:{line}:{column}")
    }

    fn position(&self, place: Place) -> (String, usize, usize) {
        let (name, text) = self.files.get(place.file).map_or(("", ""), |(name, text)| (name, text));
        let before = text.get(..place.at).unwrap_or(text);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
        (name.to_owned(), line, column)
    }

    /// Errors and warnings, each by file and place.
    pub(super) fn into_findings(self) -> (Vec<Finding>, Vec<Finding>) {
        let sorted = |mut findings: Vec<(Place, Finding)>| {
            findings.sort_by_key(|(place, _)| *place);
            findings.into_iter().map(|(_, finding)| finding).collect()
        };
        (sorted(self.errors), sorted(self.warnings))
    }
}

/// A wrong file shall not fill a screen for ever. Errors and warnings are bounded apart: many warnings must not
/// push out the error that refuses the policy.
fn keep(findings: &mut Vec<(Place, Finding)>, place: Place, finding: Finding) {
    if findings.len() < FINDINGS_MAX {
        findings.push((place, finding));
    }
}

/// A value and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'t> {
    pub(super) place: Place,
    value: &'t DeValue<'t>,
}

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'t> {
    pub(super) key: &'t str,
    pub(super) key_place: Place,
    pub(super) value: Item<'t>,
}

impl<'t> Item<'t> {
    fn new(file: usize, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self { place: Place { file, at: value.span().start }, value: value.get_ref() }
    }

    /// Says that something else is expected here.
    pub(super) fn refuse_kind(self, report: &mut Report<'_>, wants: &str, hint: &str) {
        let found = self.value.type_str();
        report.error(self.place, format!("{wants} is expected here, this is {}", article(found)), hint);
    }

    pub(super) fn as_str(self) -> Option<&'t str> {
        self.value.as_str()
    }

    pub(super) fn is_list(self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_table(self) -> bool {
        self.value.is_table()
    }

    pub(super) fn text(self, report: &mut Report<'_>) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.refuse_kind(report, "a text", "write it between double quotes");
        }
        text
    }

    pub(super) fn flag(self, report: &mut Report<'_>) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.refuse_kind(report, "true or false", "write true or false, without quotes");
        }
        flag
    }

    pub(super) fn number(self, report: &mut Report<'_>) -> Option<u32> {
        let integer = self.value.as_integer();
        let number = integer.and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        if number.is_none() {
            self.refuse_kind(report, "a whole number from 1", "write it without quotes: 1");
        }
        number
    }

    /// The items of a list, perhaps none.
    pub(super) fn list(self, report: &mut Report<'_>) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.refuse_kind(report, "a list", "write it between [ and ]");
            return None;
        };
        Some(array.iter().map(|item| Self::new(self.place.file, item)).collect())
    }

    /// The items of a list that grants something: none is an error.
    pub(super) fn filled_list(self, report: &mut Report<'_>, hint: &str) -> Option<Vec<Self>> {
        let list = self.list(report)?;
        if list.is_empty() {
            report.error(self.place, "an empty list here would name nobody or nothing", hint);
            return None;
        }
        Some(list)
    }

    pub(super) fn span(self, report: &mut Report<'_>) -> Option<Span> {
        if let Some(number) = self.value.as_integer() {
            let number = number.to_string();
            report.error(self.place, format!("{number} of what?"), format!("write \"{number}m\""));
            return None;
        }
        let text = self.text(report)?;
        match text.parse::<Span>() {
            Ok(span) => Some(span),
            Err(error) => {
                let hint = match &error {
                    SpanError::NoUnit { number } => format!("write \"{number}m\""),
                    SpanError::Empty | SpanError::Form | SpanError::TooLong | SpanError::Zero => {
                        "write \"90s\", \"30m\", \"1h30m\" or \"2d\"".to_owned()
                    }
                };
                report.error(self.place, format!("{text:?} is no duration: {error}"), hint);
                None
            }
        }
    }

    pub(super) fn name(self, report: &mut Report<'_>) -> Option<Name> {
        let text = self.text(report)?;
        name(report, text, self.place)
    }

    pub(super) fn moment(self, report: &mut Report<'_>, edge: Edge) -> Option<Timestamp> {
        let moment = self.value.as_datetime().and_then(|date| moment_from_toml(date, edge));
        if moment.is_none() {
            let wants = "a date, or a date and time with its offset from UTC,";
            self.refuse_kind(report, wants, "write 2026-12-31 or 2026-12-31T18:00:00Z, without quotes");
        }
        moment
    }

    /// The entries of a table, whatever their keys.
    pub(super) fn entries(self, report: &mut Report<'_>, hint: &str) -> Option<Vec<Entry<'t>>> {
        let Some(table) = self.value.as_table() else {
            self.refuse_kind(report, "a table", hint);
            return None;
        };
        Some(entries(self.place.file, table))
    }

    /// The entries of a table with known keys. Unknown ones are reported and left out.
    pub(super) fn table(self, report: &mut Report<'_>, known: &[&str], hint: &str) -> Option<Table<'t>> {
        let mut entries = self.entries(report, hint)?;
        entries.retain(|entry| {
            let fits = known.contains(&entry.key);
            if !fits {
                unknown_key(report, entry, known);
            }
            fits
        });
        Some(Table { place: self.place, entries })
    }
}

/// A table with known keys.
#[derive(Debug)]
pub(super) struct Table<'t> {
    pub(super) place: Place,
    entries: Vec<Entry<'t>>,
}

impl<'t> Table<'t> {
    pub(super) fn of(place: Place, entries: Vec<Entry<'t>>) -> Self {
        Self { place, entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<Item<'t>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, report: &mut Report<'_>, key: &str, hint: &str) -> Option<Item<'t>> {
        let item = self.get(key);
        if item.is_none() {
            report.error(self.place, format!("{key} is missing here"), hint);
        }
        item
    }
}

/// The entries of a table.
pub(super) fn entries<'t>(file: usize, table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let entry = |(key, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
        let key: &'t Spanned<toml::de::DeString<'t>> = key;
        let key_place = Place { file, at: key.span().start };
        Entry { key: key.get_ref().as_ref(), key_place, value: Item::new(file, value) }
    };
    table.iter().map(entry).collect()
}

/// A name, or what is wrong with it.
pub(super) fn name(report: &mut Report<'_>, text: &str, place: Place) -> Option<Name> {
    match text.parse::<Name>() {
        Ok(name) => Some(name),
        Err(error) => {
            let hint = "write 1 to 32 of a-z, 0-9, _, . and -, a letter or _ first";
            report.error(place, format!("{text:?} is no name: {error}"), hint);
            None
        }
    }
}

/// Reports a key that this version does not know, or does not know yet.
pub(super) fn unknown_key(report: &mut Report<'_>, entry: &Entry<'_>, known: &[&str]) {
    let key = entry.key;
    if later::LATER.contains(&key) {
        let message = format!("{key} is not supported by this version, nothing would enforce it");
        return report.error(entry.key_place, message, "leave it out");
    }
    let hint = match suggest(key, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known here: {}", known.join(", ")),
    };
    report.error(entry.key_place, format!("unknown key {key:?}"), hint);
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// Most findings of a kind that are kept.
const FINDINGS_MAX: usize = 200;
