//! The daemon is killed and started in every state of a request.

use elevate_protocol::message::person::Ask;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;

use super::place::*;
use crate::core::CoreError;
use crate::store::StoreError;

#[tokio::test]
async fn a_second_daemon_on_the_same_folder_is_refused() {
    let place = Place::new().await;
    match open(place.folder.path(), &place.clock).await {
        Err(CoreError::Store { source: StoreError::InUse { path } }) => {
            assert_eq!(path, place.folder.path().join("elevated.lock"));
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("two daemons on one folder"),
    }
    place.core.close().await;
    assert!(open(place.folder.path(), &place.clock).await.is_ok());
}

#[tokio::test]
async fn every_state_of_a_request_survives_a_restart() {
    let mut place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    for who in ["alice", "bob", "carol"] {
        place.factor(who).await;
    }
    // Challenged: nothing is left of it.
    let mut talk = place.talk(place.person("alice"), request("dba"));
    talk.challenge().await;
    drop(agent);
    place.restart().await;
    assert_eq!(place.count("request.created").await, 0);
    // Pending.
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    place.restart().await;
    let approve = || Ask::Approve { id: pending.id.into(), reason: None };
    place.ask_with_code("bob", approve()).await.unwrap();
    // Half approved.
    place.restart().await;
    place.clock.advance(601);
    assert_eq!(view(place.ask_with_code("carol", approve()).await.unwrap()).state, State::Approved);
    // Approved.
    place.restart().await;
    let resume = || Ask::Resume { id: pending.id.into() };
    assert_eq!(view(place.ask_with_code("alice", resume()).await.unwrap()).state, State::Active);
    // Active, not delivered.
    place.restart().await;
    assert_eq!(view(place.ask("alice", resume()).await.unwrap()).state, State::Active);
    let agent = place.obedient(&db1, 32).await;
    place.event("grant.confirmed", 1).await;
    assert_eq!(agent.acts(), ["grant"]);
    drop(agent);
    // Active, delivered, and over while the daemon was away.
    place.core.close().await;
    place.clock.advance(8 * 3600);
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    place.event("grant.ended", 1).await;
    assert_eq!(code_of(place.ask("alice", Ask::Drop { id: None, all: false }).await), Code::Gone);
    let events = place.events().await;
    assert!(events.iter().enumerate().all(|(seq, event)| event.seq == u64::try_from(seq).unwrap()));
}

#[tokio::test]
async fn a_request_that_lapsed_while_the_daemon_was_away_is_lapsed() {
    let mut place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    place.factor("alice").await;
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    drop(agent);
    place.core.close().await;
    place.clock.advance(86_400);
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    place.event("request.lapsed", 1).await;
    let shown =
        view(place.ask("alice", Ask::Show { id: pending.id.into(), documents: false }).await.unwrap());
    assert_eq!(shown.state, State::Lapsed);
}

#[tokio::test]
async fn a_policy_that_changed_while_the_daemon_was_away_ends_grants_at_the_start() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    drop(agent);
    place.write_policy(&POLICY.replace(r#"who = ["alice"]"#, r#"who = ["bob"]"#));
    place.restart().await;
    assert_eq!(place.count("grant.ended").await, 1);
    let agent = place.obedient(&web1, 31).await;
    place.event("grant.confirmed", 2).await;
    assert_eq!(agent.acts(), ["grant", "end"]);
}
