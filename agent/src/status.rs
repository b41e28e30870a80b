//! `elevate-agent status`: what is enforced here and whether the daemon is reachable.
//!
//! In: status.json, which the running agent keeps, and a hello at its socket. Out: text or JSON. Runs as: root.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::name::{Login, Name};
use elevate_protocol::text::escape;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::grants::{Account, Standing};
use crate::clock::{self, Boot, Moment};
use crate::journal;
use crate::paths::Paths;
use crate::safe::{self, SafeError};

/// How long the agent may take for its hello.
const PING: Duration = Duration::from_secs(2);
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// How status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs; `schema` counts its form.
    Json,
}

/// What the running agent writes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The form of this.
    pub(crate) schema: u32,
    /// The agent's version.
    pub(crate) agent: String,
    /// Its process.
    pub(crate) pid: u32,
    /// The host's name.
    pub(crate) host: Name,
    /// Where the daemon is.
    pub(crate) daemon: String,
    /// Whether the daemon and the agent have greeted each other.
    pub(crate) connected: bool,
    /// The first line of `sudo -V`.
    pub(crate) sudo: Option<String>,
    /// Why no rule can be enforced here.
    pub(crate) hindrance: Option<String>,
    /// The epoch of the host's log.
    pub(crate) epoch: u32,
    /// The last applied document.
    pub(crate) seq: u64,
    /// Reports that the daemon has not acknowledged.
    pub(crate) reports_waiting: usize,
    /// Connections at door 1.
    pub(crate) people: usize,
    /// Grants that are held.
    pub(crate) grants: Vec<GrantStatus>,
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantStatus {
    /// Its id.
    pub(crate) id: ActivationId,
    /// Whose.
    pub(crate) login: Login,
    /// On this host.
    pub(crate) uid: u32,
    /// The role.
    pub(crate) role: Name,
    /// First second that is too late.
    pub(crate) not_after: Timestamp,
    /// The same on CLOCK_BOOTTIME, in milliseconds.
    pub(crate) ends: Boot,
    /// Whether the account was confirmed, so that rules are installed.
    pub(crate) confirmed: bool,
}

impl GrantStatus {
    /// What there is to say of a grant.
    #[must_use]
    pub(crate) fn of(standing: &Standing) -> Self {
        let grant = standing.held.verified.grant();
        Self {
            id: grant.id,
            login: grant.login.clone(),
            uid: grant.uid,
            role: grant.role.clone(),
            not_after: standing.held.verified.not_after(),
            ends: standing.ends,
            confirmed: standing.account == Account::Confirmed,
        }
    }

    fn left(&self, now: Moment) -> elevate_protocol::time::Span {
        self.not_after.since(now.wall).min(now.boot.seconds_to(self.ends))
    }
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    running: bool,
    #[serde(flatten)]
    status: &'a Status,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// Not there.
    #[error("elevate-agent has not run since this host was started, or you are not root")]
    Read {
        /// Why.
        source: SafeError,
    },
    /// Not understood.
    #[error("the status file is of another version; restart elevate-agent")]
    Parse {
        /// Why.
        source: serde_json::Error,
    },
}

/// Prints the status. Exit code 0 when the agent runs, enforces and is connected; 9 otherwise.
pub(crate) fn run(paths: &Paths, format: Format) -> ExitCode {
    let status = match load(paths) {
        Ok(status) => status,
        Err(error) => return journal::fatal(&error),
    };
    let running = answers(paths);
    match format {
        Format::Json => {
            let shown = serde_json::to_string_pretty(&Shown { running, status: &status });
            println!("{}", shown.unwrap_or_default());
        }
        Format::Text => print!("{}", text(&status, running, clock::read())),
    }
    let fine = running && status.connected && status.hindrance.is_none();
    if fine { ExitCode::SUCCESS } else { ExitCode::from(9) }
}

/// What the agent last wrote.
///
/// # Errors
/// [`StatusError`] when it is not there or of another version.
pub(crate) fn load(paths: &Paths) -> Result<Status, StatusError> {
    let text = safe::read(&paths.status, FILE_MAX).map_err(|source| StatusError::Read { source })?;
    serde_json::from_str(&text).map_err(|source| StatusError::Parse { source })
}

/// Whether the agent answers a hello: the file alone could be of one that is dead.
pub(crate) fn answers(paths: &Paths) -> bool {
    let Ok(mut stream) = UnixStream::connect(&paths.agent_socket) else { return false };
    let bounded = stream.set_read_timeout(Some(PING)).and_then(|()| stream.set_write_timeout(Some(PING)));
    let hello = Say::Hello { versions: Versions::OURS };
    bounded.is_ok()
        && frame::write(&mut stream, &hello).is_ok()
        && matches!(frame::read::<Reply>(&mut stream), Ok(Some(Reply::Hello { .. })))
}

fn text(status: &Status, running: bool, now: Moment) -> String {
    let yes = |fine: bool, good: &str, bad: &str| if fine { good.to_owned() } else { bad.to_owned() };
    let mut lines = vec![
        format!("host       {}", status.host),
        format!(
            "agent      {} {}",
            status.agent,
            yes(running, "running", "NOT RUNNING; what follows is what it last wrote")
        ),
        format!(
            "daemon     {} {}",
            escape(&status.daemon),
            yes(status.connected && running, "connected", "NOT CONNECTED")
        ),
        format!("sudo       {}", status.sudo.as_deref().map_or("NONE".to_owned(), escape)),
        format!(
            "rules      {}",
            status
                .hindrance
                .as_deref()
                .map_or("enforced".to_owned(), |why| format!("NOT ENFORCED: {}", escape(why)))
        ),
        format!("documents  {} applied, epoch {}", status.seq, status.epoch),
        format!("reports    {} wait for the daemon", status.reports_waiting),
        format!("grants     {}", status.grants.len()),
    ];
    for grant in &status.grants {
        let id: String = grant.id.to_string().chars().take(elevate_protocol::id::PREFIX_MIN).collect();
        let waits = yes(grant.confirmed, "", "  (its account is not confirmed yet: no rules)");
        let login = escape(grant.login.as_str());
        lines.push(format!(
            "  G-{id}  {login} (uid {})  {}  {} left{waits}",
            grant.uid,
            grant.role,
            grant.left(now)
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}
