//! The keys that sign, as administrators see them.
//!
//! In: views. Out: a table and JSON.

use elevate_protocol::message::admin::{KeyState, KeyView};
use serde_json::{Value, json};

use super::At;
use super::json::{schema, time};
use super::table::Table;
use super::when;
use crate::paint::Tone;

fn word(state: KeyState) -> (Tone, &'static str) {
    match state {
        KeyState::Next => (Tone::Warn, "next"),
        KeyState::Signs => (Tone::Good, "signs"),
        KeyState::Replaced => (Tone::Plain, "replaced"),
        KeyState::Over => (Tone::Faint, "over"),
    }
}

/// Grant keys, then those of certificates, each oldest first.
#[must_use]
pub fn table(views: &[KeyView], at: &At) -> Table {
    let mut table = Table::new(&["KEY", "SIGNS", "STATE", "SINCE", "UNTIL", "PLACE", "UNSIGNED", "PROBLEM"]);
    for view in views {
        let (tone, state) = word(view.state);
        let moment = |point| when::clock(point, at);
        let problem = view.problem.as_ref();
        table.row(vec![
            (Tone::Strong, view.fingerprint.escaped()),
            (Tone::Plain, view.signs.word().to_owned()),
            (tone, state.to_owned()),
            (Tone::Plain, view.since.map_or_else(|| "-".to_owned(), moment)),
            (Tone::Plain, view.until.map_or_else(|| "-".to_owned(), moment)),
            (Tone::Plain, view.place.clone()),
            (if view.waiting == 0 { Tone::Plain } else { Tone::Bad }, view.waiting.to_string()),
            (Tone::Bad, problem.map_or_else(|| "-".to_owned(), |why| why.escaped())),
        ]);
    }
    table
}

/// `elevate.keys/1`.
#[must_use]
pub fn json(views: &[KeyView]) -> Value {
    let one = |view: &KeyView| {
        json!({
            "signs": view.signs.word(),
            "state": word(view.state).1,
            "fingerprint": view.fingerprint.raw(),
            "key": view.key,
            "place": view.place,
            "since": time(view.since),
            "until": time(view.until),
            "unsigned": view.waiting,
            "problem": view.problem.as_ref().map(|why| why.raw()),
        })
    };
    schema("keys", json!({ "keys": views.iter().map(one).collect::<Vec<_>>() }))
}
