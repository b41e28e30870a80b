//! Refusals: a stable code, a sentence, and what to type next.
//!
//! In: whatever was refused. Out: what a person and a script both understand. Exit codes: CLI.md.

use serde::{Deserialize, Serialize};

/// Stable codes. Each has one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Something failed that is nobody's input.
    Internal,
    /// Missing or refused input: reason too short, bad ticket, bad name.
    Usage,
    /// No such role, for this person.
    UnknownRole,
    /// No such host, for this person.
    UnknownHost,
    /// The policy says no.
    NotEligible,
    /// The person, the role, the host or everything is locked.
    Locked,
    /// Only through one's own key, door 2; or only by root on the daemon's machine.
    WrongDoor,
    /// Still waiting for others.
    Pending,
    /// An approver said no.
    Denied,
    /// No factor is enrolled, or the code was wrong, used or locked.
    Factor,
    /// No such request or grant, or no longer active.
    Gone,
    /// The daemon cannot be reached.
    Unreachable,
    /// The host's agent cannot be reached or did not confirm.
    Host,
    /// Something signed does not verify.
    Integrity,
    /// The versions of both sides have nothing in common.
    Version,
    /// Too many at once, or too often; try again later.
    Busy,
    /// The daemon's disk is full: nothing new begins.
    Full,
}

impl Code {
    /// The exit code of a command that ends with this refusal.
    #[must_use]
    pub fn exit(self) -> u8 {
        match self {
            Self::Internal | Self::Version | Self::Busy | Self::Full => 1,
            Self::Usage | Self::UnknownRole | Self::UnknownHost => 2,
            Self::NotEligible | Self::Locked | Self::WrongDoor => 3,
            Self::Pending => 4,
            Self::Denied => 5,
            Self::Factor => 6,
            Self::Gone => 7,
            Self::Unreachable => 8,
            Self::Host => 9,
            Self::Integrity => 10,
        }
    }
}

/// Why something was not done, and what to do about it. Both texts are ours; values of others inside them
/// were escaped by whoever put them there, and readers escape them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Which kind.
    pub code: Code,
    /// What was refused and why: one sentence, lower case, no full stop.
    pub message: String,
    /// What to type or do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
