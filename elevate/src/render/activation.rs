//! One activation: its name, its state, where it holds, all there is to know.
//!
//! In: an [`ActivationView`]. Out: lines in the spirit of docs/cli.md "Texts".

use elevate_protocol::document::EndCause;
use elevate_protocol::message::view::{ActivationHostView, ActivationView, HostState, NeedView, State};
use elevate_protocol::text::escape;

use super::{At, when};
use crate::paint::{Line, Tone};

/// `R-7K2M` while it is asked, `G-7K2M` once there is or was a grant.
#[must_use]
pub fn short_id(view: &ActivationView) -> String {
    format!("{}-{}", mark(view), escape(&view.short))
}

/// The same with all letters: what scripts keep.
#[must_use]
pub fn full_id(view: &ActivationView) -> String {
    format!("{}-{}", mark(view), view.id)
}

fn mark(view: &ActivationView) -> char {
    if view.starts_at.is_some() { 'G' } else { 'R' }
}

/// How the state looks.
#[must_use]
pub fn state_tone(state: &State) -> Tone {
    match state {
        State::Active => Tone::Good,
        State::Pending | State::Approved => Tone::Warn,
        State::Denied { .. } | State::Refused { .. } => Tone::Bad,
        State::Withdrawn | State::Lapsed | State::Ended { .. } => Tone::Faint,
    }
}

/// Why a grant is over, in words.
#[must_use]
pub fn cause_words(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Expired => "its time was over",
        EndCause::Dropped => "given back",
        EndCause::Revoked => "revoked by an administrator",
        EndCause::NotEligible => "no longer eligible",
        EndCause::NotEnforced => "the host did not enforce it",
        EndCause::AccountChanged => "the account on the host changed",
        EndCause::NoContact => "the host had no contact with the daemon (lease)",
        EndCause::Restored => "the daemon was restored from a backup",
    }
}

/// One word for the cause, as in JSON.
#[must_use]
pub fn cause_word(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Expired => "expired",
        EndCause::Dropped => "dropped",
        EndCause::Revoked => "revoked",
        EndCause::NotEligible => "not-eligible",
        EndCause::NotEnforced => "not-enforced",
        EndCause::AccountChanged => "account-changed",
        EndCause::NoContact => "no-contact",
        EndCause::Restored => "restored",
    }
}

/// Most hosts that a line names.
const NAMED_MAX: usize = 6;

/// `db1,db2`, or `12 hosts` when there are many.
#[must_use]
pub fn hosts(view: &ActivationView) -> String {
    match view.hosts.len() {
        // What administers Elevate has no hosts.
        0 => "the daemon".to_owned(),
        1..=NAMED_MAX => view.hosts.iter().map(|host| host.name.to_string()).collect::<Vec<_>>().join(","),
        many => format!("{many} hosts"),
    }
}

/// Hosts of a grant with those that have not confirmed: `active on web1; db1 offline, pending`; with many of them
/// `active on 897 of 900; db1 offline, pending`.
#[must_use]
pub fn where_active(view: &ActivationView) -> String {
    let confirmed = |host: &&ActivationHostView| host.state == HostState::Confirmed;
    let count = view.hosts.iter().filter(confirmed).count();
    if count == view.hosts.len() {
        return format!("active on {}", hosts(view));
    }
    let there: Vec<String> =
        view.hosts.iter().filter(confirmed).take(NAMED_MAX).map(|host| host.name.to_string()).collect();
    let where_it_is = match count {
        0 => "no host yet".to_owned(),
        1..=NAMED_MAX => there.join(","),
        _ => format!("{count} of {}", view.hosts.len()),
    };
    let open = view.hosts.iter().filter(|host| host.state != HostState::Confirmed);
    let open: Vec<String> =
        open.take(NAMED_MAX).map(|host| format!("{} {}", host.name, not_there(&host.state))).collect();
    format!("active on {where_it_is}; {}", open.join("; "))
}

/// What is to be said of a host where a grant is not in force.
fn not_there(state: &HostState) -> &'static str {
    match state {
        HostState::None | HostState::Sent => "pending",
        HostState::Unsigned => "pending, the daemon's key is away",
        HostState::Offline { .. } => "offline, pending",
        HostState::Confirmed => "confirmed",
        HostState::Refused { .. } => "refused",
        HostState::Ended { .. } => "ended",
    }
}

/// One word for what a host says.
#[must_use]
pub fn host_word(state: &HostState) -> &'static str {
    match state {
        HostState::None => "none",
        HostState::Unsigned => "unsigned",
        HostState::Sent => "sent",
        HostState::Offline { .. } => "offline",
        HostState::Confirmed => "confirmed",
        HostState::Refused { .. } => "refused",
        HostState::Ended { .. } => "ended",
    }
}

/// `2 of carol, grace, heidi`: what one rule still needs; none when it is met.
#[must_use]
pub fn missing(need: &NeedView) -> Option<String> {
    let has = u32::try_from(need.approved.len()).unwrap_or(u32::MAX);
    let left = need.need.checked_sub(has).filter(|left| *left > 0)?;
    let open: Vec<String> = need
        .of
        .iter()
        .filter(|name| !need.approved.iter().any(|one| one.person == **name))
        .map(ToString::to_string)
        .collect();
    Some(format!("{left} of {}", open.join(", ")))
}

/// What all rules still need: `2 of carol, grace and 1 of heidi`.
#[must_use]
pub fn still_needs(view: &ActivationView) -> Option<String> {
    let open: Vec<String> = view.needs.iter().filter_map(missing).collect();
    if open.is_empty() { None } else { Some(open.join(" and ")) }
}

