//! What the agent tells the machine's own log: one line on standard error per entry, which systemd keeps.
//!
//! In: entries. Out: lines without control characters (threat B13). Never secrets, never environments.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

pub(crate) use elevate_protocol::text::chain;
use elevate_protocol::text::escape;

/// How much it matters, as the prefix that systemd reads (sd-daemon(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Somebody has to act.
    Error,
    /// Something was refused or put right.
    Warning,
    /// The ordinary course of things.
    Info,
}

/// One line.
pub(crate) fn log(level: Level, text: &str) {
    let prefix = match level {
        Level::Error => "<3>",
        Level::Warning => "<4>",
        Level::Info => "<6>",
    };
    eprintln!("{prefix}{}", escape(text));
}

/// Shows a command's answer. Where nobody reads it any more, the exit code still tells.
pub(crate) fn show(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Ends a command: the error for the person, exit code 1.
pub(crate) fn fatal(error: &dyn Error) -> ExitCode {
    // Where nobody listens any more, the code still tells.
    drop(writeln!(io::stderr(), "error: {}", escape(&chain(error))));
    ExitCode::FAILURE
}
