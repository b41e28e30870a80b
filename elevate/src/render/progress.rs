//! What is said while a request waits: one line per change, nothing twice.
//!
//! In: an activation as it is and as it was. Out: lines for stderr.

use elevate_protocol::message::view::{ActivationView, ApprovedView, State};

use super::activation::{hosts, short_id, still_needs};
use super::{At, when};
use crate::paint::{Line, Tone};

/// What changed.
#[must_use]
pub fn changes(view: &ActivationView, before: Option<&ActivationView>, at: &At) -> Vec<Line> {
    let mut lines = Vec::new();
    if before.is_none() && view.state == State::Pending {
        lines.push(asked(view));
    }
    let known: Vec<&ApprovedView> = before.iter().flat_map(|view| approvals(view)).collect();
    for one in approvals(view).filter(|one| !known.contains(one)) {
        let said = one.reason.as_ref().map(|text| format!("  \"{}\"", text.escaped())).unwrap_or_default();
        lines.push(Line::plain("  ").then(&one.person.to_string()).and(Tone::Good, " approved").then(&said));
    }
    let news = before.is_some_and(|before| still_needs(before) != still_needs(view));
    if let (true, State::Pending, Some(needs)) = (news, &view.state, still_needs(view)) {
        lines.push(Line::of(Tone::Warn, "  Waiting").then(&format!(" for {needs}.")));
    }
    let started = |view: &ActivationView| view.state == State::Approved;
    if started(view) && !before.is_some_and(started) {
        let until = when::clock(view.lapses_at, at);
        lines.push(
            Line::of(Tone::Good, "  Approved").then(&format!(": start it with a fresh code until {until}.")),
        );
    }
    lines
}

fn approvals(view: &ActivationView) -> impl Iterator<Item = &ApprovedView> {
    view.needs.iter().flat_map(|need| &need.approved)
}

fn asked(view: &ActivationView) -> Line {
    let id = short_id(view);
    let needs = still_needs(view).map(|needs| format!(" Needs {needs}.")).unwrap_or_default();
    Line::of(Tone::Strong, &id)
        .then(&format!(" asks for {} on {}, {}.{needs} ", view.role, hosts(view), when::short(view.duration)))
        .and(Tone::Faint, &format!("Ctrl-C keeps it; resume: elevate {id}"))
}

/// What is said when this side stops waiting.
#[must_use]
pub fn left(view: &ActivationView, at: &At) -> Line {
    let id = short_id(view);
    Line::of(Tone::Strong, &id)
        .then(&format!(" stays pending until {}. ", when::clock(view.lapses_at, at)))
        .and(Tone::Faint, &format!("Resume: elevate {id}   Take back: elevate cancel {id}"))
}

/// What is said once a grant holds.
#[must_use]
pub fn how_to_use(view: &ActivationView) -> Line {
    let sudo = match view.run_as.as_ref().map(|name| name.as_str()) {
        // A grant without hosts is one of administration.
        None if view.hosts.is_empty() => Some("elevatectl".to_owned()),
        None if !view.logins.is_empty() => None,
        None | Some("root") => Some("sudo CMD".to_owned()),
        Some(name) => Some(format!("sudo -u {name} CMD")),
    };
    let ssh = view.logins.first().zip(view.hosts.first());
    let ssh = ssh.map(|(login, host)| format!("elevate ssh {login}@{}", host.name));
    let ways = sudo.into_iter().chain(ssh).collect::<Vec<_>>().join("   ");
    let id = short_id(view);
    Line::of(
        Tone::Faint,
        &format!("Use: {ways}   Done early: elevate drop {id}   More time: elevate extend {id} 30m"),
    )
}
