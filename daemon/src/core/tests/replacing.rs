//! A host that is there is not replaced by one administrator's word (threat H03).

use std::collections::BTreeMap;

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::enrol::EnrolReply;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::HostView;
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::time::Timestamp;

use super::place::*;
use crate::core::{Holder, Speaker};

const KEEPERS: &str = r#"
[roles.keepers]
who = ["carol", "dave"]
admin = ["hosts", "locks"]
"#;

/// Two administrators, and web1.
async fn scene() -> Place {
    let place = Place::new().await;
    place.write_policy(&format!("{POLICY}{KEEPERS}"));
    place.admin(AdminAsk::PolicyReload).await;
    for who in ["carol", "dave"] {
        place.factor(who).await;
        place.ask_with_code(who, request("keepers")).await.unwrap();
    }
    place.enrol("web1", "web", 31).await;
    place
}

fn invite(host: &str) -> AdminAsk {
    AdminAsk::HostInvite { name: name(host), labels: BTreeMap::new(), names: vec![], valid: None }
}

/// What an administrator is given, and when it counts by itself.
async fn invited(place: &Place, who: &str, host: &str) -> (Secret, Option<Timestamp>) {
    match place.ask(who, Ask::Admin(invite(host))).await {
        Ok(Outcome::Admin(AdminOutcome::Paste { line, counts_at, .. })) => {
            (line.expose().parse::<Paste>().unwrap().token.unwrap(), counts_at)
        }
        other => panic!("{other:?}"),
    }
}

fn confirm(host: &str, by: &str) -> AdminAsk {
    AdminAsk::HostConfirm { name: name(host), by: name(by) }
}

async fn root(place: &Place, ask: AdminAsk) -> Result<Outcome, Refusal> {
    place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await
}

async fn enrols(place: &Place, token: &Secret, seed: u8) -> Result<(), Code> {
    match place.enrol_with(token.clone(), seed).await {
        EnrolReply::Enrolled(_) => Ok(()),
        EnrolReply::Refused(refusal) => Err(refusal.code),
    }
}

async fn web1(place: &Place) -> HostView {
    let AdminOutcome::Hosts(hosts) = place.admin(AdminAsk::HostList).await else { panic!() };
    hosts.into_iter().find(|host| host.name == name("web1")).unwrap()
}

fn is_there(place: &Place, seed: u8) -> bool {
    matches!(place.core.holder(key(seed).public_key()), Holder::Host(_))
}

#[tokio::test]
async fn h03_one_administrators_word_does_not_take_the_place_of_a_host() {
    let mut place = scene().await;
    let (token, counts_at) = invited(&place, "carol", "web1").await;
    assert_eq!(counts_at, Some(place.clock.now().after(span("1d"))));
    for round in ["at once", "after a restart"] {
        if round == "after a restart" {
            place.restart().await;
        }
        assert_eq!(enrols(&place, &token, 33).await, Err(Code::Pending), "{round}");
        assert!(is_there(&place, 31) && !is_there(&place, 33), "{round}");
        let waits = web1(&place).await.replacement.unwrap();
        assert_eq!((waits.by.raw(), waits.counts_at), ("carol", counts_at), "{round}");
        assert_eq!(
            code_of(place.ask("carol", Ask::Admin(confirm("web1", "carol"))).await),
            Code::NotEligible
        );
        // Who confirms says whose: an invitation in its place is another one.
        assert_eq!(code_of(place.ask("dave", Ask::Admin(confirm("web1", "dave"))).await), Code::Gone);
        assert_eq!(code_of(place.ask("dave", Ask::Admin(confirm("db1", "carol"))).await), Code::Gone);
    }
    place.clock.advance(1800);
    place.ask("dave", Ask::Admin(confirm("web1", "carol"))).await.unwrap();
    assert_eq!(web1(&place).await.replacement, None);
    place.clock.advance(3599);
    assert_eq!(enrols(&place, &token, 33).await, Ok(()), "valid from the second word on");
    assert!(is_there(&place, 33) && !is_there(&place, 31));
    assert_eq!(enrols(&place, &token, 34).await, Err(Code::NotEligible));
    assert_eq!((place.count("change.waits").await, place.count("change.counts").await), (1, 1));
}

#[tokio::test]
async fn h03_after_a_day_it_counts_and_after_its_time_it_does_not() {
    for (passed, outcome) in
        [(86_399, Err(Code::Pending)), (86_400, Ok(())), (90_000, Err(Code::NotEligible))]
    {
        let place = scene().await;
        let (token, _) = invited(&place, "carol", "web1").await;
        place.clock.advance(passed);
        assert_eq!(enrols(&place, &token, 33).await, outcome, "{passed}");
        assert_eq!(is_there(&place, 31), outcome.is_err(), "{passed}");
    }
}

#[tokio::test]
async fn h03_root_does_it_alone_and_a_new_name_counts_at_once() {
    let place = scene().await;
    let token = place.invite_host("web1", "web").await;
    assert_eq!(enrols(&place, &token, 33).await, Ok(()));
    let (first, counts_at) = invited(&place, "carol", "web9").await;
    let (second, _) = invited(&place, "carol", "web9").await;
    assert_eq!(counts_at, None);
    assert_eq!(enrols(&place, &first, 41).await, Ok(()));
    // Made when there was no such host: it is not what a second administrator would have been asked for.
    assert_eq!(enrols(&place, &second, 42).await, Err(Code::NotEligible));
    assert!(is_there(&place, 41) && !is_there(&place, 42));
    let (third, _) = invited(&place, "carol", "web9").await;
    assert_eq!(enrols(&place, &third, 42).await, Err(Code::Pending));
    assert!(root(&place, confirm("web9", "carol")).await.is_ok());
    assert_eq!(enrols(&place, &third, 42).await, Ok(()));
    assert_eq!(place.count("change.waits").await, 1);
}

#[tokio::test]
async fn h03_a_lock_stops_the_clock_and_another_invitation_takes_the_place_of_the_first() {
    for what in [LockWhat::Host(name("web1")), LockWhat::Person(name("carol")), LockWhat::Everything] {
        let place = scene().await;
        let (token, _) = invited(&place, "carol", "web1").await;
        let reason = "who asked for this?".parse().unwrap();
        place.admin(AdminAsk::Lock { what: what.clone(), ttl: Some(span("1h")), reason }).await;
        // The lock is over, the day too, and the time in which it would be valid is not.
        place.clock.advance(86_400 + 600);
        assert_eq!(enrols(&place, &token, 33).await, Err(Code::Pending), "{what:?}");
        assert!(is_there(&place, 31), "{what:?}");
    }
    let place = scene().await;
    let (first, _) = invited(&place, "carol", "web1").await;
    let (second, _) = invited(&place, "dave", "web1").await;
    assert_eq!(place.count("change.withdrawn").await, 1);
    assert_eq!(code_of(root(&place, confirm("web1", "carol")).await), Code::Gone);
    place.ask("carol", Ask::Admin(confirm("web1", "dave"))).await.unwrap();
    assert_eq!(enrols(&place, &first, 33).await, Err(Code::NotEligible));
    assert_eq!(enrols(&place, &second, 34).await, Ok(()));
}
