//! A request that takes the place of another.

use elevate_protocol::message::person::{Ask, RequestAsk};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};

use super::place::*;

async fn ready() -> (Place, Obedient) {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    for who in ["alice", "bob", "carol"] {
        place.factor(who).await;
    }
    (place, agent)
}

fn amended(former: &ActivationView, duration: &str) -> RequestAsk {
    RequestAsk { duration: Some(span(duration)), amends: Some(former.id.into()), ..wanted("dba", false) }
}

fn approve(view: &ActivationView) -> Ask {
    Ask::Approve { id: view.id.into(), reason: None }
}

async fn shown(place: &Place, view: &ActivationView) -> ActivationView {
    super::place::view(place.ask("alice", Ask::Show { id: view.id.into(), documents: false }).await.unwrap())
}

#[tokio::test]
async fn an_approval_of_the_former_request_is_none_of_the_amended_one() {
    let (place, agent) = ready().await;
    let former = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    place.ask_with_code("bob", approve(&former)).await.unwrap();
    let new = view(place.ask_with_code("alice", Ask::Request(amended(&former, "20m"))).await.unwrap());
    assert_eq!((new.state.clone(), new.duration), (State::Pending, span("20m")));
    assert_ne!((new.id, new.digest), (former.id, former.digest));
    assert!(new.needs.iter().all(|need| need.approved.is_empty()), "{:?}", new.needs);
    assert_eq!(shown(&place, &former).await.state, State::Withdrawn);
    assert_eq!(code_of(place.ask_with_code("carol", approve(&former)).await), Code::Gone);
    place.ask_with_code("carol", approve(&new)).await.unwrap();
    assert_eq!((shown(&place, &new).await.state, agent.acts().len()), (State::Pending, 0));
    place.ask_with_code("bob", approve(&new)).await.unwrap();
    assert_eq!((place.count("request.withdrawn").await, place.count("request.created").await), (1, 2));
}

#[tokio::test]
async fn an_amendment_that_is_refused_leaves_the_request_as_it_is() {
    let (place, _agent) = ready().await;
    let former = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let refused = [
        amended(&former, "9d"),
        RequestAsk { role: name("web-ops"), ..amended(&former, "20m") },
        RequestAsk { hosts: vec![word("web9")], ..amended(&former, "20m") },
    ];
    for ask in refused {
        let shown = format!("{ask:?}");
        assert!(place.ask("alice", Ask::Request(ask)).await.is_err(), "{shown}");
    }
    // Only the requester's own, only what is open, and a dry run changes nothing.
    assert_eq!(code_of(place.ask("bob", Ask::Request(amended(&former, "20m"))).await), Code::Gone);
    let dry = RequestAsk { dry_run: true, ..amended(&former, "20m") };
    place.ask("alice", Ask::Request(dry)).await.unwrap();
    assert_eq!(shown(&place, &former).await.state, State::Pending);
    assert_eq!((place.count("request.withdrawn").await, place.count("request.created").await), (0, 1));
    place.ask("alice", Ask::Cancel { id: former.id.into() }).await.unwrap();
    assert_eq!(code_of(place.ask("alice", Ask::Request(amended(&former, "20m"))).await), Code::Gone);
}
