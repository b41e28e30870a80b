//! A role: who may activate it, where, for what, how long and on which conditions.
//!
//! In: what `parse` checked, defaults filled in. Out: [`Role`]. Spec: docs/policy.md "`[roles]`".

use std::num::NonZeroU32;

use elevate_protocol::name::Name;
use elevate_protocol::ssh::SshPart;
use elevate_protocol::sudo::{Allowed, SudoPart};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::Serialize;

use super::Member;
use super::approval::ApprovalRule;
use super::nonempty::NonEmpty;
use super::scope::HostScope;
use super::ticket::TicketPattern;
use crate::decide::facts::HostFacts;
use crate::lint::{self, Escape};

/// A named bundle with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Role {
    /// Its name, never a reserved word.
    pub name: Name,
    /// What people read.
    pub title: Option<UntrustedText>,
    /// Who is eligible.
    pub who: NonEmpty<Eligibility>,
    /// What it gives, and where.
    pub reach: Reach,
    /// Most hosts of one activation; none: as many as are named.
    pub max_hosts: Option<NonZeroU32>,
    /// How long when nobody says; at most `max`.
    pub duration: Span,
    /// How long at most, extensions included; at most [`super::HARD_CAP`].
    pub max: Span,
    /// Whether a reason must be given.
    pub reason: ReasonRule,
    /// What a ticket looks like.
    pub ticket: Option<TicketRule>,
    /// Whether a second factor is asked for.
    pub factor: Factor,
    /// Approvals; none: nobody is asked.
    pub approve: Vec<ApprovalRule>,
    /// Warnings before the end, longest first.
    pub warn: Vec<Span>,
    /// How long a request may wait before it lapses.
    pub pending: Span,
    /// How long the right lives on a host that has no contact with the daemon; none: to its end.
    pub lease: Option<Span>,
}

/// What a role gives: commands and logins on hosts, or the administration of Elevate itself. Never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Commands, logins or both, on hosts.
    Hosts {
        /// Where.
        hosts: HostScope,
        /// What sudo allows.
        sudo: Option<SudoPart>,
        /// What certificates open. There is this, or sudo.
        ssh: Option<Box<SshPart>>,
    },
    /// Administration, on the daemon: no host hears of it.
    Daemon {
        /// Which parts.
        admin: NonEmpty<AdminPart>,
    },
}

/// A part of the administration of Elevate. Each command of `elevatectl` belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminPart {
    /// Inviting people, resetting and confirming factors and keys.
    People,
    /// Inviting hosts.
    Hosts,
    /// Locking, unlocking, revoking.
    Locks,
    /// Reading and reloading the policy.
    Policy,
    /// Reading the log.
    Audit,
    /// The keys that sign grants.
    Keys,
}

impl AdminPart {
    /// Every part, as the policy writes them.
    pub const ALL: [Self; 6] =
        [Self::People, Self::Hosts, Self::Locks, Self::Policy, Self::Audit, Self::Keys];

    /// As the policy writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::People => "people",
            Self::Hosts => "hosts",
            Self::Locks => "locks",
            Self::Policy => "policy",
            Self::Audit => "audit",
            Self::Keys => "keys",
        }
    }
}

/// One entry of `who`: a standing right to activate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Eligibility {
    /// The person or group.
    pub who: Member,
    /// First second in which it holds.
    pub from: Option<Timestamp>,
    /// First second in which it holds no longer.
    pub until: Option<Timestamp>,
}

impl Eligibility {
    /// Whether it holds at this time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| now >= from) && self.until.is_none_or(|until| now < until)
    }
}

/// Whether a reason must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonRule {
    /// At least [`crate::REASON_MIN`] characters, or a valid ticket.
    Required,
    /// Nothing; what is given is kept.
    Optional,
}

/// Whether a second factor is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// With the request, and again at the start when that is older than [`crate::FACTOR_FRESH`].
    Activation,
    /// The same, and again at every use on a host: once for each terminal and 5 minutes.
    EveryUse,
    /// Never. The policy says so out loud: `mfa = "none"`.
    None,
}

/// What a ticket looks like and whether there must be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TicketRule {
    /// Which the whole ticket must match.
    pub pattern: TicketPattern,
    /// Whether there must be one.
    pub required: bool,
}

