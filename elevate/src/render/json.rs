//! JSON for scripts: each value has a `schema` with a number that changes when a field changes its meaning or goes.
//!
//! In: views of the protocol, now. Out: values. Times are RFC 3339 in UTC, lengths are seconds. Spec: docs/cli.md "JSON".

use elevate_protocol::message::view::{
    AccountView, ActivationHostView, ActivationView, EligibilityView, ExplanationView, FactorView, HostState,
    NeedView, OverviewView, State,
};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use serde_json::{Map, Value, json};

use super::activation::{cause_word, full_id, host_word, short_id};
use super::when::rfc3339;

/// `value` with its schema first to be looked for.
#[must_use]
pub fn schema(name: &str, mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.insert("schema".to_owned(), json!(format!("elevate.{name}/1")));
    }
    value
}

pub(super) fn time(at: Option<Timestamp>) -> Option<String> {
    at.and_then(rfc3339)
}

fn text(text: Option<&UntrustedText>) -> Option<&str> {
    text.map(UntrustedText::raw)
}

fn state_more(state: &State) -> (Option<String>, Option<String>, Option<&'static str>, Option<String>) {
    match state {
        State::Pending | State::Approved | State::Active | State::Withdrawn | State::Lapsed => {
            (None, None, None, None)
        }
        State::Denied { by, reason } => (Some(reason.raw().to_owned()), Some(by.to_string()), None, None),
        State::Refused { reason } => (Some(reason.clone()), None, None, None),
        State::Ended { cause, at } => (None, None, Some(cause_word(*cause)), rfc3339(*at)),
    }
}

fn host(view: &ActivationHostView) -> Value {
    let (since, why) = match &view.state {
        HostState::None | HostState::Unsigned | HostState::Sent | HostState::Confirmed => (None, None),
        HostState::Offline { since } => (time(*since), None),
        HostState::Refused { why } => (None, Some(why.raw())),
        HostState::Ended { cause } => (None, Some(cause_word(*cause))),
    };
    let mut fields = Map::new();
    fields.insert("name".into(), json!(view.name));
    fields.insert("state".into(), json!(host_word(&view.state)));
    fields.insert("since".into(), json!(since));
    fields.insert("why".into(), json!(why));
    if !view.documents.is_empty() {
        fields.insert("documents".into(), json!(view.documents));
    }
    Value::Object(fields)
}

fn need(view: &NeedView) -> Value {
    let approved: Vec<Value> = view
        .approved
        .iter()
        .map(
            |one| json!({ "person": one.person, "at": rfc3339(one.at), "reason": text(one.reason.as_ref()) }),
        )
        .collect();
    json!({ "need": view.need, "of": view.of, "approved": approved })
}

/// `elevate.activation/1` without its schema.
fn activation_fields(view: &ActivationView, now: Timestamp) -> Value {
    let (state_reason, decided_by, cause, ended_at) = state_more(&view.state);
    let left = match view.state {
        State::Active => view.ends_at.map(|end| end.since(now).0),
        State::Pending
        | State::Approved
        | State::Denied { .. }
        | State::Withdrawn
        | State::Lapsed
        | State::Refused { .. }
        | State::Ended { .. } => None,
    };
    json!({
        "id": full_id(view),
        "short": short_id(view),
        "person": view.person,
        "role": view.role,
        "title": text(view.title.as_ref()),
        "allows": view.allows,
        "run_as": view.run_as,
        "logins": view.logins,
        "state": view.state.word(),
        "state_reason": state_reason,
        "decided_by": decided_by,
        "cause": cause,
        "ended_at": ended_at,
        "hosts": view.hosts.iter().map(host).collect::<Vec<_>>(),
        "duration_seconds": view.duration.0,
        "reason": text(view.reason.as_ref()),
        "ticket": text(view.ticket.as_ref()),
        "asked_at": rfc3339(view.asked_at),
        "lapses_at": rfc3339(view.lapses_at),
        "factor_at": time(view.factor_at),
        "from": view.from.raw(),
        "needs": view.needs.iter().map(need).collect::<Vec<_>>(),
        "digest": view.digest,
        "starts_at": time(view.starts_at),
        "ends_at": time(view.ends_at),
        "ends_at_most": time(view.ends_at_most),
        "seconds_left": left,
        "extensions": view.extensions,
    })
}

/// One activation: `elevate.activation/1`.
#[must_use]
pub fn activation(view: &ActivationView, now: Timestamp) -> Value {
    schema("activation", activation_fields(view, now))
}

fn activation_list(views: &[ActivationView], now: Timestamp) -> Vec<Value> {
    views.iter().map(|view| activation_fields(view, now)).collect()
}

/// Several: `elevate.activations/1`.
#[must_use]
pub fn activations(views: &[ActivationView], now: Timestamp) -> Value {
    schema("activations", json!({ "activations": activation_list(views, now) }))
}

fn eligible_list(views: &[EligibilityView]) -> Vec<Value> {
    let one = |view: &EligibilityView| {
        json!({
            "role": view.role,
            "title": text(view.title.as_ref()),
            "allows": view.allows,
            "hosts": view.hosts,
            "logins": view.logins,
            "duration_seconds": view.duration.0,
            "max_seconds": view.max.0,
            "reason_required": view.reason,
            "ticket_pattern": view.ticket,
            "factor_required": view.factor,
            "needs": view.needs.iter().map(need).collect::<Vec<_>>(),
            "until": time(view.until),
        })
    };
    views.iter().map(one).collect()
}

/// What may be activated: `elevate.eligible/1`.
#[must_use]
pub fn eligible(views: &[EligibilityView]) -> Value {
    schema("eligible", json!({ "roles": eligible_list(views) }))
}

/// Everything about me: `elevate.overview/1`.
#[must_use]
pub fn overview(view: &OverviewView, now: Timestamp) -> Value {
    schema(
        "overview",
        json!({
            "person": view.person,
            "active": activation_list(&view.active, now),
            "waiting": activation_list(&view.waiting, now),
            "to_review": activation_list(&view.to_review, now),
            "eligible": eligible_list(&view.eligible),
        }),
    )
}

/// Why: `elevate.explanation/1`.
#[must_use]
pub fn explanation(view: &ExplanationView) -> Value {
    schema("explanation", json!({ "yes": view.yes, "hint": view.hint, "reasons": view.reasons }))
}

fn factor_list(views: &[FactorView]) -> Vec<Value> {
    let one = |view: &FactorView| {
        json!({
            "kind": view.kind,
            "since": rfc3339(view.since),
            "used_at": time(view.used_at),
            "recovery_codes": view.recovery,
            "locked_until": time(view.locked_until),
        })
    };
    views.iter().map(one).collect()
}

/// My factors: `elevate.factors/1`.
#[must_use]
pub fn factors(views: &[FactorView]) -> Value {
    schema("factors", json!({ "factors": factor_list(views) }))
}

/// Who I am: `elevate.account/1`.
#[must_use]
pub fn account(view: &AccountView) -> Value {
    schema(
        "account",
        json!({
            "person": view.person,
            "through": view.through.raw(),
            "groups": view.groups,
            "factors": factor_list(&view.factors),
        }),
    )
}
