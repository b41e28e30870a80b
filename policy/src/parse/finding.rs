//! What is wrong with a policy, where, and what to write instead.
//!
//! In: a place in a file. Out: [`Finding`]s; all that can be found, not only the first. Spec: docs/policy.md "Errors".

use std::fmt;

use elevate_protocol::text::escape;

/// One thing that is wrong, or more than it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Whether it is an error.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// Whether a finding keeps the policy from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

impl fmt::Display for Finding {
    /// `main.toml:12:8: error: …` and, on the next line, `  hint: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (file, message, hint) = (escape(&self.file), escape(&self.message), escape(&self.hint));
        write!(f, "{file}:{}:{}: {kind}: {message}\n  hint: {hint}", self.line, self.column)
    }
}

/// Why files are no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(findings))]
pub struct PolicyError {
    findings: Vec<Finding>,
}

impl PolicyError {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// Everything that was found, by file and place.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
