//! elevate-link: carries bytes between this host's agent and the daemon, and nothing else.
//!
//! In: /etc/elevate/agent.toml, the link key, the agent's socket. Out: an SSH connection to the daemon.
//! Runs as: user elevate-link, network outwards only, never root. Spec: docs/wire.md "Transports", docs/config.md.

#![forbid(unsafe_code)]

mod args;
mod backoff;
mod carry;
mod config;
mod enrol;
mod key;
mod manager;
mod run;
mod ssh;

use elevate_protocol::text::chain;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

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
