//! Looking and following.

use elevate_audit::Event;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;

use super::place::*;
use crate::core::Speaker;

#[tokio::test]
async fn an_approver_who_watches_sees_requests_come_and_go() {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let _agent = place.obedient(&db1, 32).await;
    place.factor("alice").await;
    let mut watch =
        place.talk(place.person("bob"), Ask::Requests { to_review: true, mine: false, watch: true });
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let seen = watch.progress(|_| true).await;
    assert_eq!((seen.id, &seen.state), (pending.id, &State::Pending));
    place.ask("alice", Ask::Cancel { id: pending.id.into() }).await.unwrap();
    assert_eq!(watch.progress(|_| true).await.state, State::Withdrawn);
    let Outcome::Overview(overview) = place.ask("alice", Ask::Overview).await.unwrap() else { panic!() };
    let roles: Vec<&str> = overview.eligible.iter().map(|one| one.role.as_str()).collect();
    assert_eq!(roles, ["dba", "web-ops"]);
    assert_eq!(overview.eligible[0].hosts, [name("db1")]);
}

#[tokio::test]
async fn the_log_is_followed_in_order_without_gaps() {
    let place = Place::new().await;
    let tail = Ask::Admin(AdminAsk::AuditTail { last: 1000, follow: true });
    let mut talk = place.talk(Speaker::Root { uid: 0 }, tail.clone());
    place.factor("alice").await;
    let mut codes = Vec::new();
    while codes.last().map(String::as_str) != Some("factor.enrolled") {
        let Reply::Event(line) = talk.next().await else { panic!("no event") };
        let event = Event::from_line(&line).unwrap();
        assert_eq!(event.seq, u64::try_from(codes.len()).unwrap());
        codes.push(event.kind.code().to_owned());
    }
    assert_eq!(codes[..2], ["daemon.started", "policy.loaded"]);
    assert!(codes.contains(&"admin.used".to_owned()));
    assert_eq!(code_of(place.ask("alice", tail).await), Code::NotEligible);
}

#[tokio::test]
async fn a_sink_remembers_how_far_it_got() {
    let mut place = Place::new().await;
    let reader = place.core.events();
    assert_eq!(reader.cursor("syslog").await.unwrap(), 0);
    reader.advance("syslog", 2).await.unwrap();
    reader.advance("syslog", 1).await.unwrap();
    place.restart().await;
    let reader = place.core.events();
    assert_eq!((reader.cursor("syslog").await.unwrap(), reader.cursor("notify").await.unwrap()), (2, 0));
    assert_eq!(reader.read(2, 10).await.unwrap()[0].event.kind.code(), "daemon.started");
}

#[tokio::test]
async fn administrators_see_people_hosts_and_the_policy() {
    let place = Place::new().await;
    place.enrol("web1", "web", 31).await;
    place.factor("alice").await;
    let AdminOutcome::People(people) = place.admin(AdminAsk::PersonList).await else { panic!() };
    assert_eq!(people.iter().filter(|one| one.factor).count(), 1);
    let AdminOutcome::Hosts(hosts) = place.admin(AdminAsk::HostList).await else { panic!() };
    assert_eq!((hosts.len(), hosts[0].connected), (1, false));
    let AdminOutcome::Policy { text, digest } = place.admin(AdminAsk::PolicyShow).await else { panic!() };
    assert!(text.contains("web-ops") && digest.starts_with("sha256:"));
    let AdminOutcome::Policy { digest: checked, .. } = place.admin(AdminAsk::PolicyCheck).await else {
        panic!()
    };
    assert_eq!(checked, digest);
}

#[tokio::test]
async fn why_and_can_i_answer_with_the_policys_reasons() {
    let place = Place::new().await;
    place.enrol("web1", "web", 31).await;
    let argv = ["systemctl", "restart", "nginx.service"].map(String::from).to_vec();
    let why = |argv: Vec<String>| Ask::Why { host: Some(word("web1")), argv };
    let Outcome::Explanation(told) = place.ask("alice", why(argv)).await.unwrap() else { panic!() };
    assert_eq!((told.yes, told.hint.as_deref()), (true, Some("elevate web-ops")));
    let Outcome::Explanation(told) = place.ask("alice", why(vec!["id".into()])).await.unwrap() else {
        panic!()
    };
    assert!(!told.yes && !told.reasons.is_empty());
    let can = Ask::CanI { role: name("dba"), host: None };
    let Outcome::Explanation(told) = place.ask("mallory", can).await.unwrap() else { panic!() };
    assert!(!told.yes);
}

#[tokio::test]
async fn b06_a_long_history_is_answered_with_its_newest_part() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    let store = &place.core.inner().store;
    let mut tx = store.write().await.unwrap();
    let mut one = tx.activation(active.id).await.unwrap().unwrap();
    one.state = State::Withdrawn;
    one.reason = "x".repeat(1000).parse().ok();
    for n in 1..=1_500u16 {
        let mut id = [0u8; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        one.id = elevate_protocol::id::ActivationId::from_random(id);
        one.asked_at = elevate_protocol::time::Timestamp(START - i64::from(n));
        tx.insert_activation(&one).await.unwrap();
    }
    tx.commit().await.unwrap();
    let Ok(Outcome::Activations(shown)) = place.ask("alice", Ask::Activations { all: true }).await else {
        panic!("no list")
    };
    assert!((300..1_500).contains(&shown.len()), "{}", shown.len());
    assert_eq!(shown[0].id, active.id);
    assert!(shown.windows(2).all(|pair| pair[0].asked_at >= pair[1].asked_at));
}
