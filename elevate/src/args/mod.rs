//! What people type to `elevate`.
//!
//! In: the words of the command line. Out: [`Elevate`], with values already parsed. One bare word is a role, or an id
//! when it looks like one; it is found before clap sees the words. Spec: docs/cli.md.

pub mod admin;
mod bare;
pub mod keys;
mod options;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::name::{HostWord, Name};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use crate::pages::Shell;
pub use bare::{parse, unwind, verbs};
pub use options::{Common, Format, WaitFor, Wanted};

/// Activate a role for a while, with a reason, a second factor and where needed the word of others.
#[derive(Debug, Parser)]
#[command(
    name = "elevate",
    version,
    after_help = "\
Examples:
  elevate                                   what I have, what I may activate, what waits for me
  elevate web-ops -d 1h -m \"INC-4211 restart loop\"
  sudo systemctl restart nginx              then plain sudo, as ever
  elevate run web-ops -m \"INC-4211\" -- systemctl restart nginx
  elevate R-7K2M                            take up waiting for a request, or show it
  elevate requests --to-review              what waits for my word
  elevate approve R-7K2M | elevate deny R-7K2M -m \"not in this window\"
  elevate drop                              give it back early

A word that is no command is a role: `elevate web-ops` is `elevate request web-ops`; scripts write the long form.
Durations: 90s 30m 1h30m 2d. Exit codes: 0 done, 1 error, 2 usage, 3 not eligible, 4 pending, 5 denied,
6 code missing or wrong, 7 no longer there, 8 daemon or 9 host not reachable, 10 signature or key not right."
)]
pub struct Elevate {
    /// For every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do; nothing: the overview.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Activate a role: reason, code, approval where needed, then use plain sudo
    Request(Request),
    /// Show a request or grant; take up waiting when it is mine and waits
    #[command(hide = true)]
    TakeUp(One),
    /// Activate, run one command through sudo, give back when it ends; the exit code is the command's
    Run(Run),
    /// Open a shell through sudo -i under a grant; the exit code is the shell's
    Shell(Request),
    /// Log in to a host by a certificate under a grant, with plain ssh; the exit code is ssh's
    Ssh(Ssh),
    /// List what I have, what I may activate, or what is over
    #[command(alias = "ls")]
    List(List),
    /// Show where a grant stands on its hosts; exit code 7 when it is no longer active
    Status(Status),
    /// List what was asked for and had, newest first
    History(History),
    /// Show everything about a request or grant
    Show(Show),
    /// List requests that wait, mine or for my word
    Requests(Requests),
    /// Approve a request, with one's own key and code
    Approve(Approve),
    /// Deny a request, with one's own key and code
    Deny(Deny),
    /// Take back a request of mine
    Cancel(One),
    /// Ask again with something changed: a new request in the place of one of mine that is open
    Amend(Amend),
    /// Give a grant back early
    Drop(Drop),
    /// Make a grant last longer, within the role's maximum
    Extend(Extend),
    /// Write a certificate for SSH under a grant that is there, with a key of its own or for mine
    Cert(Cert),
    /// Print lines for ~/.ssh/config with which plain ssh, scp, rsync and git use the grants that are there
    SshConfig(SshConfig),
    /// Say why a command is or is not allowed
    Why(Why),
    /// Say whether a role or command could be activated; exit code 0 or 3
    CanI(CanI),
    /// Lock myself, everywhere: `elevate lock me`
    Lock(LockMe),
    /// Second factor: add, list, test, recovery codes
    #[command(subcommand)]
    Mfa(Mfa),
    /// Keep a daemon's address and key, from the string an administrator made
    Login(Login),
    /// Say who I am to the daemon, and through which door
    Whoami,
    /// Print a script with which a shell completes these commands
    Completion {
        /// Which
        shell: Shell,
    },
}

