//! Other people's word: who may give it, what it is bound to, how long it counts.

use elevate_protocol::document::EndCause;
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::secret::Secret;

use super::place::*;

async fn asked(place: &Place) -> ActivationView {
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    assert_eq!(pending.state, State::Pending);
    pending
}

fn approve(view: &ActivationView) -> Ask {
    Ask::Approve { id: view.id.into(), reason: None }
}

async fn ready() -> (Place, Obedient) {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    for who in ["alice", "bob", "carol", "dave"] {
        place.factor(who).await;
    }
    (place, agent)
}

#[tokio::test]
async fn the_last_approval_starts_the_grant_while_the_requester_waits() {
    let (place, agent) = ready().await;
    let mut talk = place.talk(place.person("alice"), waiting("dba"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    let pending = talk.progress(|seen| seen.state == State::Pending).await;
    assert_eq!(pending.needs[0].need, 2);
    assert_eq!(pending.needs[0].of, ["bob", "carol", "dave"].map(name));
    let half = view(place.ask_with_code("bob", approve(&pending)).await.unwrap());
    assert_eq!((half.state, half.needs[0].approved.len()), (State::Pending, 1));
    talk.progress(|seen| seen.needs[0].approved.len() == 1).await;
    // One person counts once, and is not asked for a code again.
    assert_eq!(view(place.ask("bob", approve(&pending)).await.unwrap()).state, State::Pending);
    assert_eq!((place.count("request.approved").await, place.count("duplicate").await), (1, 1));
    place.ask_with_code("carol", approve(&pending)).await.unwrap();
    let active = view(talk.end().await.unwrap());
    assert_eq!(active.state, State::Active);
    assert_eq!(agent.acts(), ["grant"]);
}

#[tokio::test]
async fn c01_nobody_approves_their_own_request() {
    let (place, _agent) = ready().await;
    let pending = asked(&place).await;
    // alice is in the group of approvers; no challenge is sent.
    assert_eq!(code_of(place.ask("alice", approve(&pending)).await), Code::NotEligible);
    let deny = Ask::Deny { id: pending.id.into(), reason: "mine".parse().unwrap() };
    assert_eq!(code_of(place.ask("alice", deny).await), Code::NotEligible);
    assert_eq!(place.count("review.refused").await, 2);
    assert_eq!((place.count("request.approved").await, place.count("grant.issued").await), (0, 0));
    assert_eq!(code_of(place.ask("mallory", approve(&pending)).await), Code::NotEligible);
}

#[tokio::test]
async fn c06_an_approver_who_lost_the_right_counts_no_longer() {
    let (place, agent) = ready().await;
    let pending = asked(&place).await;
    place.ask_with_code("bob", approve(&pending)).await.unwrap();
    // bob leaves the approvers' group; the role itself is unchanged, so only his word is gone.
    place.write_policy(&POLICY.replace(r#"["bob", "carol", "alice"]"#, r#"["carol", "alice"]"#));
    place.core.reload_policy().await.unwrap();
    let after = view(place.ask_with_code("carol", approve(&pending)).await.unwrap());
    assert_eq!((after.state, after.needs[0].approved.len()), (State::Pending, 1));
    assert!(agent.acts().is_empty());
    // A second one who is still entitled makes it whole.
    let whole = view(place.ask_with_code("dave", approve(&pending)).await.unwrap());
    assert_eq!(whole.state, State::Active);
}

#[tokio::test]
async fn c06_an_approver_who_lost_the_right_is_refused_after_the_code_too() {
    let (place, _agent) = ready().await;
    let pending = asked(&place).await;
    let mut talk = place.talk(place.person("bob"), approve(&pending));
    let challenge = talk.challenge().await;
    place.write_policy(&POLICY.replace(r#"["bob", "carol", "alice"]"#, r#"["carol", "alice"]"#));
    place.core.reload_policy().await.unwrap();
    talk.answer(challenge, &place.code("bob")).await;
    assert_eq!(code_of(talk.end().await), Code::NotEligible);
    assert_eq!(place.count("request.approved").await, 0);
}

#[tokio::test]
async fn c07_a_grant_ends_when_its_eligibility_goes() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    // An edit elsewhere ends nothing.
    place.write_policy(&POLICY.replace("mallory = {}\n", ""));
    place.core.reload_policy().await.unwrap();
    assert_eq!(place.count("grant.ended").await, 0);
    // A policy with an error changes nothing at all.
    let broken = POLICY.replace(r#"who = ["alice"]"#, r#"who = ["bob"]"#) + "\n[roles.x]\nnonsense = 1\n";
    std::fs::write(place.folder.path().join("policy.d/main.toml"), broken).unwrap();
    place.core.reload_policy().await.unwrap_err();
    assert_eq!((place.count("grant.ended").await, place.count("policy.refused").await), (0, 1));
    place.write_policy(&POLICY.replace(r#"who = ["alice"]"#, r#"who = ["bob"]"#));
    place.core.reload_policy().await.unwrap();
    place.event("grant.confirmed", 2).await;
    let ended = view(place.ask("alice", Ask::Show { id: active.id.into(), documents: false }).await.unwrap());
    assert!(matches!(ended.state, State::Ended { cause: EndCause::NotEligible, .. }));
    assert_eq!(agent.acts(), ["grant", "end"]);
}

#[tokio::test]
async fn a_person_who_becomes_eligible_is_known_on_the_host_at_once() {
    let place = Place::new().await;
    place.write_policy(&POLICY.replace(r#"who = ["alice"]"#, r#"who = ["bob"]"#));
    place.core.reload_policy().await.unwrap();
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    for _ in 0..5 {
        place.write_policy(POLICY);
        place.core.reload_policy().await.unwrap();
        let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
        assert_eq!(active.state, State::Active);
        place.write_policy(&POLICY.replace(r#"who = ["alice"]"#, r#"who = ["bob"]"#));
        place.core.reload_policy().await.unwrap();
        // The same policy again asks nobody anew and holds nobody up.
        place.core.reload_policy().await.unwrap();
    }
    place.event("grant.confirmed", 10).await;
    assert_eq!(agent.acts().len(), 10);
}

#[tokio::test]
async fn a_denial_ends_the_waiting_and_is_final() {
    let (place, _agent) = ready().await;
    let mut talk = place.talk(place.person("alice"), waiting("dba"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    let pending = talk.progress(|seen| seen.state == State::Pending).await;
    let deny = Ask::Deny { id: pending.id.into(), reason: "not during the day".parse().unwrap() };
    place.ask_with_code("carol", deny).await.unwrap();
    let State::Denied { by, .. } = view(talk.end().await.unwrap()).state else { panic!("not denied") };
    assert_eq!(by, name("carol"));
    assert_eq!(code_of(place.ask("bob", approve(&pending)).await), Code::Gone);
}

#[tokio::test]
async fn a_request_lapses_after_its_time_and_not_before() {
    let (place, agent) = ready().await;
    let pending = asked(&place).await;
    drop(agent);
    place.event("host.lost", 1).await;
    place.clock.advance(pending.lapses_at.0 - 1 - place.clock.now().0);
    let Outcome::Activations(open) =
        place.ask("alice", Ask::Requests { to_review: false, mine: true, watch: false }).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(open.len(), 1);
    place.clock.advance(1);
    place.event("request.lapsed", 1).await;
    assert_eq!(code_of(place.ask("bob", approve(&pending)).await), Code::Gone);
}

#[tokio::test]
async fn an_approved_request_with_an_old_factor_waits_for_its_person() {
    let (place, agent) = ready().await;
    let pending = asked(&place).await;
    place.ask_with_code("bob", approve(&pending)).await.unwrap();
    drop(agent);
    place.event("host.lost", 1).await;
    place.clock.advance(601);
    let approved = view(place.ask_with_code("carol", approve(&pending)).await.unwrap());
    assert_eq!(approved.state, State::Approved);
    assert_eq!(place.count("grant.issued").await, 0);
    let started = view(place.ask_with_code("alice", Ask::Resume { id: pending.id.into() }).await.unwrap());
    assert_eq!(started.state, State::Active);
    assert_eq!(started.starts_at, Some(place.clock.now()));
}

#[tokio::test]
async fn a_person_takes_a_request_back_and_only_their_own() {
    let (place, _agent) = ready().await;
    let pending = asked(&place).await;
    let cancel = || Ask::Cancel { id: pending.id.into() };
    assert_eq!(code_of(place.ask("mallory", cancel()).await), Code::Gone);
    assert_eq!(code_of(place.ask("bob", cancel()).await), Code::Gone);
    assert_eq!(view(place.ask("alice", cancel()).await.unwrap()).state, State::Withdrawn);
    assert_eq!(code_of(place.ask("alice", cancel()).await), Code::Gone);
    assert_eq!(
        code_of(place.ask("mallory", Ask::Show { id: pending.id.into(), documents: false }).await),
        Code::Gone
    );
}

#[tokio::test]
async fn c06_a_key_that_was_taken_away_decides_nothing_more_on_a_connection_that_is_there() {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    place.factor("alice").await;
    place.factor("bob").await;
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let mut talk = place.talk(place.person("bob"), approve(&pending));
    let challenge = talk.challenge().await;
    // bob stays a person and an approver; only the key that this connection came with goes.
    place.write_policy(&POLICY.replace("\nbob = {}\n", "\nbob = { keys = [] }\n"));
    place.core.reload_policy().await.unwrap();
    talk.answer(challenge, &place.code("bob")).await;
    assert_eq!(code_of(talk.end().await), Code::NotEligible);
    assert_eq!(code_of(place.ask("bob", Ask::Overview).await), Code::NotEligible);
    assert_eq!(place.count("request.approved").await, 0);
    assert!(agent.acts().is_empty());
}

#[tokio::test]
async fn c11_a_login_that_becomes_somebody_elses_starts_nothing() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    agent.calls.send((1, Say::Ask(request("web-ops")))).await.unwrap();
    let (_, Reply::Challenge(challenge)) = soon("a challenge", agent.replied.recv()).await.unwrap() else {
        panic!("no challenge")
    };
    place.write_policy(
        &POLICY
            .replace("\nalice = {}\n", "\nalice = { login = \"alice2\" }\n")
            .replace("\nmallory = {}\n", "\nmallory = { login = \"alice\" }\n"),
    );
    place.core.reload_policy().await.unwrap();
    let code = Secret::new(place.code("alice"));
    agent.calls.send((1, Say::Answer { challenge: challenge.id, code })).await.unwrap();
    agent.calls.send((1, Say::Confirm { challenge: challenge.id, passed: true })).await.unwrap();
    let refused = loop {
        match soon("an answer", agent.replied.recv()).await.unwrap() {
            (_, Reply::Refused(refusal)) => break refusal,
            (_, Reply::Verdict { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused.code, Code::NotEligible);
    assert_eq!(place.count("request.created").await, 0);
}
