//! What a line of the spool says: a report, or how far the daemon has them.
//!
//! In, out: lines of JSON. Spec: docs/wire.md "Reports".

use elevate_protocol::message::agent::Report;
use elevate_protocol::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One report that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, by the host's clock.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) report: Report,
}

/// A line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line<E> {
    /// A report.
    Report { number: u64, entry: E },
    /// The daemon has everything up to this number.
    Acknowledged { number: u64 },
}

impl<E: Serialize> Line<E> {
    /// As it is written.
    pub(super) fn text(&self) -> String {
        // Everything in a report can be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl<E: DeserializeOwned> Line<E> {
    /// As it was read; none: it is none.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Reports that had no room: how many, and their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lost {
    pub(super) count: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Whether a report may use the last quarter. A person can make as many uses and warnings as they like; these they cannot.
pub(super) fn is_weighty(report: &Report) -> bool {
    match report {
        Report::Used { .. }
        | Report::UseRefused { .. }
        | Report::Warned { .. }
        | Report::SshLogin { .. }
        | Report::SshLogout { .. }
        | Report::SshRefused { .. } => false,
        Report::Ended { .. }
        | Report::GateClosed { .. }
        | Report::Lost { .. }
        | Report::ClockStep { .. }
        | Report::Epoch { .. }
        | Report::Tampered { .. }
        | Report::Started { .. } => true,
    }
}
