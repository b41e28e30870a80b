//! What administrators type to `elevatectl`.
//!
//! In: the words of the command line. Out: [`Elevatectl`], with values already parsed. Spec: docs/cli.md.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use elevate_protocol::host_ssh::{HostName, HostSshError};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::name::{Name, NameError};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::Format;
use super::keys::Key;
use crate::pages::Shell;

/// Administer Elevate: on the daemon's machine as root, elsewhere with your own key and an active role that administers. Each use
/// is an event.
#[derive(Debug, Parser)]
#[command(
    name = "elevatectl",
    version,
    after_help = "\
Examples:
  elevatectl person invite alice                 a string for alice: elevate login STRING, elevate mfa add
  elevatectl host invite web1 --label tier=web   a string for web1's root: elevate-agent enroll < FILE
  elevatectl policy check && elevatectl policy reload
  elevatectl lock --person alice --ttl 10h -m \"laptop stolen\"
  elevatectl revoke --role web-ops -m \"wrong role\"
  elevatectl audit tail -n 50 -f"
)]
pub struct Elevatectl {
    /// How to print: for people, or one value with a stable `schema` for scripts [variable: ELEVATE_FORMAT]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Only what scripts need on standard output, only errors on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colours (also: NO_COLOR set and not empty)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// The daemon's own socket, on its machine [default: /run/elevated/admin.sock for root, else one's own key]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The SSH key to show the daemon, from elsewhere
    #[arg(short, long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// People of the policy
    #[command(subcommand)]
    Person(Person),
    /// Hosts
    #[command(subcommand)]
    Host(Host),
    /// The policy
    #[command(subcommand)]
    Policy(Policy),
    /// End grants before their time
    Revoke(Revoke),
    /// Lock a person, a role, a host or everything: ends what is concerned, refuses everything of it from now on
    Lock(Lock),
    /// Lift every lock on one thing; what was ended stays ended
    Unlock(Unlock),
    /// List the locks in force
    Locks,
    /// Say whether the daemon's database is older than what was seen, and what to do then
    Restore {
        /// What else
        #[command(subcommand)]
        verb: Option<Restore>,
    },
    /// The log
    #[command(subcommand)]
    Audit(Audit),
    /// The keys that sign grants and SSH certificates
    #[command(subcommand)]
    Key(Key),
    /// SSH on machines without agent
    #[command(subcommand)]
    Ssh(Ssh),
    /// List where events are sent on to: how far each is, how much it lacks, its last failure
    Sinks,
    /// Print a script with which a shell completes these commands
    Completion {
        /// Which
        shell: Shell,
    },
}

/// What a lock is on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct OnWhat {
    /// A person: activates, approves, decides nothing
    #[arg(long, value_name = "PERSON")]
    pub person: Option<Name>,
    /// A role: nobody activates it
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Name>,
    /// A host: nobody activates anything there
    #[arg(short = 'H', long, value_name = "HOST")]
    pub host: Option<Name>,
    /// Everything, for everybody but root on the daemon's machine
    #[arg(long)]
    pub all: bool,
}

/// What to lock, for how long, and why.
#[derive(Debug, Args)]
pub struct Lock {
    /// On what.
    #[command(flatten)]
    pub what: OnWhat,
    /// For how long [default: until it is unlocked]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Span>,
    /// Why; said to whoever is refused, and to the log
    #[arg(short = 'm', long = "message", alias = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: UntrustedText,
}

/// What to unlock, and why.
#[derive(Debug, Args)]
pub struct Unlock {
    /// On what.
    #[command(flatten)]
    pub what: OnWhat,
    /// Why; said to the log
    #[arg(short = 'm', long = "message", alias = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: UntrustedText,
}

/// After a backup was laid back.
#[derive(Debug, Subcommand)]
pub enum Restore {
    /// Go on with the older database: what it gave ends, recovery codes and invitations are void
    Accept {
        /// Why; said to the log
        #[arg(short = 'm', long = "message", alias = "reason", alias = "justification", value_name = "TEXT")]
        reason: UntrustedText,
    },
}

/// People.
#[derive(Debug, Subcommand)]
pub enum Person {
    /// Make a string with which a person enrols a second factor; it is shown once
    Invite {
        /// Whom
        person: Name,
        /// How long it is valid, at most 72h [default: 24h]
        #[arg(long, value_name = "DURATION")]
        valid: Option<Span>,
    },
    /// Take a person's factor and recovery codes away, and make a string to enrol anew; the new factor waits
    Reset {
        /// Whose
        person: Name,
        /// Why; said to the log
        #[arg(short = 'm', long = "message", alias = "reason", alias = "justification", value_name = "TEXT")]
        reason: UntrustedText,
    },
    /// Let a new factor or key count at once, as the second administrator
    Confirm {
        /// Whose
        person: Name,
        /// `factor`, or the fingerprint of the key, as `person list` shows it
        #[arg(value_name = "factor|SHA256:…")]
        what: UntrustedText,
    },
    /// List everybody in the policy
    List,
}

