//! The typed details of events, beside those of the protocol: how loud, what was locked, how a right was used.
//!
//! In: nothing. Out: plain types with a stable form in JSON. Spec: docs/events.md.

use elevate_protocol::text::UntrustedText;
use serde::{Deserialize, Serialize};

/// How loud an event is in syslog (RFC 5424 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Somebody should look at once.
    Alert,
    /// Something was refused or is not as it should be.
    Warning,
    /// Something of weight happened as intended.
    Notice,
    /// For the record.
    Info,
}

/// What a run of wrong codes locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockScope {
    /// One door of the person.
    Door,
    /// Every door of the person.
    AllDoors,
}

/// What a lock is on; the subject of the event has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// One person.
    Person,
    /// One role.
    Role,
    /// One host.
    Host,
    /// Everything.
    Everything,
}

/// One use of a right as the host claims it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The invoking account.
    pub uid: u32,
    /// The PAM service.
    pub service: UntrustedText,
    /// The account it runs as.
    pub run_as: Option<UntrustedText>,
    /// The arguments of the sudo process.
    pub argv: Vec<UntrustedText>,
    /// The directory.
    pub directory: Option<UntrustedText>,
    /// The terminal.
    pub terminal: Option<UntrustedText>,
    /// The sudo process.
    pub pid: u32,
}
