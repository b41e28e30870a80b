//! What tests decide with: one policy, two hosts, requests and approvals.
//!
//! In: names. Out: values. Only in tests; the policy is tests/data/main.toml.

use std::collections::BTreeMap;

use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::time::{Span, Timestamp};

use crate::{
    Decision, FactorProof, Facts, HostFacts, Pending, Permit, Policy, RecordedApproval, Refusal, Request,
    decide, request_digest, role_digest,
};

pub(crate) const MAIN: &str = include_str!("../tests/data/main.toml");

/// 2026-11-21T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_262_400);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(&[("main.toml".to_owned(), text.to_owned())]).map_err(|error| error.to_string())
}

pub(crate) fn policy() -> Policy {
    parse(MAIN).unwrap()
}

/// The policy with one text in it replaced.
pub(crate) fn policy_with(from: &str, to: &str) -> Policy {
    assert!(MAIN.contains(from), "{from}");
    parse(&MAIN.replace(from, to)).unwrap()
}

pub(crate) fn host(id: u8, called: &str, labels: &[(&str, &str)]) -> HostFacts {
    let labels: BTreeMap<Name, Name> =
        labels.iter().map(|(label, value)| (name(label), name(value))).collect();
    HostFacts { id: HostId::from_random([id; 16]), name: name(called), labels }
}

pub(crate) fn web1() -> HostFacts {
    host(1, "web1", &[("tier", "web"), ("env", "prod")])
}

pub(crate) fn db1() -> HostFacts {
    host(2, "db1", &[("tier", "db"), ("env", "prod")])
}

pub(crate) fn request(person: &str, role: &str, host: HostFacts) -> Request {
    Request {
        cluster: ClusterId::from_random([7; 16]),
        activation: ActivationId::from_random([9; 16]),
        person: name(person),
        role: name(role),
        hosts: vec![host],
        duration: None,
        reason: Some("stuck vacuum on the orders table".parse().unwrap()),
        ticket: None,
        asked_at: NOW,
    }
}

/// A request with a factor that was just checked for it, and no approvals.
pub(crate) fn facts(policy: &Policy, request: Request) -> Facts {
    let bound_to = request_digest(&request).unwrap();
    let role_digest = role_digest(policy, &request.role, &request.person).unwrap_or_else(|| {
        crate::RoleDigest::recorded(elevate_protocol::digest::Digest::of(b"no such role or eligibility"))
    });
    Facts {
        request,
        role_digest,
        factor: Some(FactorProof { checked_at: NOW, bound_to }),
        approvals: Vec::new(),
        denial: None,
    }
}

/// An approval of exactly this request under this policy, at [`NOW`].
pub(crate) fn approval(facts: &Facts, by: &str) -> RecordedApproval {
    let request = request_digest(&facts.request).unwrap();
    RecordedApproval { approver: name(by), at: NOW, request, role: facts.role_digest }
}

/// The facts with approvals by these people.
pub(crate) fn approved(mut facts: Facts, by: &[&str]) -> Facts {
    facts.approvals = by.iter().map(|by| approval(&facts, by)).collect();
    facts
}

pub(crate) fn later(span: u32) -> Timestamp {
    NOW.after(Span(span))
}

pub(crate) fn permit(policy: &Policy, facts: &Facts, now: Timestamp) -> Permit {
    match decide(policy, facts, now) {
        Decision::Permit(permit) => *permit,
        other @ (Decision::Pending(_) | Decision::Refuse(_)) => panic!("no permit: {other:?}"),
    }
}

pub(crate) fn pending(policy: &Policy, facts: &Facts, now: Timestamp) -> Pending {
    match decide(policy, facts, now) {
        Decision::Pending(pending) => pending,
        other @ (Decision::Permit(_) | Decision::Refuse(_)) => panic!("not pending: {other:?}"),
    }
}

pub(crate) fn refusal(policy: &Policy, facts: &Facts, now: Timestamp) -> Refusal {
    match decide(policy, facts, now) {
        Decision::Refuse(refusal) => refusal,
        other @ (Decision::Permit(_) | Decision::Pending(_)) => panic!("not refused: {other:?}"),
    }
}