/// One line: what it is and how it stands.
#[must_use]
pub fn one_line(view: &ActivationView, at: &At) -> Line {
    let head = Line::of(Tone::Strong, &short_id(view)).then(" ");
    let role = view.role.to_string();
    let tone = state_tone(&view.state);
    match &view.state {
        State::Active => {
            let until = view.ends_at.map(|end| when::until(end, at)).unwrap_or_default();
            let extended = match view.extensions {
                0 => String::new(),
                1 => ", extended".to_owned(),
                times => format!(", extended {times} times"),
            };
            head.and(tone, &where_active(view)).then(&format!(" until {until}{extended}: {role}"))
        }
        State::Pending => {
            let needs = still_needs(view).map(|needs| format!(", needs {needs}")).unwrap_or_default();
            head.and(tone, "pending").then(&format!(
                ": {role} on {}, {}{needs}; lapses {}",
                hosts(view),
                when::short(view.duration),
                when::clock(view.lapses_at, at)
            ))
        }
        State::Approved => head.and(tone, "approved").then(&format!(
            ": {role} on {}, {}; start it until {}: elevate {}",
            hosts(view),
            when::short(view.duration),
            when::clock(view.lapses_at, at),
            short_id(view)
        )),
        State::Denied { by, reason } => {
            head.and(tone, "denied").then(&format!(" by {by}: \"{}\"", reason.escaped()))
        }
        State::Withdrawn => head.and(tone, "taken back").then(&format!(": {role} on {}", hosts(view))),
        State::Lapsed => head.and(tone, "lapsed").then(": nobody decided or started it in time"),
        State::Refused { reason } => head.and(tone, "refused").then(&format!(": {reason}")),
        State::Ended { cause, at: ended } => head.and(tone, "ended").then(&format!(
            " {}: {}; {role} on {}{}",
            when::clock(*ended, at),
            cause_words(*cause),
            hosts(view),
            refusals(view)
        )),
    }
}

/// What hosts refused: `; web1 refuses: …`.
fn refusals(view: &ActivationView) -> String {
    let refused = view.hosts.iter().filter_map(|host| match &host.state {
        HostState::Refused { why } => Some(format!("; {} refuses: {}", host.name, why.escaped())),
        HostState::None
        | HostState::Unsigned
        | HostState::Sent
        | HostState::Offline { .. }
        | HostState::Confirmed
        | HostState::Ended { .. } => None,
    });
    refused.take(3).collect()
}

/// What an approver has to know, before `elevate approve` and `deny`.
#[must_use]
pub fn for_review(view: &ActivationView, at: &At) -> Line {
    let reason = view.reason.as_ref().map(|text| format!(": \"{}\"", text.escaped())).unwrap_or_default();
    let ticket = view.ticket.as_ref().map(|text| format!(" [{}]", text.escaped())).unwrap_or_default();
    let factor = match view.factor_at {
        Some(time) => {
            format!("Code checked {} ago from {}.", when::short(at.now.since(time)), view.from.escaped())
        }
        None => format!("No code was checked; from {}.", view.from.escaped()),
    };
    let id = short_id(view);
    Line::of(Tone::Strong, &id)
        .then(&format!(
            " {} asks {} on {} for {}{reason}{ticket}. {}. {factor} ",
            view.person,
            view.role,
            hosts(view),
            when::short(view.duration),
            capital(&view.allows)
        ))
        .and(Tone::Faint, &format!("elevate approve {id} | elevate deny {id} -m …"))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Everything, one thing per line.
#[must_use]
pub fn full(view: &ActivationView, at: &At) -> Vec<Line> {
    let mut lines = vec![one_line(view, at)];
    let mut tell = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            lines.push(Line::of(Tone::Faint, &format!("  {name:<10}")).then(&text));
        }
    };
    let title = view.title.as_ref().map(|title| format!(" ({})", title.escaped())).unwrap_or_default();
    tell("person", Some(view.person.to_string()));
    tell("role", Some(format!("{}{title}; {}", view.role, view.allows)));
    tell("reason", view.reason.as_ref().map(|text| text.escaped()));
    tell("ticket", view.ticket.as_ref().map(|text| text.escaped()));
    tell(
        "asked",
        Some(format!(
            "{} for {}, from {}",
            when::clock(view.asked_at, at),
            when::short(view.duration),
            view.from.escaped()
        )),
    );
    tell("code", view.factor_at.map(|time| format!("checked {}", when::ago(time, at))));
    for need in &view.needs {
        tell("needs", missing(need));
        for one in &need.approved {
            let said = one.reason.as_ref().map(|text| format!(" \"{}\"", text.escaped())).unwrap_or_default();
            tell("approved", Some(format!("{} {}{said}", one.person, when::clock(one.at, at))));
        }
    }
    tell("started", view.starts_at.map(|time| when::clock(time, at)));
    tell("ends", view.ends_at.map(|time| when::clock(time, at)));
    tell("at most", view.ends_at_most.map(|time| when::clock(time, at)));
    for host in &view.hosts {
        tell("host", Some(format!("{} {}{}", host.name, host_word(&host.state), host_more(&host.state, at))));
    }
    tell("digest", Some(view.digest.to_string()));
    lines
}

fn host_more(state: &HostState, at: &At) -> String {
    match state {
        HostState::None | HostState::Sent | HostState::Confirmed => String::new(),
        HostState::Unsigned => {
            ": the daemon's key is away; the host hears of it when the key is back".to_owned()
        }
        HostState::Offline { since } => {
            since.map(|time| format!(" since {}, pending", when::ago(time, at))).unwrap_or_default()
        }
        HostState::Refused { why } => format!(": {}", why.escaped()),
        HostState::Ended { cause } => format!(": {}", cause_words(*cause)),
    }
}

#[cfg(test)]
#[path = "activation_tests.rs"]
pub(crate) mod tests;
