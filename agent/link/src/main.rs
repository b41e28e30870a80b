//! elevate-link: carries bytes between this host's agent and the daemon, and nothing else.
//!
//! In: /etc/elevate/agent.toml, the link key, the agent's socket. Out: an SSH connection to the daemon.
//! Runs as: user elevate-link, network outwards only, never root. Spec: docs/wire.md "Transports", docs/config.md.

#![forbid(unsafe_code)]

mod backoff;
mod carry;
mod config;
mod enrol;
mod key;
mod run;
mod ssh;

use elevate_protocol::text::chain;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Carries bytes between elevate-agent and elevated.
#[derive(Debug, Parser)]
#[command(name = "elevate-link", version)]
struct Cli {
    /// The host's configuration
    #[arg(long, global = true, default_value = "/etc/elevate/agent.toml", value_name = "FILE")]
    config: PathBuf,
    /// The link key
    #[arg(long, global = true, default_value = "/var/lib/elevate-link/key", value_name = "FILE")]
    key: PathBuf,
    /// The agent's socket
    #[arg(long, global = true, default_value = "/run/elevate/link.sock", value_name = "SOCKET")]
    socket: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carry (the default)
    Run,
    /// Enrol this host: called by `elevate-agent enroll`, which writes one JSON line to standard input
    Enroll,
}

/// One line for the journal or the terminal.
fn tell(line: &str) {
    eprintln!("elevate-link: {line}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The link key: no core dump, and nothing for another process of the same account (THREATS B15).
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tell(&format!("error: cannot forbid core dumps: {error}"));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("cannot start: {}", chain(&error)));
            return ExitCode::FAILURE;
        }
    };
    let done = match cli.command.unwrap_or(Command::Run) {
        Command::Run => runtime.block_on(run::run(&cli.config, &cli.key, &cli.socket)).map_err(|e| chain(&e)),
        Command::Enroll => runtime.block_on(enrol::enrol(&cli.key)).map_err(|e| chain(&e)),
    };
    // A name that is being resolved sits in a thread that nothing can stop; the process need not wait for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            tell(&format!("error: {text}"));
            ExitCode::FAILURE
        }
    }
}
