//! The command line of `elevate-agent`. Nothing but clap is used here: the manual pages are made from this very file.
//!
//! In: arguments. Out: [`Arguments`]. Spec: docs/architecture.md "On the host".

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Verifies grants and enforces them on this host. Run as root.
#[derive(Debug, Parser)]
#[command(name = "elevate-agent", version)]
pub(crate) struct Arguments {
    /// Look for every file below this folder instead of /.
    #[arg(long, global = true, default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
        format: Format,
    },
    /// Enrol this host: reads the paste string of `elevatectl host invite` from standard input.
    Enroll(EnrollArguments),
    /// Take every change of `enroll` back.
    Unenroll(UnenrollArguments),
    /// Say what is wrong on this host, and what to do about it.
    Doctor(DoctorArguments),
    /// Say that the daemon was restored from a backup and that its new epoch is right: ends what is in force here, and starts anew.
    ConfirmEpoch {
        /// The number that `elevate-agent status` shows.
        epoch: u32,
    },
    /// The agent's own child: runs the PAM stack of an activation.
    #[command(hide = true)]
    PamRun,
}

/// How status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs; `schema` counts its form.
    Json,
}

/// Arguments of `elevate-agent enroll`.
#[derive(Debug, Args)]
pub(crate) struct EnrollArguments {
    /// Read the paste string from this file instead of standard input.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Do not ask whether root can log in without Elevate: I have tried it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Neither enable nor start the services.
    #[arg(long)]
    pub(crate) no_services: bool,
    /// Only there to be refused: a command line is seen by every account of the host.
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

/// Arguments of `elevate-agent unenroll`.
#[derive(Debug, Args)]
pub(crate) struct UnenrollArguments {
    /// Neither stop nor disable the services.
    #[arg(long)]
    pub(crate) no_services: bool,
}

/// Arguments of `elevate-agent doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {}
