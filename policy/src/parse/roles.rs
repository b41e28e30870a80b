//! `[roles.NAME]`: every condition of an activation, defaults filled in.
//!
//! In: TOML entries, the defaults, who may be named. Out: [`Role`]s. Spec: docs/policy.md "[roles]".

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::approve;
use super::defaults::{capped, reason, warn};
use super::hosts::hosts;
use super::members::Known;
use super::offline::{built_in, offline};
use super::reader::{Entry, Item, Place, Report, Table, name};
use super::ssh::ssh;
use super::sudo::sudo;
use crate::policy::nonempty::NonEmpty;
use crate::policy::role::{AdminPart, Eligibility, Factor, Reach, Role, TicketRule};
use crate::policy::ticket::{PatternError, TicketPattern};
use crate::policy::{Defaults, Edge, HARD_CAP, Member};
use crate::reserved::is_reserved;

const KEYS: [&str; 16] = [
    "title",
    "who",
    "hosts",
    "max_hosts",
    "sudo",
    "ssh",
    "admin",
    "duration",
    "max",
    "reason",
    "ticket",
    "mfa",
    "approve",
    "warn",
    "pending",
    "offline",
];
const FORM: &str = "write [roles.web-ops] and its keys below it";
const ADMIN: &str =
    "write admin = [\"people\", \"hosts\", \"locks\", \"policy\", \"audit\"], or some of them";
const EITHER: &str =
    "write sudo = { as = \"root\", run = [[…]] }, or ssh = { logins = [\"postgres\"] }, or both";
const WHO: &str = "write who = [\"@web-admins\"], or { group = \"dbas\", until = 2027-03-31 }";

