//! `elevate-agent`: verifies grants and enforces them on one host.
//!
//! In: arguments. Out: an exit code. Runs as: root. Spec: docs/architecture.md "On the host".
//! `run` is the service; `enroll`, `unenroll` and `doctor` live in [`enrol`]; `pam-run` is the service's own child.

#![forbid(unsafe_code)]

mod app;
mod ceiling;
mod changed;
mod child;
mod clock;
mod config;
mod door;
mod enforce;
mod enrol;
mod epoch;
mod flavour;
mod journal;
mod life;
mod module_file;
mod nss;
mod pam_run;
mod paths;
mod peer;
mod probe;
mod safe;
mod status;
mod store;
mod sudoers_files;
mod uplink;
mod warning;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// Verifies grants and enforces them on this host. Run as root.
#[derive(Debug, Parser)]
#[command(name = "elevate-agent", version)]
struct Arguments {
    /// Look for every file below this folder instead of /.
    #[arg(long, global = true, default_value = "/", hide = true)]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: the unit elevate-agent.service runs this.
    Run {
        /// The configuration file; default /etc/elevate/agent.toml.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Show what is enforced on this host and whether the daemon is reachable.
    Status {
        /// How to print it.
        #[arg(long, value_enum, default_value = "text")]
        format: status::Format,
    },
    /// Enrol this host: reads the paste string of `elevatectl host invite` from standard input.
    Enroll(enrol::EnrollArguments),
    /// Take every change of `enroll` back.
    Unenroll(enrol::UnenrollArguments),
    /// Say what is wrong on this host, and what to do about it.
    Doctor(enrol::DoctorArguments),
    /// Say that the daemon was restored from a backup and that its new epoch is right: ends what is in force here, and starts anew.
    ConfirmEpoch {
        /// The number that `elevate-agent status` shows.
        epoch: u32,
    },
    /// The agent's own child: runs the PAM stack of an activation.
    #[command(hide = true)]
    PamRun,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let paths = Paths::below(&arguments.root);
    match arguments.command {
        Command::Run { config } => {
            let paths = match config {
                Some(file) => Paths { config: file, ..paths },
                None => paths,
            };
            match app::run(&paths) {
                Ok(never) => match never {},
                Err(error) => journal::fatal(&error),
            }
        }
        Command::Status { format } => status::run(&paths, format),
        Command::Enroll(arguments) => enrol::enroll(&paths, arguments),
        Command::Unenroll(arguments) => enrol::unenroll(&paths, arguments),
        Command::Doctor(arguments) => enrol::doctor(&paths, arguments),
        Command::ConfirmEpoch { epoch } => epoch::confirm(&paths, epoch),
        Command::PamRun => pam_run::run(),
    }
}
