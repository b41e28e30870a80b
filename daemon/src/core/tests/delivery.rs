//! Documents reach their host in order and at least once, whatever happens to the connection.

use elevate_protocol::message::agent::{Applied, Claim, ToAgent};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::{HostState, State};

use super::place::*;

async fn three_documents(place: &Place) {
    for _ in 0..2 {
        view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
        if place.count("grant.issued").await == 1 {
            place.ask("alice", Ask::Drop { id: None, all: false }).await.unwrap();
        }
    }
}

/// alice has asked for web-ops on web1 and given her code; web1's agent has greeted, and does nothing by itself.
async fn asked() -> (Place, Agent, Talk) {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    agent.accounts().await;
    place.factor("alice").await;
    let mut talk = place.talk(place.person("alice"), waiting("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    (place, agent, talk)
}

#[tokio::test]
async fn documents_for_an_absent_host_are_the_first_thing_on_reconnect_in_order() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    // The host has said its accounts, then it goes.
    place
        .ask(
            "alice",
            Ask::Request(elevate_protocol::message::person::RequestAsk {
                dry_run: true,
                ..wanted("web-ops", false)
            }),
        )
        .await
        .unwrap();
    place.event("host.connected", 1).await;
    let mut told = place.talk(place.person("alice"), request("web-ops"));
    told.challenge().await;
    drop(told);
    drop(agent);
    place.event("host.lost", 1).await;
    three_documents(&place).await;
    let offline = view(place.ask("alice", request("web-ops")).await.unwrap());
    assert!(matches!(offline.hosts[0].state, HostState::Offline { since: Some(_) }));
    let mut back = place.agent(&web1, 31).await;
    back.hello(0).await;
    let mut log = Vec::new();
    for seq in 1..=3 {
        let ToAgent::Document(signed) = back.frame().await else { panic!("no document {seq}") };
        assert_eq!(back.read(&signed).seq, seq);
        log.push(signed);
    }
    // The first is acknowledged, the connection breaks: the second comes first.
    back.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    place.event("grant.confirmed", 1).await;
    drop(back);
    place.event("host.lost", 2).await;
    let mut again = place.agent(&web1, 31).await;
    again.head = Agent::head_of(&log[..1]);
    again.hello(1).await;
    let ToAgent::Document(signed) = again.frame().await else { panic!("no document") };
    assert_eq!(again.read(&signed).seq, 2);
    // Applied and not heard of: sent again, acknowledged again, recorded once.
    drop(again);
    place.event("host.lost", 3).await;
    let mut third = place.agent(&web1, 31).await;
    third.head = Agent::head_of(&log);
    third.hello(3).await;
    for seq in [2, 3] {
        let ToAgent::Document(signed) = third.frame().await else { panic!("no document {seq}") };
        assert_eq!(third.read(&signed).seq, seq);
        for _ in 0..2 {
            third.claim(Claim::Applied { seq, result: Applied::Enforced }).await;
        }
    }
    place.event("grant.confirmed", 3).await;
    third.claim(Claim::Missing { from: 2 }).await;
    let ToAgent::Document(signed) = third.frame().await else { panic!("no document") };
    assert_eq!(third.read(&signed).seq, 2);
    assert_eq!(place.count("grant.confirmed").await, 3);
}

#[tokio::test]
async fn the_newest_connection_of_a_host_replaces_the_older() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut older = place.agent(&web1, 31).await;
    older.hello(0).await;
    let newer = place.obedient(&web1, 31).await;
    assert!(older.closed().await);
    place.factor("alice").await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    assert_eq!(newer.acts(), ["grant"]);
    assert_eq!(place.count("host.lost").await, 0);
}

#[tokio::test]
async fn a_grant_that_its_only_host_refuses_is_over() {
    let (place, mut agent, talk) = asked().await;
    let ToAgent::Document(_) = agent.frame().await else { panic!("no document") };
    let why = "forbidden by ceiling.toml".parse().unwrap();
    agent.claim(Claim::Applied { seq: 1, result: Applied::Refused { why } }).await;
    let ToAgent::Document(_) = agent.frame().await else { panic!("no end") };
    agent.claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    let ended = view(talk.end().await.unwrap());
    assert!(matches!(ended.state, State::Ended { .. }), "{ended:?}");
    assert_eq!(place.count("grant.refused-by-host").await, 1);
}

#[tokio::test]
async fn a_host_that_does_not_confirm_is_waited_for_ten_seconds() {
    let (place, mut agent, mut talk) = asked().await;
    let sent = talk.progress(|seen| seen.state == State::Active).await;
    assert_eq!(sent.hosts[0].state, HostState::Sent);
    // The conversation may begin its ten seconds after this view: the clock goes on until it ends.
    let clock = place.clock.clone();
    let end = tokio::spawn(talk.end());
    soon("the end", async {
        while !end.is_finished() {
            clock.advance(1);
            agent.claim(Claim::Heartbeat { time: clock.now() }).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let shown = view(end.await.unwrap().unwrap());
    assert_eq!((shown.state, &shown.hosts[0].state), (State::Active, &HostState::Sent));
}