/// Reads `[roles]`.
pub(super) fn roles(
    report: &mut Report<'_>,
    section: &[Entry<'_>],
    defaults: &Defaults,
    known: &Known,
) -> BTreeMap<Name, Role> {
    let mut roles = BTreeMap::new();
    for entry in section {
        let id = name(report, entry.key, entry.key_place);
        if is_reserved(entry.key) {
            let message =
                format!("{} is a reserved word: elevate {} is or may become a command", entry.key, entry.key);
            report.error(entry.key_place, message, format!("name it {0}-role, or what it is for", entry.key));
        }
        // The header is where people look for what is missing in the table.
        let table = entry.value.table(report, &KEYS, FORM).map(|table| table.at(entry.key_place));
        if let (Some(id), Some(table)) = (id, table) {
            roles.extend(role(report, id.clone(), &table, defaults, known).map(|role| (id, role)));
        }
    }
    roles
}

fn role(
    report: &mut Report<'_>,
    name: Name,
    table: &Table<'_>,
    defaults: &Defaults,
    known: &Known,
) -> Option<Role> {
    let title = table.get("title").and_then(|item| title(report, item));
    let who = table.need(report, "who", WHO).and_then(|item| who(report, item, known));
    let reach = reach(report, table);
    let max_hosts = table.get("max_hosts").map(|item| most_hosts(report, item));
    let (duration, max) = times(report, table, defaults);
    let reason = table.get("reason").map_or(Some(defaults.reason), |item| reason(report, item));
    let ticket = table.get("ticket").map(|item| ticket(report, item));
    let factor = table.get("mfa").map_or(Some(Factor::Activation), |item| factor(report, item));
    let approve = table.get("approve").map_or(Some(Vec::new()), |item| approve::approve(report, item, known));
    let warn = table.get("warn").map_or(Some(defaults.warn.clone()), |item| warn(report, item, max));
    let pending =
        table.get("pending").map_or(Some(defaults.pending), |item| capped(report, item, approve::WAIT_MAX));
    let lease = table.get("offline").map(|item| offline(report, item));
    let reach = reach?;
    let lease = match (&reach, lease) {
        // The daemon is never cut off from itself.
        (Reach::Daemon { .. }, _) => None,
        (Reach::Hosts { .. }, Some(written)) => written?,
        (Reach::Hosts { sudo, ssh, .. }, None) => {
            defaults.lease.unwrap_or_else(|| built_in(sudo.as_ref(), ssh.as_deref()))
        }
    };
    Some(Role {
        name,
        title,
        who: who?,
        reach,
        max_hosts: max_hosts.map_or(Some(None), |most| most.map(Some))?,
        duration,
        max,
        reason: reason?,
        ticket: ticket.map_or(Some(None), |rule| rule.map(Some))?,
        factor: factor?,
        approve: approve?,
        warn: warn?,
        pending: pending?,
        lease,
    })
}

fn most_hosts(report: &mut Report<'_>, item: Item<'_>) -> Option<NonZeroU32> {
    let most = NonZeroU32::new(item.number(report)?);
    if most.is_none() {
        report.error(item.place, "max_hosts is at least 1", "write max_hosts = 5, or leave it out");
    }
    most
}

/// Commands and logins on hosts, or the administration of Elevate; never both, so that one approval is for one of them.
fn reach(report: &mut Report<'_>, table: &Table<'_>) -> Option<Reach> {
    let Some(item) = table.get("admin") else {
        let scope = table
            .need(report, "hosts", "write hosts = { tier = \"web\" }, or hosts = { names = [\"web1\"] }")
            .and_then(|item| hosts(report, item));
        let ssh = table.get("ssh").map(|item| ssh(report, item).map(Box::new));
        let sudo = match table.get("sudo") {
            Some(item) => Some(sudo(report, item)),
            // One of both there must be.
            None if ssh.is_none() => Some(table.need(report, "sudo", EITHER).and(None)),
            None => None,
        };
        let whole = |part: Option<Option<_>>| part.map_or(Some(None), |read| read.map(Some));
        let ssh = ssh.map_or(Some(None), |read| read.map(Some));
        return Some(Reach::Hosts { hosts: scope?, sudo: whole(sudo)?, ssh: ssh? });
    };
    for other in ["hosts", "max_hosts", "sudo", "ssh", "offline"] {
        if let Some(item) = table.get(other) {
            let message = format!("a role with admin has no {other}: it is for the daemon itself");
            report.error(item.place, message, "write two roles");
        }
    }
    if let Some(item) = table.get("mfa")
        && item.text(report) == Some("none")
    {
        report.error(item.place, "nobody administers without a second factor", "leave mfa out");
    }
    let parts: Vec<Option<AdminPart>> =
        item.filled_list(report, ADMIN)?.into_iter().map(|item| admin_part(report, item)).collect();
    let mut parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
    parts.sort();
    parts.dedup();
    NonEmpty::from_vec(parts).map(|admin| Reach::Daemon { admin })
}

fn admin_part(report: &mut Report<'_>, item: Item<'_>) -> Option<AdminPart> {
    let word = item.text(report)?;
    let found = AdminPart::ALL.into_iter().find(|part| part.word() == word);
    if found.is_none() {
        report.error(item.place, format!("{word:?} is no part of the administration"), ADMIN);
    }
    found
}

/// Duration and maximum. A default duration gives way to a role's shorter maximum; a written one does not.
fn times(report: &mut Report<'_>, table: &Table<'_>, defaults: &Defaults) -> (Span, Span) {
    let max = table.get("max").and_then(|item| capped(report, item, HARD_CAP)).unwrap_or(defaults.max);
    let Some(item) = table.get("duration") else { return (defaults.duration.min(max), max) };
    let Some(duration) = capped(report, item, HARD_CAP) else { return (defaults.duration.min(max), max) };
    if duration > max {
        let whose = if table.get("max").is_some() { "its max" } else { "the default max" };
        let message = format!("the duration {duration} is longer than {whose}, {max}");
        report.error(item.place, message, format!("write duration = \"{max}\", or max = \"{duration}\""));
    }
    (duration, max)
}

fn title(report: &mut Report<'_>, item: Item<'_>) -> Option<UntrustedText> {
    let text = item.text(report)?;
    match text.parse::<UntrustedText>() {
        Ok(title) if title.raw().is_empty() => None,
        Ok(title) => Some(title),
        Err(error) => {
            report.error(item.place, error.to_string(), "write one short line of plain text");
            None
        }
    }
}

fn who(report: &mut Report<'_>, item: Item<'_>, known: &Known) -> Option<NonEmpty<Eligibility>> {
    let items = item.filled_list(report, WHO)?;
    let entries: Vec<Option<Eligibility>> =
        items.into_iter().map(|item| eligibility(report, item, known)).collect();
    NonEmpty::from_vec(entries.into_iter().collect::<Option<Vec<_>>>()?)
}

fn eligibility(report: &mut Report<'_>, item: Item<'_>, known: &Known) -> Option<Eligibility> {
    if !item.is_table() {
        return known.member(report, item).map(|who| Eligibility { who, from: None, until: None });
    }
    let table = item.table(report, &["group", "person", "from", "until"], WHO)?;
    let who = match (table.get("group"), table.get("person")) {
        (Some(group), None) => {
            let text = group.text(report)?;
            known.group(report, text.strip_prefix('@').unwrap_or(text), group.place).map(Member::Group)
        }
        (None, Some(person)) => {
            let text = person.text(report)?;
            known.person(report, text, person.place).map(Member::Person)
        }
        (Some(_), Some(_)) | (None, None) => {
            report.error(item.place, "an entry names one group or one person", WHO);
            None
        }
    };
    let moment = |report: &mut Report<'_>, key, edge| match table.get(key) {
        None => Some(None),
        Some(item) => item.moment(report, edge).map(Some),
    };
    let (from, until) = (moment(report, "from", Edge::Start), moment(report, "until", Edge::End));
    let (who, from, until) = (who?, from?, until?);
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        report.error(item.place, "this ends before it begins", "write an until that is later than from");
        return None;
    }
    Some(Eligibility { who, from, until })
}

fn ticket(report: &mut Report<'_>, item: Item<'_>) -> Option<TicketRule> {
    const TICKET: &str = "write { pattern = \"(INC|CHG)-[0-9]+\" }";
    let table = item.table(report, &["pattern", "required"], TICKET)?;
    let required = table.get("required").map_or(Some(false), |item| item.flag(report));
    let item = table.need(report, "pattern", TICKET)?;
    match TicketPattern::parse(item.text(report)?) {
        Ok(pattern) => Some(TicketRule { pattern, required: required? }),
        Err(error) => {
            let cause = match &error {
                PatternError::Syntax { source } => format!(": {}", last_line(&source.to_string())),
                PatternError::Length { .. } | PatternError::Empty => String::new(),
            };
            let hint =
                "write (INC|CHG)-[0-9]+ or the like; digits are [0-9], and the whole ticket must match";
            report.error(item.place, format!("{error}{cause}"), hint);
            None
        }
    }
}

/// The engine draws a picture above its message.
fn last_line(text: &str) -> String {
    text.lines().next_back().unwrap_or("").trim_start_matches("error: ").to_owned()
}

fn factor(report: &mut Report<'_>, item: Item<'_>) -> Option<Factor> {
    match item.text(report)? {
        "activation" => Some(Factor::Activation),
        "none" => Some(Factor::None),
        "every-use" => Some(Factor::EveryUse),
        other => {
            report.error(
                item.place,
                format!("{other:?} is not known here"),
                "write \"activation\", \"every-use\" or \"none\"",
            );
            None
        }
    }
}

impl<'t> Table<'t> {
    fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }
}
