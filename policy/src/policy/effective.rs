//! `policy show --effective`: the policy as one TOML text in which nothing is left to a default.
//!
//! In: a [`Policy`]. Out: TOML that parses back to an equal policy. Spec: docs/policy.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use elevate_protocol::name::Name;
use elevate_protocol::ssh::SshPart;
use elevate_protocol::sudo::{Allowed, Command, SudoPart};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use super::approval::ApprovalRule;
use super::person::Person;
use super::role::{Eligibility, Factor, Reach, ReasonRule, Role, TicketRule};
use super::scope::{Glob, HostScope};
use super::{Member, Policy, moment_text};

pub(super) fn show(policy: &Policy) -> String {
    let defaults = policy.defaults();
    let mut out = String::from("[defaults]\n");
    line(&mut out, "duration", &span(defaults.duration));
    line(&mut out, "max", &span(defaults.max));
    line(&mut out, "reason", reason(defaults.reason));
    line(&mut out, "warn", &list(defaults.warn.iter().map(|s| span(*s))));
    line(&mut out, "pending", &span(defaults.pending));
    if let Some(lease) = defaults.lease {
        line(&mut out, "offline", &offline(lease));
    }
    out.push_str("\n[people]\n");
    for person in policy.people() {
        line(&mut out, &key(&person.name), &person_text(person));
    }
    out.push_str("\n[groups]\n");
    for (name, members) in &policy.groups {
        line(&mut out, &key(name), &list(members.iter().map(member)));
    }
    for role in policy.roles() {
        show_role(&mut out, role);
    }
    out
}

fn show_role(out: &mut String, role: &Role) {
    line(out, &format!("\n[roles.{}]\ntitle", key(&role.name)), &title(role.title.as_ref()));
    line(out, "who", &list(role.who.iter().map(eligibility)));
    match &role.reach {
        Reach::Hosts { hosts: scope, sudo: commands, ssh: logins } => {
            line(out, "hosts", &hosts(scope));
            if let Some(most) = role.max_hosts {
                line(out, "max_hosts", &most.to_string());
            }
            if let Some(part) = commands {
                line(out, "sudo", &sudo(part));
            }
            if let Some(part) = logins {
                line(out, "ssh", &ssh(part));
            }
        }
        Reach::Daemon { admin } => line(out, "admin", &list(admin.iter().map(|part| text(part.word())))),
    }
    line(out, "duration", &span(role.duration));
    line(out, "max", &span(role.max));
    line(out, "reason", reason(role.reason));
    if let Some(rule) = &role.ticket {
        line(out, "ticket", &ticket(rule));
    }
    line(out, "mfa", factor(role.factor));
    line(out, "approve", &list(role.approve.iter().map(approval)));
    line(out, "warn", &list(role.warn.iter().map(|s| span(*s))));
    line(out, "pending", &span(role.pending));
    if role.is_for_hosts() {
        line(out, "offline", &offline(role.lease));
    }
}

/// Written by the TOML library, so that every character is escaped as TOML wants it.
fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String does not fail.
    writeln!(out, "{name} = {value}").unwrap_or_default();
}

/// A dot in a bare key would be a table.
fn key(name: &Name) -> String {
    if name.as_str().contains('.') { text(name.as_str()) } else { name.to_string() }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table(pairs: &[(&str, Option<String>)]) -> String {
    let written: Vec<String> =
        pairs.iter().filter_map(|(name, value)| value.as_ref().map(|v| format!("{name} = {v}"))).collect();
    format!("{{ {} }}", written.join(", "))
}

fn span(span: Span) -> String {
    text(&span.to_string())
}

fn offline(lease: Option<Span>) -> String {
    text(&lease.map_or_else(|| "to-end".to_owned(), |lease| format!("lease {lease}")))
}

fn moment(at: Option<Timestamp>) -> Option<String> {
    at.map(moment_text)
}

fn member(member: &Member) -> String {
    text(&member.to_string())
}

fn title(title: Option<&UntrustedText>) -> String {
    text(title.map_or("", UntrustedText::raw))
}

fn reason(rule: ReasonRule) -> &'static str {
    match rule {
        ReasonRule::Required => "\"required\"",
        ReasonRule::Optional => "\"optional\"",
    }
}

fn factor(factor: Factor) -> &'static str {
    match factor {
        Factor::Activation => "\"activation\"",
        Factor::EveryUse => "\"every-use\"",
        Factor::None => "\"none\"",
    }
}

fn ticket(rule: &TicketRule) -> String {
    table(&[("pattern", Some(text(rule.pattern.as_str()))), ("required", Some(rule.required.to_string()))])
}

fn person_text(person: &Person) -> String {
    let keys = person.keys.iter().map(|key| text(&key.public.to_openssh().unwrap_or_default()));
    table(&[
        ("login", Some(text(person.login.as_str()))),
        ("keys", Some(list(keys))),
        ("until", moment(person.until)),
        ("manager", person.manager.as_ref().map(|n| text(n.as_str()))),
        ("sponsor", person.sponsor.as_ref().map(|n| text(n.as_str()))),
    ])
}

fn eligibility(entry: &Eligibility) -> String {
    if entry.from.is_none() && entry.until.is_none() {
        return member(&entry.who);
    }
    let (kind, name) = match &entry.who {
        Member::Person(name) => ("person", name),
        Member::Group(name) => ("group", name),
    };
    table(&[(kind, Some(text(name.as_str()))), ("from", moment(entry.from)), ("until", moment(entry.until))])
}

fn hosts(scope: &HostScope) -> String {
    let values = |set: &BTreeSet<Name>| list(set.iter().map(|v| text(v.as_str())));
    let mut pairs: Vec<String> =
        scope.labels.iter().map(|(label, set)| format!("{} = {}", key(label), values(set))).collect();
    if !scope.names.is_empty() {
        pairs.push(format!("names = {}", list(scope.names.iter().map(Glob::as_str).map(text))));
    }
    format!("{{ {} }}", pairs.join(", "))
}

fn sudo(part: &SudoPart) -> String {
    let argv = |command: &Command| list(Vec::from(command.clone()).iter().map(|arg| text(arg)));
    let (run, edit, shell) = match part.allowed() {
        Allowed::Everything => (None, None, Some("true".to_owned())),
        Allowed::Only { run, edit } => (
            (!run.is_empty()).then(|| list(run.iter().map(argv))),
            (!edit.is_empty()).then(|| list(edit.iter().map(|path| text(path.as_str())))),
            None,
        ),
    };
    table(&[("as", Some(text(part.run_as().as_str()))), ("run", run), ("edit", edit), ("shell", shell)])
}

fn ssh(part: &SshPart) -> String {
    let options = part.options();
    let sources = || list(options.source.iter().map(|one| text(&one.to_string())));
    table(&[
        ("logins", Some(list(part.logins().iter().map(|login| text(login.as_str()))))),
        ("forward", Some(list(options.forward.iter().map(|one| text(one.word()))))),
        ("pty", Some(options.pty.to_string())),
        ("source", (!options.source.is_empty()).then(sources)),
        ("command", options.command.as_deref().map(text)),
        ("agentless", options.agentless.then(|| options.agentless.to_string())),
    ])
}

fn approval(rule: &ApprovalRule) -> String {
    table(&[
        ("need", Some(rule.need.to_string())),
        ("of", Some(list(rule.of.iter().map(member)))),
        ("within", Some(span(rule.within))),
    ])
}
