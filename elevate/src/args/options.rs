//! Options that several commands have, and the variables that stand in for them.
//!
//! In: words and four variables of the environment. Out: parsed values. Spec: docs/cli.md "Options".

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use elevate_protocol::name::HostWord;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use crate::render::data::Form;

/// For every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// How to print: for people, or one value with a stable `schema` for scripts [variable: ELEVATE_FORMAT]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Only ids on standard output, only errors and questions on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colours (also: NO_COLOR set and not empty)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Never ask: what is missing is an error
    #[arg(short, long, global = true)]
    pub non_interactive: bool,
    /// The SSH key to show the daemon
    #[arg(short, long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For scripts: one JSON value
    Json,
    /// The same as YAML
    Yaml,
    /// Lists as CSV with a head, safe to open in a spreadsheet
    Csv,
}

impl Format {
    /// The form of data for programs; none: for people. Whoever looks at a terminal gets JSON on several lines.
    #[must_use]
    pub fn form(self, looked_at: bool) -> Option<Form> {
        match self {
            Self::Text => None,
            Self::Json if looked_at => Some(Form::Lines),
            Self::Json => Some(Form::Line),
            Self::Yaml => Some(Form::Yaml),
            Self::Csv => Some(Form::Csv),
        }
    }
}

/// How a role is wanted.
#[derive(Debug, Clone, Args)]
pub struct Wanted {
    /// How long: 90s 30m 1h30m 2d [default: the role's; variable: ELEVATE_DURATION]
    #[arg(short, long, value_name = "DURATION")]
    pub duration: Option<Span>,
    /// Why; for the approvers and the log [variable: ELEVATE_REASON]
    #[arg(short = 'm', long, alias = "justification", value_name = "TEXT")]
    pub reason: Option<UntrustedText>,
    /// The change number
    #[arg(short, long, value_name = "ID")]
    pub ticket: Option<UntrustedText>,
    /// The host, may be given several times [default: this one]
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub hosts: Vec<HostWord>,
    /// Say what would be decided and why, and ask for nothing; exit code 0 or 3
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for approvals: exit code 4 when they are missing
    #[arg(long, conflicts_with = "wait")]
    pub nowait: bool,
    /// Wait for approvals, at most so long when a time is given: --wait=10m [default on a terminal: wait]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub wait: Option<WaitFor>,
}

/// How long to wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitFor(pub Option<Duration>);

impl std::str::FromStr for WaitFor {
    type Err = elevate_protocol::time::SpanError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse::<Span>().map(|span| Self(Some(Duration::from_secs(u64::from(span.0)))))
    }
}
