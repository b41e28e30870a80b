//! The table: one line a figure, with its aim and whether it was reached.
//!
//! In: values. Out: lines for people and for docs/performance.md. Nothing here fails: a figure that falls short says so.

use std::fmt;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Only told, for the reader of the others.
    Told,
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    aim: Aim,
}

impl Row {
    /// A figure with its unit and its aim.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, aim: Aim) -> Self {
        Self { name: name.into(), value, unit, aim }
    }

    fn verdict(&self) -> &'static str {
        let reached = match self.aim {
            Aim::AtLeast(least) => self.value >= least,
            Aim::AtMost(most) => self.value <= most,
            Aim::Told => return "–",
        };
        if reached { "ok" } else { "short" }
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aim = match self.aim {
            Aim::AtLeast(least) => format!("≥ {}", short(least)),
            Aim::AtMost(most) => format!("≤ {}", short(most)),
            Aim::Told => "–".to_owned(),
        };
        let (name, value) = (&self.name, short(self.value));
        write!(f, "| {name:<88} | {value:>8} | {:<11} | {aim:>8} | {:<5} |", self.unit, self.verdict())
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    let line = format!("| {:<88} | {:>8} | {:<11} | {:>8} | {:<5} |", "figure", "value", "unit", "aim", "");
    let rule: String = line.chars().map(|c| if c == '|' { '|' } else { '-' }).collect();
    format!("{line}\n{rule}")
}
