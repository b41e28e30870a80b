//! From request to end, and what must not happen on the way.

use elevate_protocol::document::{Act, EndCause};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RevokeWhat};
use elevate_protocol::message::person::{Ask, Outcome, Reply, RequestAsk, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{HostState, State};
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{GRANT_NAMESPACE, TrustedKeys};
use elevate_protocol::time::Span;

use super::place::*;

#[tokio::test]
async fn a_role_is_activated_extended_to_its_maximum_and_ends_by_itself() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    assert_eq!((&active.state, &active.hosts[0].state), (&State::Active, &HostState::Confirmed));
    let started = active.starts_at.unwrap();
    assert_eq!(active.ends_at, Some(started.after(Span::HOUR)));
    assert_eq!(active.short.len(), 4);
    let Act::Grant(grant) = agent.applied.lock().unwrap()[0].act.clone() else { panic!("no grant") };
    assert_eq!(
        (grant.uid, grant.not_before, grant.not_after),
        (2000, started.before(Span::MINUTE), started.after(Span::HOUR))
    );
    assert_eq!((grant.request_digest, grant.role.as_str()), (active.digest, "web-ops"));

    // C09: to the maximum, and not a second beyond.
    let more = |by: &str| Ask::Extend { id: None, by: span(by), reason: None };
    assert_eq!(code_of(place.ask("alice", more("1h1s")).await), Code::Usage);
    let longer = view(place.ask_with_code("alice", more("1h")).await.unwrap());
    assert_eq!(longer.ends_at, Some(started.after(Span(7200))));
    assert_eq!(longer.ends_at, longer.ends_at_most);
    assert_eq!(code_of(place.ask("alice", more("1s")).await), Code::Usage);
    assert_eq!(agent.acts(), ["grant", "extend"]);

    // The end is nobody's doing: no document, only the daemon's own knowledge.
    drop(agent);
    place.event("host.lost", 1).await;
    place.clock.advance(7199 - (place.clock.now().0 - started.0));
    assert_eq!(place.count("grant.ended").await, 0);
    place.clock.advance(1);
    place.event("grant.ended", 1).await;
    let id = active.id.into();
    let ended = view(place.ask("alice", Ask::Show { id, documents: true }).await.unwrap());
    assert_eq!(ended.state, State::Ended { cause: EndCause::Expired, at: started.after(Span(7200)) });
    let keys = TrustedKeys::from_signers(&web1.grant_signers).unwrap();
    assert_eq!(ended.hosts[0].documents.len(), 2);
    assert!(ended.hosts[0].documents.iter().all(|document| document.verify(&keys, GRANT_NAMESPACE).is_ok()));
}

#[tokio::test]
async fn an_ineligible_person_gets_no_challenge_and_an_event() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let db1 = place.enrol("db1", "db", 32).await;
    let _agents = (place.obedient(&web1, 31).await, place.obedient(&db1, 32).await);
    place.factor("alice").await;
    place.factor("mallory").await;
    assert_eq!(code_of(place.ask("mallory", request("web-ops")).await), Code::NotEligible);
    let unknown = place.ask("alice", request("root")).await.unwrap_err();
    assert_eq!(unknown.code, Code::UnknownRole, "{unknown:?}");
    let elsewhere = RequestAsk { hosts: vec![word("db1")], ..wanted("web-ops", true) };
    let refusal = place.ask("alice", Ask::Request(elsewhere)).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotEligible, "{refusal:?}");
    let short = RequestAsk { reason: "x".parse().ok(), ..wanted("web-ops", true) };
    assert_eq!(code_of(place.ask("alice", Ask::Request(short)).await), Code::Usage);
    let long = RequestAsk { duration: Some(span("3h")), ..wanted("web-ops", true) };
    assert_eq!(code_of(place.ask("alice", Ask::Request(long)).await), Code::Usage);
    let nowhere = RequestAsk { hosts: vec![word("web9")], ..wanted("web-ops", true) };
    assert_eq!(code_of(place.ask("alice", Ask::Request(nowhere)).await), Code::UnknownHost);
    assert_eq!(place.count("request.refused").await, 5);
    assert_eq!((place.count("request.created").await, place.count("grant.issued").await), (0, 0));
    // A dry run says the same and leaves nothing.
    let dry = RequestAsk { dry_run: true, ..wanted("web-ops", true) };
    let Outcome::Explanation(told) = place.ask("alice", Ask::Request(dry)).await.unwrap() else { panic!() };
    assert!(told.yes && !told.reasons.is_empty());
    assert_eq!(place.count("request.created").await, 0);
}

