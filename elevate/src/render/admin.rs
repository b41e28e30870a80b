//! What administrators are shown: people, hosts, the policy, paste strings, events.
//!
//! In: administration's outcomes. Out: lines, tables and JSON.

use elevate_protocol::host_ssh::HostName;
use elevate_protocol::message::admin::SinkView;
use elevate_protocol::message::view::{ChangeView, HostView, PersonView};
use elevate_protocol::secret::Secret;
use elevate_protocol::time::{Span, Timestamp};
use serde_json::{Value, json};

use super::At;
use super::json::{schema, time};
use super::table::Table;
use super::when::{self, rfc3339};
use crate::paint::{Line, Tone, lines_of};

/// People.
#[must_use]
pub fn people(views: &[PersonView], at: &At) -> Table {
    let mut table = Table::new(&["PERSON", "LOGIN", "FACTOR", "UNTIL", "KEYS", "WAITS"]);
    for view in views {
        let factor = match (view.factor, view.invited) {
            (true, _) => (Tone::Good, "enrolled"),
            (false, true) => (Tone::Warn, "invited"),
            (false, false) => (Tone::Bad, "none"),
        };
        table.row(vec![
            (Tone::Strong, view.person.to_string()),
            (Tone::Plain, view.login.clone()),
            (factor.0, factor.1.to_owned()),
            (Tone::Plain, view.until.map(|end| when::clock(end, at)).unwrap_or_else(|| "-".to_owned())),
            (Tone::Faint, view.keys.join(" ")),
            (Tone::Warn, waiting(&view.waiting, at)),
        ]);
    }
    table
}

