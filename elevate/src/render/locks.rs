//! Locks as administrators see them: what one ended, what it could not reach and until when, what it did not touch.
//!
//! In: views of locks. Out: lines, a table, JSON.

use elevate_protocol::message::lock::{
    LockView, LockWhat, LockedView, Touched, TouchedView, UnconfirmedView,
};
use elevate_protocol::message::view::HostState;
use elevate_protocol::text::escape;
use serde_json::{Value, json};

use super::At;
use super::json::{schema, time};
use super::table::Table;
use super::when::{self, rfc3339};
use crate::paint::{Line, Tone};

/// `alice`, `the role web-ops`, `the host web1`, `everything`.
#[must_use]
pub fn words(what: &LockWhat) -> String {
    match what {
        LockWhat::Person(name) => name.to_string(),
        LockWhat::Role(name) => format!("the role {name}"),
        LockWhat::Host(name) => format!("the host {name}"),
        LockWhat::Everything => "everything".to_owned(),
    }
}

fn columns(what: &LockWhat) -> (&'static str, String) {
    match what {
        LockWhat::Person(name) => ("person", name.to_string()),
        LockWhat::Role(name) => ("role", name.to_string()),
        LockWhat::Host(name) => ("host", name.to_string()),
        LockWhat::Everything => ("everything", "-".to_owned()),
    }
}

fn option(what: &LockWhat) -> String {
    match what {
        LockWhat::Person(name) => format!("--person {name}"),
        LockWhat::Role(name) => format!("--role {name}"),
        LockWhat::Host(name) => format!("--host {name}"),
        LockWhat::Everything => "--all".to_owned(),
    }
}

/// What a lock did.
#[must_use]
pub fn locked(view: &LockedView, at: &At) -> Vec<Line> {
    let lock = &view.lock;
    let until = lock
        .until
        .map_or_else(|| "until it is unlocked".to_owned(), |end| format!("until {}", when::until(end, at)));
    let mut lines = vec![Line::of(Tone::Strong, &words(&lock.what)).then(&format!(" is locked {until}"))];
    let lists = [
        ("Ended", 'G', &view.ended),
        ("Refused", 'R', &view.refused),
        ("Cannot start while it holds", 'R', &view.withheld),
        ("Not ended, though approved by whom is locked", 'G', &view.approved),
    ];
    for (head, mark, touched) in lists {
        if touched.count > 0 {
            lines.push(Line::plain(&format!("{head}: {}", named(touched, mark))));
        }
    }
    if view.ended.count > 0 && view.unconfirmed_count == 0 {
        lines.push(Line::of(Tone::Good, "Confirmed by every host."));
    }
    lines.extend(view.unconfirmed.iter().map(|one| unconfirmed(one, at)));
    lines.extend(more(view.unconfirmed.len(), view.unconfirmed_count, "hosts have not confirmed"));
    lines
}

fn named(touched: &Touched, mark: char) -> String {
    let one =
        |view: &TouchedView| format!("{mark}-{} ({} for {})", escape(&view.short), view.role, view.person);
    let mut list: Vec<String> = touched.first.iter().map(one).collect();
    let left = usize::try_from(touched.count).unwrap_or(usize::MAX).saturating_sub(list.len());
    if left > 0 {
        list.push(format!("and {left} more"));
    }
    list.join(", ")
}

fn unconfirmed(view: &UnconfirmedView, at: &At) -> Line {
    let state = match &view.state {
        HostState::Offline { since: Some(since) } => format!("offline, last seen {}", when::ago(*since, at)),
        HostState::Offline { since: None } => "offline".to_owned(),
        HostState::Unsigned => "not told: the daemon's key is away".to_owned(),
        HostState::None
        | HostState::Sent
        | HostState::Confirmed
        | HostState::Refused { .. }
        | HostState::Ended { .. } => "does not answer".to_owned(),
    };
    let until =
        view.until.map_or_else(String::new, |end| format!(", at most until {}", when::until(end, at)));
    Line::of(Tone::Bad, "Not confirmed: ")
        .then(&format!(
            "{} ({state}): G-{} of {} may work there",
            view.host,
            escape(&view.short),
            view.person
        ))
        .then(&until)
}

fn more(shown: usize, count: u32, what: &str) -> Option<Line> {
    let left = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(shown);
    (left > 0).then(|| Line::of(Tone::Bad, &format!("Not confirmed: {left} more {what}")))
}

/// What a lock does not do, and how to lift it.
#[must_use]
pub fn notes(view: &LockedView) -> Vec<Line> {
    let mut lines = vec![Line::of(
        Tone::Faint,
        "Not touched: what already runs under a right that ended, shells too; ordinary sudo rules; SSH keys on hosts.",
    )];
    if view.approved.count > 0 {
        lines.push(Line::of(Tone::Faint, "To end what was approved: elevatectl revoke G-…"));
    }
    let option = option(&view.lock.what);
    lines.push(Line::of(Tone::Faint, &format!("To lift it: elevatectl unlock {option} -m TEXT")));
    lines
}