/// Hosts.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// Make a string with which a host enrols; it is shown once
    Invite {
        /// The host's name
        name: Name,
        /// A label, may be given several times; roles choose hosts by them
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(Name, Name)>,
        /// Another name or address that people reach it by, may be given several times; stands in its SSH certificates
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<HostName>,
        /// How long it is valid, at most 1h [default: 1h]
        #[arg(long, value_name = "DURATION")]
        valid: Option<Span>,
    },
    /// Let an invitation take the place of an enrolled host at once, as the second administrator
    Confirm {
        /// The host's name
        name: Name,
        /// Who invited, as `host list` shows it
        by: Name,
    },
    /// Change the labels of an enrolled host; what roles no longer give it ends at once
    Label {
        /// The host's name
        name: Name,
        /// KEY=VALUE to set a label, KEY- to take it away
        #[arg(required = true, value_name = "KEY=VALUE | KEY-", value_parser = change)]
        changes: Vec<LabelChange>,
    },
    /// Change the names of an enrolled host beside its own, which stand in its SSH certificates
    Name {
        /// The host's name
        name: Name,
        /// NAME to give it another name or address, NAME- to take it away
        #[arg(required = true, value_name = "NAME | NAME-", value_parser = renaming)]
        changes: Vec<NameChange>,
    },
    /// List every host that enrolled
    List,
}

/// One change of a host's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// `KEY=VALUE`.
    Set(Name, Name),
    /// `KEY-`.
    Remove(Name),
}

/// One change of a host's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChange {
    /// `NAME`.
    Add(HostName),
    /// `NAME-`.
    Remove(HostName),
}

/// The policy.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Read the files of the policy folder and say what is wrong; nothing changes
    Check,
    /// Print the policy that is in force, with every default written out
    Show {
        /// The same; for those who look for the word
        #[arg(long)]
        effective: bool,
    },
    /// Say what the files of the policy folder would change, every default written out; nothing changes
    Diff,
    /// Put the files of the policy folder in force, all or nothing
    Reload,
}

/// What to revoke, and why.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["grant", "person", "host", "role"])))]
pub struct Revoke {
    /// One grant: G-…
    #[arg(value_name = "GRANT")]
    pub grant: Option<IdPrefix>,
    /// Everything that a person has
    #[arg(long, value_name = "PERSON")]
    pub person: Option<Name>,
    /// Everything on a host
    #[arg(short = 'H', long, value_name = "HOST")]
    pub host: Option<Name>,
    /// Everything of a role
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Name>,
    /// Why; said to the person and the log
    #[arg(short = 'm', long = "reason", alias = "justification", value_name = "TEXT")]
    pub reason: UntrustedText,
}

/// SSH.
#[derive(Debug, Subcommand)]
pub enum Ssh {
    /// Write what sshd needs on a machine without agent: the keys to trust, the certificates that are revoked, the lines
    Export(Export),
}

/// Where to.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder to write the files into, made when it is not there
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// The folder in which they will lie on those machines
    #[arg(long, value_name = "DIR", default_value = "/etc/ssh")]
    pub into: PathBuf,
}

/// The log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Print the latest events
    Tail {
        /// How many
        #[arg(short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        last: u32,
        /// Stay, and print each new one until Ctrl-C
        #[arg(short = 'f', long)]
        follow: bool,
    },
}

fn change(text: &str) -> Result<LabelChange, String> {
    match text.strip_suffix('-') {
        Some(key) if !text.contains('=') => {
            key.parse().map(LabelChange::Remove).map_err(|error: NameError| error.to_string())
        }
        Some(_) | None => label(text).map(|(key, value)| LabelChange::Set(key, value)),
    }
}

fn renaming(text: &str) -> Result<NameChange, String> {
    let (change, text): (fn(HostName) -> NameChange, &str) = match text.strip_suffix('-') {
        Some(name) => (NameChange::Remove, name),
        None => (NameChange::Add, text),
    };
    text.parse().map(change).map_err(|error: HostSshError| error.to_string())
}

fn label(text: &str) -> Result<(Name, Name), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
    Ok((name(key)?, name(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_set_with_a_value_and_taken_away_with_a_dash() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(change("tier=web"), Ok(LabelChange::Set(name("tier"), name("web"))));
        assert_eq!(change("tier-"), Ok(LabelChange::Remove(name("tier"))));
        assert_eq!(change("tier=web-"), Ok(LabelChange::Set(name("tier"), name("web-"))));
        for bad in ["tier", "", "-", "=web", "tier=", "Tier=web", "ALL-"] {
            assert!(change(bad).is_err(), "{bad:?}");
        }
    }
}