/// `factor until 14:40 CET (23h)`, and `for a word` where only an administrator's word makes it count.
fn waiting(views: &[ChangeView], at: &At) -> String {
    let one = |view: &ChangeView| match view.counts_at {
        Some(end) => format!("{} until {}", view.what, when::until(end, at)),
        None => format!("{} for a word", view.what),
    };
    if views.is_empty() { "-".to_owned() } else { views.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// Hosts.
#[must_use]
pub fn hosts(views: &[HostView], at: &At) -> Table {
    let mut table = Table::new(&["HOST", "STATE", "SEEN", "BEHIND", "LABELS", "SUDO", "NAMES", "CERTIFIED"]);
    for view in views {
        let state = match (view.connected, view.new_epoch) {
            (true, _) => (Tone::Good, "connected".to_owned()),
            (false, None) => (Tone::Bad, "offline".to_owned()),
            (false, Some(epoch)) => (Tone::Bad, format!("waits: confirm-epoch {epoch}")),
        };
        let state = match &view.replacement {
            None => state,
            Some(waits) => {
                let until = waits.counts_at.map_or_else(|| "a word".to_owned(), |end| when::until(end, at));
                (
                    Tone::Warn,
                    format!("{}; to be replaced by {}, waits for {until}", state.1, waits.by.escaped()),
                )
            }
        };
        let labels: Vec<String> = view.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row(vec![
            (Tone::Strong, view.name.to_string()),
            state,
            (Tone::Plain, view.seen_at.map(|seen| when::ago(seen, at)).unwrap_or_else(|| "never".to_owned())),
            (Tone::Plain, view.behind.to_string()),
            (Tone::Plain, labels.join(",")),
            (
                Tone::Plain,
                view.sudo.as_ref().map(|sudo| sudo.escaped()).unwrap_or_else(|| "no enforcement".to_owned()),
            ),
            (Tone::Plain, if view.names.is_empty() { "-".to_owned() } else { joined(&view.names) }),
            (
                Tone::Plain,
                view.certified_until
                    .map_or_else(|| "-".to_owned(), |end| format!("until {}", when::until(end, at))),
            ),
        ]);
    }
    table
}

fn joined(names: &[HostName]) -> String {
    names.iter().map(HostName::as_str).collect::<Vec<_>>().join(",")
}

/// `elevate.invitation/1`.
#[must_use]
pub fn paste_json(line: &Secret, valid: Span, counts_at: Option<Timestamp>) -> Value {
    let value = json!({ "line": line.expose(), "valid_seconds": valid.0, "counts_at": time(counts_at) });
    schema("invitation", value)
}

/// An invitation for the place of a host that is there.
#[must_use]
pub fn waits(counts_at: Timestamp, at: &At) -> Line {
    let until = when::until(counts_at, at);
    Line::of(Tone::Warn, "It waits: ").then(&format!(
        "a host of this name is enrolled. It works once a second administrator says so (elevatectl host confirm), or from {until} on"
    ))
}

fn change_json(one: &ChangeView) -> Value {
    json!({
        "what": one.what,
        "since": rfc3339(one.since),
        "by": one.by.raw(),
        "counts_at": time(one.counts_at),
    })
}

/// `elevate.people/1`.
#[must_use]
pub fn people_json(views: &[PersonView]) -> Value {
    let one = |view: &PersonView| {
        json!({
            "person": view.person,
            "login": view.login,
            "keys": view.keys,
            "factor": view.factor,
            "invited": view.invited,
            "waiting": view.waiting.iter().map(change_json).collect::<Vec<_>>(),
            "until": time(view.until),
        })
    };
    schema("people", json!({ "people": views.iter().map(one).collect::<Vec<_>>() }))
}

/// `elevate.hosts/1`.
#[must_use]
pub fn hosts_json(views: &[HostView]) -> Value {
    let one = |view: &HostView| {
        json!({
            "name": view.name,
            "id": view.id,
            "labels": view.labels,
            "names": view.names,
            "certified_until": time(view.certified_until),
            "since": rfc3339(view.since),
            "connected": view.connected,
            "seen_at": time(view.seen_at),
            "sudo": view.sudo.as_ref().map(|sudo| sudo.raw().to_owned()),
            "behind": view.behind,
            "new_epoch": view.new_epoch,
            "replacement": view.replacement.as_ref().map(change_json),
        })
    };
    schema("hosts", json!({ "hosts": views.iter().map(one).collect::<Vec<_>>() }))
}

/// Sinks of events.
#[must_use]
pub fn sinks(views: &[SinkView], at: &At) -> Table {
    let mut table = Table::new(&["SINK", "STATE", "NEXT", "BEHIND", "TO", "LAST ERROR"]);
    for view in views {
        let state = match view.failing_since {
            None => (Tone::Good, "works".to_owned()),
            Some(since) => (Tone::Bad, format!("fails, {}", when::ago(since, at))),
        };
        let error = view.last_error.as_ref();
        table.row(vec![
            (Tone::Strong, view.name.clone()),
            state,
            (Tone::Plain, view.next.to_string()),
            (Tone::Plain, view.behind.to_string()),
            (Tone::Plain, view.to.clone()),
            (
                Tone::Faint,
                error.map_or_else(
                    || "-".to_owned(),
                    |(then, why)| format!("{} {}", when::clock(*then, at), why.escaped()),
                ),
            ),
        ]);
    }
    table
}

/// `elevate.sinks/1`.
#[must_use]
pub fn sinks_json(views: &[SinkView]) -> Value {
    let one = |view: &SinkView| {
        let error = view.last_error.as_ref();
        json!({
            "name": view.name,
            "to": view.to,
            "next": view.next,
            "behind": view.behind,
            "failing_since": time(view.failing_since),
            "last_error": error.map(|(_, why)| why.raw()),
            "last_error_at": time(error.map(|(then, _)| *then)),
        })
    };
    schema("sinks", json!({ "sinks": views.iter().map(one).collect::<Vec<_>>() }))
}

/// A policy or the report of a check, as it is written.
#[must_use]
pub fn policy(text: &str) -> Vec<Line> {
    lines_of(text)
}

/// An event for people: when, its number, its code, then what it is about. Text that is no event is shown as it came.
#[must_use]
pub fn event(json: &str, at: &At) -> Line {
    let parsed: Option<Value> = serde_json::from_str(json).ok();
    let Some(Value::Object(fields)) = parsed else { return Line::plain(json) };
    let (Some(moment), Some(code)) = (fields.get("at").and_then(Value::as_i64), fields.get("code")) else {
        return Line::plain(json);
    };
    let seq = fields.get("seq").map(plain).unwrap_or_default();
    let mut line = Line::of(Tone::Faint, &format!("{} {seq} ", when::clock(Timestamp(moment), at)))
        .and(Tone::Strong, &plain(code));
    let details = fields.get("details").and_then(Value::as_object);
    let about = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "at" | "seq" | "code" | "details"));
    for (key, value) in about.chain(details.into_iter().flatten()).filter(|(_, value)| !value.is_null()) {
        line = line.and(Tone::Faint, &format!(" {key}=")).then(&plain(value));
    }
    line
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn an_event_is_one_line_and_never_a_control_character() {
        let at = At { now: Timestamp(1_795_268_460), zone: TimeZone::UTC };
        let json = r#"{"actor":{"person":"alice"},"at":1795268460,"code":"request.denied","details":{"reason":"a\u001b[2Jb"},"role":"web-ops","seq":7}"#;
        let line = event(json, &at).render(false);
        assert_eq!(
            line,
            r#"13:41 UTC 7 request.denied actor={"person":"alice"} role=web-ops reason=a\u{1b}[2Jb"#
        );
        assert_eq!(event("not JSON\x07", &at).render(false), "not JSON\\u{7}");
    }
}
