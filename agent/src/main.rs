//! `elevate-agent`: verifies grants and enforces them on one host.
//!
//! In: arguments. Out: an exit code. Runs as: root. Spec: docs/architecture.md "On the host".
//! `run` is the service; `enroll`, `unenroll` and `doctor` live in [`enrol`]; `pam-run` is the service's own child.

#![forbid(unsafe_code)]

mod app;
mod args;
mod ceiling;
mod changed;
mod child;
mod clock;
mod closing;
mod config;
mod door;
mod enforce;
mod enrol;
mod epoch;
mod flavour;
mod host_keys;
mod journal;
mod life;
mod module_file;
mod nss;
mod pam_run;
mod paths;
mod peer;
mod probe;
mod process;
mod revoked;
mod safe;
mod sshd;
mod sshd_log;
mod status;
mod store;
mod sudoers_files;
mod uplink;
mod warning;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::paths::Paths;

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