#[tokio::test]
async fn c09_zero_and_endless_durations_are_refused() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    for duration in [Span::ZERO, Span(7201), Span(u32::MAX)] {
        let ask = RequestAsk { duration: Some(duration), ..wanted("web-ops", true) };
        assert_eq!(code_of(place.ask("alice", Ask::Request(ask)).await), Code::Usage, "{duration}");
    }
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    for by in [Span::ZERO, Span(u32::MAX)] {
        let refused = place.ask("alice", Ask::Extend { id: None, by, reason: None }).await;
        assert_eq!(code_of(refused), Code::Usage, "{by}");
    }
}

#[tokio::test]
async fn c13_the_same_request_again_is_the_same_grant_and_a_duplicate() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let first = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    for _ in 0..3 {
        assert_eq!(view(place.ask("alice", waiting("web-ops")).await.unwrap()).id, first.id);
    }
    assert_eq!(agent.acts(), ["grant"]);
    drop(agent);
    place.restart().await;
    assert_eq!(view(place.ask("alice", request("web-ops")).await.unwrap()).id, first.id);
    let counts = (place.count("request.created").await, place.count("grant.issued").await);
    assert_eq!((counts, place.count("duplicate").await), ((1, 1), 4));
}

#[tokio::test]
async fn a_grant_is_given_back_and_another_is_taken_away() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let dropped = view(place.ask("alice", Ask::Drop { id: None, all: false }).await.unwrap());
    assert!(matches!(dropped.state, State::Ended { cause: EndCause::Dropped, .. }));
    assert_eq!(dropped.hosts[0].state, HostState::Confirmed);
    assert_eq!(code_of(place.ask("alice", Ask::Drop { id: None, all: false }).await), Code::Gone);
    let next = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    assert_ne!(next.id, dropped.id);
    let what = RevokeWhat::Person(name("alice"));
    let reason = "left the team".parse().unwrap();
    let AdminOutcome::Revoked(hit) = place.admin(AdminAsk::Revoke { what, reason }).await else { panic!() };
    assert_eq!(hit.iter().map(|one| one.id).collect::<Vec<_>>(), [next.id]);
    place.event("grant.confirmed", 4).await;
    assert_eq!(agent.acts(), ["grant", "end", "grant", "end"]);
    assert_eq!(place.count("admin.used").await, 3);
}

#[tokio::test]
async fn d06_through_a_host_nothing_follows_before_its_pam_stack_agrees() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    for (conversation, passed) in [(1, false), (2, true)] {
        agent.calls.send((conversation, Say::Ask(waiting("web-ops")))).await.unwrap();
        let (_, Reply::Challenge(challenge)) = soon("a challenge", agent.replied.recv()).await.unwrap()
        else {
            panic!("no challenge")
        };
        assert_eq!(challenge.ask, waiting("web-ops").digest().unwrap());
        let code = Secret::new(place.code("alice"));
        agent.calls.send((conversation, Say::Answer { challenge: challenge.id, code })).await.unwrap();
        let verdict = soon("a verdict", agent.replied.recv()).await.unwrap();
        assert!(matches!(verdict, (_, Reply::Verdict { accepted: true, .. })), "{verdict:?}");
        assert_eq!(place.count("request.created").await, 0);
        agent.calls.send((conversation, Say::Confirm { challenge: challenge.id, passed })).await.unwrap();
        loop {
            match soon("an end", agent.replied.recv()).await.unwrap().1 {
                Reply::Progress(_) => {}
                Reply::Refused(refusal) => {
                    assert_eq!((passed, refusal.code), (false, Code::Factor));
                    break;
                }
                Reply::Done(outcome) => {
                    assert_eq!((passed, view(outcome).state), (true, State::Active));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(place.count("factor.unconfirmed").await, 1);
    // Another host cannot be asked for from here, nothing is decided from here, and no seed comes here (D12).
    let other = RequestAsk { hosts: vec![word("db1")], ..wanted("dba", true) };
    let id: IdPrefix = "7K2M".parse().unwrap();
    let invitation = place.token(AdminAsk::PersonInvite { person: name("alice"), valid: None }).await;
    let add = Ask::FactorAdd { invitation };
    for (conversation, ask) in [(3, Ask::Request(other)), (4, Ask::Approve { id, reason: None }), (5, add)] {
        agent.calls.send((conversation, Say::Ask(ask))).await.unwrap();
        let (_, Reply::Refused(refusal)) = soon("a refusal", agent.replied.recv()).await.unwrap() else {
            panic!("not refused")
        };
        assert_eq!(refusal.code, Code::WrongDoor);
    }
}
