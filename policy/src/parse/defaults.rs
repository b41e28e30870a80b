//! `[defaults]`: what roles have when they do not say.
//!
//! In: TOML entries of that section. Out: [`Defaults`]. Spec: docs/policy.md "[defaults]".

use elevate_protocol::time::Span;

use super::approve::WAIT_MAX;
use super::offline::offline;
use super::reader::{Entry, Item, Report, Table, unknown_key};
use crate::policy::role::ReasonRule;
use crate::policy::{Defaults, HARD_CAP};

const KEYS: [&str; 6] = ["duration", "max", "reason", "warn", "pending", "offline"];
/// Most warnings before an end.
const WARN_MAX: usize = 16;

/// Reads the section over the built-in values.
pub(super) fn defaults(report: &mut Report<'_>, section: Vec<Entry<'_>>) -> Defaults {
    let mut known = Vec::new();
    for entry in section {
        if KEYS.contains(&entry.key) {
            known.push(entry);
        } else {
            unknown_key(report, &entry, &KEYS);
        }
    }
    let Some(place) = known.first().map(|entry| entry.key_place) else { return Defaults::default() };
    let table = Table::of(place, known);
    let mut defaults = Defaults::default();
    if let Some(max) = table.get("max").and_then(|item| capped(report, item, HARD_CAP)) {
        defaults.max = max;
    }
    defaults.duration = match table.get("duration") {
        None => defaults.duration.min(defaults.max),
        Some(item) => {
            let duration = capped(report, item, HARD_CAP).unwrap_or(defaults.duration);
            if duration > defaults.max {
                let max = defaults.max;
                let message = format!("the duration {duration} is longer than the max, {max}");
                report.error(
                    item.place,
                    message,
                    format!("write duration = \"{max}\", or max = \"{duration}\""),
                );
            }
            duration
        }
    };
    if let Some(rule) = table.get("reason").and_then(|item| reason(report, item)) {
        defaults.reason = rule;
    }
    if let Some(spans) = table.get("warn").and_then(|item| warn(report, item, HARD_CAP)) {
        defaults.warn = spans;
    }
    if let Some(pending) = table.get("pending").and_then(|item| capped(report, item, WAIT_MAX)) {
        defaults.pending = pending;
    }
    defaults.lease = table.get("offline").and_then(|item| offline(report, item));
    defaults
}

/// A duration that is at most `cap`.
pub(super) fn capped(report: &mut Report<'_>, item: Item<'_>, cap: Span) -> Option<Span> {
    let span = item.span(report)?;
    if span > cap {
        let message = format!("{span} is longer than the {cap} that are allowed at most");
        report.error(item.place, message, format!("write \"{cap}\", or less"));
        return None;
    }
    Some(span)
}

pub(super) fn reason(report: &mut Report<'_>, item: Item<'_>) -> Option<ReasonRule> {
    match item.text(report)? {
        "required" => Some(ReasonRule::Required),
        "optional" => Some(ReasonRule::Optional),
        other => {
            report.error(
                item.place,
                format!("{other:?} is not known here"),
                "write \"required\" or \"optional\"",
            );
            None
        }
    }
}

/// Warnings before the end, longest first, each once. An empty list means none.
pub(super) fn warn(report: &mut Report<'_>, item: Item<'_>, max: Span) -> Option<Vec<Span>> {
    let items = item.list(report)?;
    if items.len() > WARN_MAX {
        report.error(item.place, format!("at most {WARN_MAX} warnings"), "write [\"10m\", \"5m\", \"1m\"]");
        return None;
    }
    let spans: Vec<Option<Span>> = items.into_iter().map(|item| capped(report, item, max)).collect();
    let mut spans = spans.into_iter().collect::<Option<Vec<Span>>>()?;
    spans.sort_unstable_by(|left, right| right.cmp(left));
    spans.dedup();
    Some(spans)
}