impl Role {
    /// What it allows, in a few words for an approver: "runs anything as postgres", "runs 3 commands as root".
    #[must_use]
    pub fn allows_summary(&self) -> String {
        match &self.reach {
            Reach::Hosts { sudo, ssh, .. } => {
                let mut parts = sudo.as_ref().map(sudo_summary).unwrap_or_default();
                parts.extend(ssh.as_deref().map(ssh_summary));
                parts.join(" and ")
            }
            Reach::Daemon { admin } => {
                let parts: Vec<&str> = admin.iter().map(|part| part.word()).collect();
                format!("administers Elevate: {}", parts.join(", "))
            }
        }
    }

    /// What sudo allows, where it does.
    #[must_use]
    pub fn sudo(&self) -> Option<&SudoPart> {
        match &self.reach {
            Reach::Hosts { sudo, .. } => sudo.as_ref(),
            Reach::Daemon { .. } => None,
        }
    }

    /// What certificates open, where they do.
    #[must_use]
    pub fn ssh(&self) -> Option<&SshPart> {
        match &self.reach {
            Reach::Hosts { ssh, .. } => ssh.as_deref(),
            Reach::Daemon { .. } => None,
        }
    }

    /// Whether it gives this part of the administration.
    #[must_use]
    pub fn administers(&self, part: AdminPart) -> bool {
        match &self.reach {
            Reach::Hosts { .. } => false,
            Reach::Daemon { admin } => admin.iter().any(|one| *one == part),
        }
    }

    /// Whether it has hosts at all.
    #[must_use]
    pub fn is_for_hosts(&self) -> bool {
        matches!(self.reach, Reach::Hosts { .. })
    }

    /// Whether a host is in its scope.
    ///
    /// # Errors
    /// As [`HostScope::covers`].
    pub fn covers(&self, host: &HostFacts) -> Result<(), (String, String)> {
        match &self.reach {
            Reach::Hosts { hosts, .. } => hosts.covers(host),
            Reach::Daemon { .. } => {
                Err(("no host: it administers Elevate".to_owned(), host.name.to_string()))
            }
        }
    }

    /// The commands and files that open far more than they say (threat A08), with what does.
    #[must_use]
    pub fn escapes(&self) -> Vec<(String, Escape)> {
        match self.sudo().map(SudoPart::allowed) {
            None | Some(Allowed::Everything) => Vec::new(),
            Some(Allowed::Only { run, edit }) => {
                let run = run.iter().filter_map(|c| lint::escape(c).map(|why| (c.to_string(), why)));
                let edit =
                    edit.iter().filter_map(|p| lint::edit_escape(p).map(|why| (p.as_str().to_owned(), why)));
                run.chain(edit).collect()
            }
        }
    }
}

fn sudo_summary(sudo: &SudoPart) -> Vec<String> {
    let run_as = sudo.run_as();
    let (run, edit) = match sudo.allowed() {
        Allowed::Everything => return vec![format!("runs anything as {run_as}")],
        Allowed::Only { run, edit } => (run, edit),
    };
    let run_escapes = run.iter().filter(|command| lint::escape(command).is_some()).count();
    let edit_escapes = edit.iter().filter(|path| lint::edit_escape(path).is_some()).count();
    let mut parts = Vec::new();
    if !run.is_empty() {
        parts.push(part("runs", run.len(), "command", (run_as, run_escapes)));
    }
    if !edit.is_empty() {
        parts.push(part("edits", edit.len(), "file", (run_as, edit_escapes)));
    }
    parts
}

fn ssh_summary(ssh: &SshPart) -> String {
    let logins: Vec<&str> = ssh.logins().iter().map(Name::as_str).collect();
    let logins = logins.join(" or ");
    let forward: Vec<&str> = ssh.options().forward.iter().map(|one| one.word()).collect();
    let mut said = match ssh.options().command {
        Some(_) => format!("runs 1 command as {logins} by SSH"),
        None => format!("logs in as {logins}"),
    };
    if !forward.is_empty() {
        said.push_str(&format!(" with {} forwarding", forward.join(" and ")));
    }
    if ssh.options().agentless {
        said.push_str(", on every machine without agent too");
    }
    if lint::is_root_login(ssh) {
        said.push_str(", which equals a shell as root");
    }
    said
}

fn part(verb: &str, count: usize, thing: &str, (run_as, escapes): (&Name, usize)) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let base = format!("{verb} {count} {thing}{plural} as {run_as}");
    match (count, escapes) {
        (_, 0) => base,
        (1, _) => format!("{base} that equals a shell"),
        (_, 1) => format!("{base}, 1 of which equals a shell"),
        (_, many) => format!("{base}, {many} of which equal a shell"),
    }
}
