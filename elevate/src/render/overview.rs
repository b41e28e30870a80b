//! Lists and other answers for people: the overview, roles, requests, factors, explanations.
//!
//! In: views. Out: lines and tables.

use elevate_protocol::message::view::{
    AccountView, ActivationView, EligibilityView, ExplanationView, FactorView, NeedView, OverviewView, State,
};

use super::activation::{for_review, hosts, one_line, short_id, state_tone};
use super::table::Table;
use super::{At, when};
use crate::paint::{Line, Tone};

/// Everything about me, for people.
#[must_use]
pub fn overview(view: &OverviewView, at: &At) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut part = |title: &str, found: Vec<Line>| {
        if !found.is_empty() {
            lines.push(Line::of(Tone::Strong, title));
            lines.extend(found.into_iter().map(|line| Line::plain("  ").with(line)));
        }
    };
    part("Active", view.active.iter().map(|one| one_line(one, at)).collect());
    part("Waiting", view.waiting.iter().map(|one| one_line(one, at)).collect());
    part("For your word", view.to_review.iter().map(|one| for_review(one, at)).collect());
    part("You may activate", eligible(&view.eligible, at).columns());
    if lines.is_empty() {
        lines.push(Line::plain(&format!("{} has nothing active and may activate nothing.", view.person)));
    }
    lines
}

/// Roles that may be activated.
#[must_use]
pub fn eligible(views: &[EligibilityView], at: &At) -> Table {
    let mut table = Table::new(&["ROLE", "HOSTS", "FOR", "NEEDS", "ALLOWS", "TITLE"]);
    for view in views {
        let names: Vec<String> = view.hosts.iter().take(4).map(ToString::to_string).collect();
        let more = if view.hosts.len() > 4 {
            format!(" +{}", view.hosts.len().saturating_sub(4))
        } else {
            String::new()
        };
        let length = format!("{} (max {})", when::short(view.duration), when::short(view.max));
        let until = view.until.map(|end| format!(" [until {}]", when::clock(end, at))).unwrap_or_default();
        let title = view.title.as_ref().map(|title| title.escaped()).unwrap_or_default();
        table.row(vec![
            (Tone::Strong, view.role.to_string()),
            (Tone::Plain, format!("{}{more}", names.join(","))),
            (Tone::Plain, length),
            (Tone::Plain, needs(view)),
            (Tone::Plain, view.allows.clone()),
            (Tone::Faint, format!("{title}{until}")),
        ]);
    }
    table
}

fn needs(view: &EligibilityView) -> String {
    let mut needs = Vec::new();
    if view.reason {
        needs.push("reason".to_owned());
    }
    if view.ticket.is_some() {
        needs.push("ticket".to_owned());
    }
    if view.factor {
        needs.push("code".to_owned());
    }
    let approvals = |need: &NeedView| {
        let names: Vec<String> = need.of.iter().map(ToString::to_string).collect();
        format!("{} of {}", need.need, names.join("/"))
    };
    needs.extend(view.needs.iter().map(approvals));
    if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") }
}

/// Activations as a table.
#[must_use]
pub fn activations(views: &[ActivationView], at: &At) -> Table {
    let mut table = Table::new(&["ID", "STATE", "PERSON", "ROLE", "HOSTS", "WHEN", "REASON"]);
    for view in views {
        table.row(vec![
            (Tone::Strong, short_id(view)),
            (state_tone(&view.state), view.state.word().to_owned()),
            (Tone::Plain, view.person.to_string()),
            (Tone::Plain, view.role.to_string()),
            (Tone::Plain, hosts(view)),
            (Tone::Plain, moment(view, at)),
            (
                Tone::Plain,
                view.reason.as_ref().or(view.ticket.as_ref()).map(|text| text.escaped()).unwrap_or_default(),
            ),
        ]);
    }
    table
}

fn moment(view: &ActivationView, at: &At) -> String {
    match &view.state {
        State::Active => {
            view.ends_at.map(|end| format!("until {}", when::until(end, at))).unwrap_or_default()
        }
        State::Pending | State::Approved => format!("lapses {}", when::until(view.lapses_at, at)),
        State::Ended { at: ended, .. } => format!("ended {}", when::clock(*ended, at)),
        State::Denied { .. } | State::Withdrawn | State::Lapsed | State::Refused { .. } => {
            format!("asked {}", when::clock(view.asked_at, at))
        }
    }
}

/// Factors.
#[must_use]
pub fn factors(views: &[FactorView], at: &At) -> Table {
    let mut table = Table::new(&["KIND", "SINCE", "USED", "RECOVERY", "LOCKED"]);
    for view in views {
        let time = |time: Option<_>| time.map(|time| when::clock(time, at)).unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            (Tone::Strong, view.kind.clone()),
            (Tone::Plain, when::clock(view.since, at)),
            (Tone::Plain, time(view.used_at)),
            (Tone::Plain, view.recovery.map_or_else(|| "-".to_owned(), |left| format!("{left} codes"))),
            (
                Tone::Bad,
                view.locked_until
                    .map(|end| format!("until {}", when::until(end, at)))
                    .unwrap_or_else(|| "-".to_owned()),
            ),
        ]);
    }
    table
}

/// Who I am.
#[must_use]
pub fn account(view: &AccountView) -> Vec<Line> {
    let groups: Vec<String> = view.groups.iter().map(ToString::to_string).collect();
    let factors: Vec<String> = view.factors.iter().map(|factor| factor.kind.clone()).collect();
    let or_none = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    vec![
        Line::of(Tone::Strong, &view.person.to_string())
            .then(&format!(", through {}", view.through.escaped())),
        Line::of(Tone::Faint, "  groups   ").then(&or_none(groups)),
        Line::of(Tone::Faint, "  factors  ").then(&or_none(factors)),
    ]
}

/// Why something is allowed or not.
#[must_use]
pub fn explanation(view: &ExplanationView) -> Vec<Line> {
    let head = if view.yes { Line::of(Tone::Good, "yes") } else { Line::of(Tone::Bad, "no") };
    let mut lines = vec![head];
    for reason in &view.reasons {
        let sign = if reason.yes { Line::of(Tone::Good, "  + ") } else { Line::of(Tone::Bad, "  - ") };
        let role = reason.role.as_ref().map(|role| format!("{role}: ")).unwrap_or_default();
        lines.push(sign.then(&format!("{role}{}", reason.text)));
    }
    lines
}
