//! elevated: decides who may do what, signs it, delivers it to hosts, records it.
//!
//! In: /etc/elevate/daemon.toml, /etc/elevate/policy.d. Out: a port for hosts and people, a socket for root.
//! Runs as: user elevated. Spec: docs/architecture.md, docs/wire.md, docs/config.md.

#![forbid(unsafe_code)]

mod app;
mod check;
mod cli;
mod clock;
mod config;
mod core;
mod deliver;
mod factor;
mod init;
mod intake;
mod issue;
mod keys;
mod log;
mod manager;
mod signer;
mod sinks;
mod store;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Exit code of an input that was refused.
const USAGE: u8 = 2;

/// The error as people read it: `error:` and its causes, `hint:` where there is something to do; what is wrong with a policy line by line.
fn report(error: &(dyn Error + 'static)) {
    let mut cause = Some(error);
    let mut hint = None;
    while let Some(inner) = cause {
        if let Some(findings) = inner.downcast_ref::<elevate_policy::PolicyError>() {
            // Escaped already, but for its own line ends.
            eprintln!("{findings}");
            return;
        }
        hint = hint.or_else(|| inner.downcast_ref::<core::CoreError>().and_then(core::CoreError::hint));
        cause = inner.source();
    }
    eprintln!("error: {}", elevate_protocol::text::escape(&log::chain(error)));
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

fn run(cli: &Cli) -> ExitCode {
    let config = match config::read(&cli.config) {
        Ok(config) => config,
        Err(error) => {
            report(&error);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        // Only a look, whatever else is said.
        _ if cli.check_config => check::check(&cli.config),
        Some(Command::Init(settings)) => match init::init(&cli.config, settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report(&error);
                ExitCode::from(USAGE)
            }
        },
        Some(Command::Run) => run(&cli),
        // clap asks for a command or --check-config.
        None => check::check(&cli.config),
    }
}
