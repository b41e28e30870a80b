//! The reference model has to be able to say no, or the histories say nothing.
//!
//! In: requests, decisions, ends and locks as the histories tell them. Out: pass, or a no that was not said.

use elevate_protocol::id::ActivationId;

use super::model::{InForce, Lock, Model, PEOPLE, Role, Rules};

#[test]
fn the_model_refuses_what_was_not_asked_decided_or_is_over() {
    let all: std::collections::BTreeSet<&'static str> = PEOPLE[..3].iter().copied().collect();
    let rules = Rules { quick: all.clone(), ops: all.clone(), leads: all, need: 1 };
    let id = ActivationId::from_random([1; 16]);
    let found = |role: &str, approvers: &[&str], not_after| InForce {
        id,
        person: "alice".into(),
        role: role.into(),
        host: "web1",
        not_after,
        approvers: approvers.iter().map(ToString::to_string).collect(),
    };
    let asked = |role| {
        let mut model = Model::default();
        model.ruled(rules.clone());
        model.asked(id, ("alice", role, "web1"), 600);
        model
    };
    assert!(Model::default().judge(&[found("quick", &[], 600)], 0).is_err(), "nobody asked");
    let mut model = asked(Role::Quick);
    assert_eq!(model.judge(&[found("quick", &[], 600)], 0), Ok(()));
    assert!(model.judge(&[found("quick", &[], 601)], 1).is_err(), "it lasts too long");
    model.ended(id);
    assert!(model.judge(&[found("quick", &[], 600)], 1).is_err(), "it is over");
    let mut model = asked(Role::Ops);
    model.said_yes(id, "alice", 0);
    assert!(model.judge(&[found("ops", &[], 600)], 0).is_err(), "nobody else said yes");
    model.said_yes(id, "bob", 0);
    assert!(model.judge(&[found("ops", &["alice"], 600)], 0).is_err(), "the requester is no approver");
    assert!(model.judge(&[found("ops", &["bob", "bob"], 600)], 0).is_err(), "one person is one approver");
    assert!(model.judge(&[found("ops", &["bob"], 600)], 3601).is_ok(), "over by its own time");
    assert!(model.judge(&[found("ops", &["bob"], 9000)], 3601).is_err(), "the word has lapsed");
    model.locked(Lock::Person("bob"));
    assert!(model.judge(&[found("ops", &["bob"], 600)], 0).is_err(), "bob is locked");
    model.unlocked(Lock::Person("bob"));
    assert!(model.judge(&[found("ops", &["bob"], 600)], 0).is_err(), "bob has not said it again");
    model.said_yes(id, "bob", 0);
    model.locked(Lock::Host("web1"));
    assert!(model.judge(&[found("ops", &["bob"], 600)], 0).is_err(), "the host is locked");
    model.unlocked(Lock::Host("web1"));
    let rules = std::mem::take(&mut model.rules);
    assert!(model.judge(&[found("ops", &["bob"], 600)], 0).is_err(), "nobody is eligible any more");
    model.ruled(rules);
    assert_eq!(model.judge(&[found("ops", &["bob"], 600)], 0), Ok(()));
    model.locked(Lock::Role(Role::Ops));
    assert!(model.judge(&[found("ops", &["bob"], 600)], 1).is_err(), "a lock ends it");
}