/// A role and how it is wanted.
#[derive(Debug, Args)]
pub struct Request {
    /// The role
    pub role: Name,
    /// How.
    #[command(flatten)]
    pub wanted: Wanted,
    /// A command after --: activate and run it, as `elevate run` does
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// A role and a command.
#[derive(Debug, Args)]
pub struct Run {
    /// The role
    pub role: Name,
    /// How.
    #[command(flatten)]
    pub wanted: Wanted,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Where to log in, and how the grant is wanted.
#[derive(Debug, Args)]
pub struct Ssh {
    /// The host, and the account; none: the first that the role opens
    #[arg(value_name = "[USER@]HOST")]
    pub target: String,
    /// The role, when several open it
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Name>,
    /// How.
    #[command(flatten)]
    pub wanted: Wanted,
    /// The command and its arguments, after --; none: a shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// One request or grant.
#[derive(Debug, Args)]
pub struct One {
    /// R-… or G-…, any unique start of at least four letters
    pub id: IdPrefix,
}

/// A request of mine, and what is to be different.
#[derive(Debug, Args)]
pub struct Amend {
    /// R-…, any unique start of at least four letters
    pub id: IdPrefix,
    /// What changes; the rest stays as it was asked.
    #[command(flatten)]
    pub wanted: Wanted,
}

/// One request or grant, or all that are active.
#[derive(Debug, Args)]
pub struct Status {
    /// R-… or G-…, any unique start of at least four letters; none: all active ones
    pub id: Option<IdPrefix>,
    /// Stay, and print each change until Ctrl-C, or until the one that is named is over
    #[arg(long)]
    pub watch: bool,
    /// One short word for a shell's prompt, from this host alone; nothing when nothing is active
    #[arg(long, conflicts_with_all = ["id", "watch"])]
    pub prompt: bool,
}

/// Whose history, and how far back.
#[derive(Debug, Args)]
pub struct History {
    /// Somebody else: what one has approved or denied of theirs, through one's own key
    #[arg(long, value_name = "PERSON")]
    pub person: Option<Name>,
    /// How far back, by when it was asked [default: 90d]
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Span>,
}

/// Everything about one.
#[derive(Debug, Args)]
pub struct Show {
    /// R-… or G-…, any unique start of at least four letters
    pub id: IdPrefix,
    /// With the signed documents, through one's own key
    #[arg(long)]
    pub documents: bool,
}

/// Which list.
#[derive(Debug, Args)]
pub struct List {
    /// Roles that I may activate
    #[arg(long, conflicts_with_all = ["active", "expired"])]
    pub eligible: bool,
    /// Only what is active
    #[arg(long, conflicts_with = "expired")]
    pub active: bool,
    /// Only what is over
    #[arg(long)]
    pub expired: bool,
}

/// Which requests.
#[derive(Debug, Args)]
pub struct Requests {
    /// Only those that I may decide, through one's own key
    #[arg(long, conflicts_with = "mine")]
    pub to_review: bool,
    /// Only my own
    #[arg(long)]
    pub mine: bool,
    /// Stay, and print each change until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// An approval.
#[derive(Debug, Args)]
pub struct Approve {
    /// R-…, any unique start of at least four letters
    pub id: IdPrefix,
    /// Said to the requester and the log
    #[arg(short = 'm', long = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: Option<UntrustedText>,
}

/// A denial.
#[derive(Debug, Args)]
pub struct Deny {
    /// R-…, any unique start of at least four letters
    pub id: IdPrefix,
    /// Why; said to the requester and the log
    #[arg(short = 'm', long = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: Option<UntrustedText>,
}

/// What to give back.
#[derive(Debug, Args)]
pub struct Drop {
    /// G-…; none when there is only one
    #[arg(conflicts_with = "all")]
    pub id: Option<IdPrefix>,
    /// All of mine
    #[arg(long)]
    pub all: bool,
}

/// What to extend, and by how much.
#[derive(Debug, Args)]
pub struct Extend {
    /// G-… (none when there is only one), then by how much: 30m, 1h
    #[arg(required = true, num_args = 1..=2, value_names = ["ID", "DURATION"])]
    pub words: Vec<String>,
    /// Why
    #[arg(short = 'm', long = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: Option<UntrustedText>,
}

/// Which certificate, and where to.
#[derive(Debug, Args)]
pub struct Cert {
    /// A role or G-… of mine that is active; none when only one fits
    #[arg(value_name = "ROLE|GRANT")]
    pub which: Option<String>,
    /// The file of the key, made when it is not there; the certificate is FILE-cert.pub. With --key: of the certificate
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// My own public key, to be certified in the place of a fresh one
    #[arg(long, value_name = "PUB")]
    pub key: Option<PathBuf>,
    /// A host that it must open
    #[arg(short = 'H', long, value_name = "HOST")]
    pub host: Option<HostWord>,
    /// An account that it must open there
    #[arg(short = 'l', long, value_name = "LOGIN")]
    pub login: Option<Name>,
    /// For machines without agent, where the role has such certificates: it names accounts, and opens nothing on hosts
    #[arg(long)]
    pub agentless: bool,
}

/// The lines, or what they ask for at each login.
#[derive(Debug, Args)]
pub struct SshConfig {
    /// See that FOLDER has a certificate that opens LOGIN on HOST; never asks, never waits. The lines themselves call this
    #[arg(long, num_args = 3, value_names = ["FOLDER", "LOGIN", "HOST"])]
    pub ready: Option<Vec<String>>,
}

/// Where and what.
#[derive(Debug, Args)]
pub struct Why {
    /// The host; none: this one
    pub host: Option<HostWord>,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// A role, or a command.
#[derive(Debug, Args)]
pub struct CanI {
    /// The role
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub role: Option<Name>,
    /// A host; none: any, or this one for a command
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub host: Option<HostWord>,
    /// A command and its arguments, after --
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// The second factor.
#[derive(Debug, Subcommand)]
pub enum Mfa {
    /// Enrol a factor: shows a QR code for an authenticator app, then asks for a code
    Add {
        /// With a recovery code, which is asked for, in the place of an administrator's invitation
        #[arg(long)]
        recovery: bool,
    },
    /// List my factors
    List,
    /// Try my factor; nothing else happens
    Test,
    /// Make ten recovery codes; they are shown once, and earlier ones are worth nothing then
    Recovery,
}

/// Lock myself.
#[derive(Debug, Args)]
pub struct LockMe {
    /// Whom: `me`; others are locked by administrators, with elevatectl
    #[arg(value_enum)]
    pub whom: Me,
    /// For how long [default: until an administrator lifts it]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Span>,
    /// Why; said to the log, and whenever I am refused
    #[arg(short = 'm', long = "message", alias = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: Option<UntrustedText>,
}

/// The one whom a person may lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Me {
    /// Whoever types it.
    Me,
}

/// A paste string.
#[derive(Debug, Args)]
pub struct Login {
    /// The string from `elevatectl person invite`; none or -: from standard input
    pub string: Option<String>,
}
