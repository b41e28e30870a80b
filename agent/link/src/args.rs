//! The command line of `elevate-link`. Nothing but clap is used here: the manual page is made from this very file.
//!
//! In: arguments. Out: [`Cli`]. Spec: docs/config.md.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Carries bytes between elevate-agent and elevated.
#[derive(Debug, Parser)]
#[command(name = "elevate-link", version)]
pub(crate) struct Cli {
    /// The host's configuration
    #[arg(long, global = true, default_value = "/etc/elevate/agent.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The link key
    #[arg(long, global = true, default_value = "/var/lib/elevate-link/key", value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The agent's socket
    #[arg(long, global = true, default_value = "/run/elevate/link.sock", value_name = "SOCKET")]
    pub(crate) socket: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Carry (the default)
    Run,
    /// Enrol this host: called by `elevate-agent enroll`, which writes one JSON line to standard input
    Enroll,
}