/// Locks in force.
#[must_use]
pub fn list(views: &[LockView], at: &At) -> Table {
    let mut table = Table::new(&["LOCKED", "NAME", "SINCE", "UNTIL", "BY", "WHY"]);
    for view in views {
        let (kind, name) = columns(&view.what);
        let until = view.until.map_or_else(|| "unlocked".to_owned(), |end| when::until(end, at));
        table.row(vec![
            (Tone::Plain, kind.to_owned()),
            (Tone::Strong, name),
            (Tone::Plain, when::ago(view.since, at)),
            (Tone::Plain, until),
            (Tone::Plain, view.by.escaped()),
            (Tone::Faint, view.reason.escaped()),
        ]);
    }
    table
}

fn lock_json(view: &LockView) -> Value {
    let (kind, name) = columns(&view.what);
    json!({
        "locked": kind,
        "name": if view.what == LockWhat::Everything { None } else { Some(name) },
        "since": rfc3339(view.since),
        "until": time(view.until),
        "by": view.by.raw(),
        "reason": view.reason.raw(),
    })
}

/// `elevate.locks/1`.
#[must_use]
pub fn list_json(views: &[LockView]) -> Value {
    schema("locks", json!({ "locks": views.iter().map(lock_json).collect::<Vec<_>>() }))
}

/// `elevate.lock/1`.
#[must_use]
pub fn locked_json(view: &LockedView) -> Value {
    let touched = |touched: &Touched| {
        let one = |view: &TouchedView| json!({ "id": view.id, "short": view.short, "person": view.person, "role": view.role });
        json!({ "count": touched.count, "first": touched.first.iter().map(one).collect::<Vec<_>>() })
    };
    let open = |view: &UnconfirmedView| {
        let since = match &view.state {
            HostState::Offline { since } => time(*since),
            HostState::None
            | HostState::Unsigned
            | HostState::Sent
            | HostState::Confirmed
            | HostState::Refused { .. }
            | HostState::Ended { .. } => None,
        };
        json!({
            "short": view.short,
            "person": view.person,
            "host": view.host,
            "state": super::activation::host_word(&view.state),
            "since": since,
            "until": time(view.until),
        })
    };
    schema(
        "lock",
        json!({
            "lock": lock_json(&view.lock),
            "ended": touched(&view.ended),
            "refused": touched(&view.refused),
            "withheld": touched(&view.withheld),
            "approved": touched(&view.approved),
            "unconfirmed_count": view.unconfirmed_count,
            "unconfirmed": view.unconfirmed.iter().map(open).collect::<Vec<_>>(),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::time::Timestamp;
    use jiff::tz::TimeZone;

    fn view() -> LockedView {
        let lock = LockView {
            what: LockWhat::Person("alice".parse().unwrap()),
            since: Timestamp(1_795_268_460),
            until: Some(Timestamp(1_795_268_460 + 36_000)),
            by: "carol".parse().unwrap(),
            reason: "laptop stolen".parse().unwrap(),
        };
        let one = TouchedView {
            id: elevate_protocol::id::ActivationId::from_random([7; 16]),
            short: "7K2M".into(),
            person: "alice".parse().unwrap(),
            role: "web-ops".parse().unwrap(),
        };
        let open = UnconfirmedView {
            short: "7K2M".into(),
            person: "alice".parse().unwrap(),
            host: "web2".parse().unwrap(),
            state: HostState::Offline { since: Some(Timestamp(1_795_268_460 - 600)) },
            until: Some(Timestamp(1_795_268_460 + 3_540)),
        };
        LockedView {
            lock,
            ended: Touched { count: 3, first: vec![one] },
            refused: Touched::default(),
            withheld: Touched::default(),
            approved: Touched::default(),
            unconfirmed: vec![open],
            unconfirmed_count: 1,
        }
    }

    #[test]
    fn a_lock_says_what_it_ended_and_where_nobody_confirmed_and_until_when() {
        let at = At { now: Timestamp(1_795_268_460), zone: TimeZone::UTC };
        let lines: Vec<String> = locked(&view(), &at).iter().map(|line| line.render(false)).collect();
        assert_eq!(
            lines,
            [
                "alice is locked until 23:41 UTC (10h)",
                "Ended: G-7K2M (web-ops for alice), and 2 more",
                "Not confirmed: web2 (offline, last seen 13:31 UTC (10m ago)): G-7K2M of alice may work there, \
                 at most until 14:40 UTC (59m)",
            ]
        );
        let value = locked_json(&view());
        assert_eq!(value["schema"], "elevate.lock/1");
        assert_eq!((&value["ended"]["count"], &value["unconfirmed"][0]["host"]), (&json!(3), &json!("web2")));
        assert_eq!(value["lock"]["until"], "2026-11-21T23:41:00Z");
    }
}
