//! The command line of `elevated`. Nothing but clap is used here: the manual pages are made from this very file.
//!
//! In: arguments. Out: [`Cli`]. Spec: docs/config.md "elevated".

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What the programs use when nothing is said.
pub(crate) const LISTEN: &str = "[::]:7022";
/// See [`LISTEN`].
pub(crate) const DATA_DIR: &str = "/var/lib/elevated";
/// See [`LISTEN`].
pub(crate) const ADMIN_SOCKET: &str = "/run/elevated/admin.sock";

/// Decides, signs, delivers, records.
#[derive(Debug, Parser)]
#[command(name = "elevated", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The configuration
    #[arg(long, global = true, default_value = "/etc/elevate/daemon.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Check configuration and policy, print the effective values, and exit
    #[arg(long, global = true)]
    pub(crate) check_config: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run in the foreground
    Run,
    /// Make keys, database, configuration and a sample policy; overwrites nothing
    Init(Init),
}

/// Settings of the new daemon.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// NAME:PORT by which hosts and people reach this daemon [default: this machine's name and port 7022]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// Address and port to listen on
    #[arg(long, value_name = "IP:PORT", default_value = LISTEN)]
    pub(crate) listen: SocketAddr,
    /// The account that the daemon will run as; it gets the data folder
    #[arg(long, value_name = "LOGIN", default_value = "elevated")]
    pub(crate) user: String,
    /// Database, lock and keys
    #[arg(long, value_name = "FOLDER", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// The policy's files [default: policy.d beside the configuration]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) policy_dir: Option<PathBuf>,
    /// The socket for root on this machine
    #[arg(long, value_name = "SOCKET", default_value = ADMIN_SOCKET)]
    pub(crate) admin_socket: PathBuf,
}
