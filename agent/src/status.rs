//! `elevate-agent status`: what is enforced here and whether the daemon is reachable.
//!
//! In: status.json, which the running agent keeps, a hello at its socket, and the files of sudo and PAM as they stand. Out: text or
//! JSON. What only a living agent can know is not told of a dead one. Runs as: root, by hand. Spec: docs/config.md.

use std::process::ExitCode;

use elevate_protocol::host_ssh::HostName;
use elevate_protocol::id::ActivationId;
use elevate_protocol::name::{Login, Name};
use elevate_protocol::text::escape;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::grants::{Account, Standing};
use crate::args::Format;
use crate::clock::{self, Boot, Moment};
use crate::host_keys::HostCertificate;
use crate::journal;
use crate::life::{self, Life};
use crate::paths::Paths;
use crate::probe;
use crate::safe::{self, SafeError};

const FILE_MAX: u64 = 16 * 1024 * 1024;
/// How long a host's certificate may take: the link connects, the agent looks at sshd's keys, the daemon has it signed.
const ON_ITS_WAY: Span = Span(60);

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
    /// Why sshd's list of revoked certificates is the one of before.
    #[serde(default)]
    pub(crate) revocation: Option<String>,
    /// Why what sshd refuses by itself is not known.
    #[serde(default)]
    pub(crate) sshd_log: Option<String>,
    /// The epoch of the host's log.
    pub(crate) epoch: u32,
    /// The epoch that the daemon says begins, while it waits for root's word.
    #[serde(default)]
    pub(crate) new_epoch: Option<u32>,
    /// The last applied document.
    pub(crate) seq: u64,
    /// Reports that the daemon has not acknowledged, and those of later numbers that were dropped.
    pub(crate) reports_waiting: u64,
    /// Connections at door 1.
    pub(crate) people: usize,
    /// The keys that sshd shows here, and their certificates.
    #[serde(default)]
    pub(crate) host_certificates: Vec<HostCertificate>,
    /// Why there are none, or no new ones.
    #[serde(default)]
    pub(crate) host_certificate_problem: Option<String>,
    /// Since when those that are missing are awaited; none: all were there at the last look.
    #[serde(default)]
    pub(crate) host_certificates_since: Option<Boot>,
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

    fn line(&self, now: Moment) -> String {
        let id: String = self.id.to_string().chars().take(elevate_protocol::id::PREFIX_MIN).collect();
        let waits = if self.confirmed { "" } else { "  (its account is not confirmed yet: no rules)" };
        let login = escape(self.login.as_str());
        let left = self.left(now);
        let left = if left == Span(0) { "over".to_owned() } else { format!("{left} left") };
        format!("  G-{id}  {login} (uid {})  {}  {left}{waits}", self.uid, self.role)
    }

    fn left(&self, now: Moment) -> Span {
        self.not_after.since(now.wall).min(now.boot.seconds_to(self.ends))
    }
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    running: bool,
    /// Whether it answered: `yes`, `no` (nobody is there), `late`.
    answers: &'static str,
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
    let life = life::of_agent(&paths.agent_socket);
    let status = status.seen_with(life, paths);
    let running = life == Life::Answers;
    match format {
        Format::Json => {
            let answers = match life {
                Life::Answers => "yes",
                Life::Silent => "late",
                Life::Absent => "no",
            };
            let shown = serde_json::to_string_pretty(&Shown { running, answers, status: &status });
            journal::show(&format!("{}\n", shown.unwrap_or_default()));
        }
        Format::Text => journal::show(&text(&status, life, clock::read())),
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

impl Status {
    /// Whether a certificate of this host that is not there may come by itself in a moment.
    #[must_use]
    pub(crate) fn awaits_certificates(&self, now: Boot) -> bool {
        let since = self.host_certificates_since.filter(|_| self.host_certificate_problem.is_none());
        since.is_some_and(|since| now < since.after(ON_ITS_WAY))
    }

    /// What of it still holds when the agent does not answer: it is not connected for anybody's use, and whether sudo obeys rules
    /// here is read from the files.
    fn seen_with(mut self, life: Life, paths: &Paths) -> Self {
        match life {
            Life::Answers => {}
            Life::Silent | Life::Absent => {
                self.connected = false;
                self.hindrance = probe::enforcement(paths, &crate::flavour::Sudo::ask())
                    .err()
                    .map(|error| journal::chain(&error));
            }
        }
        self
    }
}

fn text(status: &Status, life: Life, now: Moment) -> String {
    let (agent, daemon) = match life {
        Life::Answers => ("running".to_owned(), if status.connected { "connected" } else { "NOT CONNECTED" }),
        Life::Silent => (
            format!(
                "DOES NOT ANSWER within {}s: stopped, or buried under callers (process {}); what follows is what it last wrote",
                life::PATIENCE.as_secs(),
                status.pid
            ),
            "NOT KNOWN",
        ),
        Life::Absent => ("NOT RUNNING; what follows is what it last wrote".to_owned(), "NOT CONNECTED"),
    };
    let mut lines = vec![
        format!("host       {}", status.host),
        format!("agent      {} {agent}", status.agent),
        format!("daemon     {} {daemon}", escape(&status.daemon)),
        format!("sudo       {}", status.sudo.as_deref().map_or("NONE".to_owned(), escape)),
        format!("rules      {}", rules(status, life)),
        format!("documents  {} applied, epoch {}", status.seq, status.epoch),
        format!("reports    {} wait for the daemon", status.reports_waiting),
        format!("host keys  {}", certified(status, now)),
        format!("grants     {}", status.grants.len()),
    ];
    lines.extend(status.grants.iter().map(|grant| grant.line(now)));
    if let Some(why) = &status.revocation {
        lines.push(format!("REVOKED    sshd's list is the one of before: {}", escape(why)));
    }
    if let Some(why) = &status.sshd_log {
        lines.push(format!("LOG        what sshd refuses by itself is not known: {}", escape(why)));
    }
    if let Some(epoch) = status.new_epoch {
        lines.push(format!("EPOCH      {}", another_log(epoch)));
        lines.push(format!("           root says so with: elevate-agent confirm-epoch {epoch}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What people who log in see of this host.
fn certified(status: &Status, now: Moment) -> String {
    let all = &status.host_certificates;
    let until = all.iter().map(|one| one.until.filter(|until| now.wall < *until)).min();
    let problem = status.host_certificate_problem.as_deref().map(|why| format!("; {}", escape(why)));
    let problem = problem.unwrap_or_default();
    match until {
        None => format!("no certificates: sshd is not set up{problem}"),
        Some(None) if status.awaits_certificates(now.boot) => "their certificates are on the way".to_owned(),
        Some(None) => format!("NOT ALL CERTIFIED: `elevate ssh` refuses a key that nobody knows{problem}"),
        Some(Some(until)) => {
            let names = all.first().and_then(|one| one.names.as_ref());
            let names: Vec<&str> = names.iter().flat_map(|names| names.all()).map(HostName::as_str).collect();
            format!("{} certified as {} for {}{problem}", all.len(), names.join(", "), until.since(now.wall))
        }
    }
}

/// What a new epoch means, for people.
#[must_use]
pub(crate) fn another_log(epoch: u32) -> String {
    format!(
        "the daemon's log for this host is not the one applied here: one of both was restored from a backup. Nothing new is applied \
         before root says that epoch {epoch} begins, which ends what is in force here"
    )
}

/// Whether sudo obeys managed rules, and who sees to it.
fn rules(status: &Status, life: Life) -> String {
    match (&status.hindrance, life) {
        (Some(why), _) => format!("NOT ENFORCED: {}", escape(why)),
        (None, Life::Answers) => "enforced".to_owned(),
        (None, Life::Silent | Life::Absent) => {
            "NOT WATCHED: sudo's and PAM's files are in place, so what is installed holds until its own end; \
             nothing new comes into force and nothing is taken away early"
                .to_owned()
        }
    }
}
