//! A backup that was laid back, as root on the daemon's machine sees it: what is known, and what to do, in order.
//!
//! In: [`RestoreView`]. Out: lines, JSON. Spec: docs/faults.md "A backup is laid back".

use elevate_protocol::message::admin::RestoreView;
use serde_json::{Value, json};

use super::At;
use super::json::schema;
use super::when::{self, rfc3339};
use crate::paint::{Line, Tone};

fn unknown(view: &RestoreView) -> String {
    match (view.from, view.seen) {
        (Some(from), Some(seen)) if from < seen => {
            format!("events {from} to {}, and what came of them", seen.saturating_sub(1))
        }
        (Some(from), _) => format!("every event from {from} on, of the time before this start"),
        (None, _) => "which events; some of the time before this start".to_owned(),
    }
}

/// What is known, and what to do.
#[must_use]
pub fn lines(view: Option<&RestoreView>, at: &At) -> Vec<Line> {
    let Some(view) = view else { return vec![Line::plain("No backup waits for a word.")] };
    let unknown = unknown(view);
    let mut lines = vec![
        Line::of(Tone::Bad, "Nothing is issued: ")
            .then("the daemon's database is older than what was seen; a backup was laid back"),
        Line::plain(&format!("Since:        {}", when::clock(view.since, at))),
        Line::plain(&format!("Known by:     {}", view.why.escaped())),
        Line::plain(&format!("Not known:    {unknown}")),
        Line::plain("What to do, in this order:"),
    ];
    for (number, text) in (1..).zip([
        "Is there a newer database? Stop elevated, move elevated.db, -wal and -shm away, lay that one back, start it.\n   The newest there was \
         fits the witness, and nothing else is to be done.",
        "Else read a collector's log of that time, and do again what took rights away: locks, factors and keys that were \
         taken from people. That works now: elevatectl lock, person reset, policy reload",
        "Go on with this database: elevatectl restore accept -m TEXT\n   Grants and requests that it knows end, recovery codes and \
         invitations are void, codes up to then are used.",
        "On each host that elevatectl host list shows as waiting, as root: elevate-agent confirm-epoch N",
        "Hosts that enrolled in that time enrol again; people make new recovery codes: elevate mfa recovery",
    ]) {
        for (place, line) in text.split('\n').enumerate() {
            let head = if place == 0 { format!("{number}. ") } else { String::new() };
            lines.push(Line::plain(&format!("{head}{line}")));
        }
    }
    lines
}

/// `elevate.restore/1`.
#[must_use]
pub fn json(view: Option<&RestoreView>) -> Value {
    let one = |view: &RestoreView| {
        json!({
            "since": rfc3339(view.since),
            "from": view.from,
            "seen": view.seen,
            "why": view.why.raw(),
        })
    };
    schema("restore", json!({ "restore": view.map(one) }))
}

/// What going on with an older database did.
#[must_use]
pub fn accepted(ended: u32, refused: u32) -> Vec<Line> {
    vec![
        Line::of(Tone::Good, "Accepted. ")
            .then(&format!("Ended grants: {ended}; refused requests: {refused}")),
        Line::plain(
            "Recovery codes and invitations of before are void; changes that wait need an administrator's word.",
        ),
    ]
}

/// `elevate.restored/1`.
#[must_use]
pub fn accepted_json(ended: u32, refused: u32) -> Value {
    schema("restored", json!({ "ended": ended, "refused": refused }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::time::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn a_restore_says_what_is_not_known_and_what_to_type() {
        let at = At { now: Timestamp(1_795_268_460), zone: TimeZone::UTC };
        let why = "the witness saw 12 events, and the database has 9".parse().unwrap();
        let view = RestoreView { since: Timestamp(1_795_268_460), from: Some(9), seen: Some(12), why };
        let text =
            lines(Some(&view), &at).iter().map(|line| line.render(false)).collect::<Vec<_>>().join("\n");
        for part in ["13:41 UTC", "saw 12 events", "events 9 to 11,", "elevatectl restore accept -m TEXT"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(json(Some(&view))["restore"]["from"], 9);
        assert_eq!(json(None)["restore"], Value::Null);
    }
}
