//! Enrolment, and who may say what on a host's connection.

use elevate_protocol::id::HostId;
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Caller, Claim, Report, ToAgent};
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply, Enrolled};
use elevate_protocol::message::person::{Ask, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, VOUCH_NAMESPACE};

use super::place::*;
use crate::core::Holder;

fn refusal(reply: EnrolReply) -> Code {
    match reply {
        EnrolReply::Refused(refusal) => refusal.code,
        EnrolReply::Enrolled(enrolled) => panic!("{enrolled:?}"),
    }
}

#[tokio::test]
async fn h02_a_token_works_once_in_time_and_for_its_name() {
    let place = Place::new().await;
    let token = place.invite_host("web1", "web").await;
    let enrolled = match place.enrol_with(token.clone(), 31).await {
        EnrolReply::Enrolled(enrolled) => enrolled,
        EnrolReply::Refused(refusal) => panic!("{refusal:?}"),
    };
    assert_eq!(enrolled.name, name("web1"));
    assert_eq!(place.core.holder(key(31).public_key()), Holder::Host(enrolled.host));
    // Again, by the same host and by another.
    assert_eq!(refusal(place.enrol_with(token.clone(), 31).await), Code::NotEligible);
    assert_eq!(refusal(place.enrol_with(token, 40).await), Code::NotEligible);
    let late = place.invite_host("web2", "web").await;
    place.clock.advance(3600);
    assert_eq!(refusal(place.enrol_with(late, 41).await), Code::NotEligible);
    assert_eq!(refusal(place.enrol_with(Secret::new("0".repeat(26)), 41).await), Code::NotEligible);
    assert_eq!(place.core.holder(key(41).public_key()), Holder::Nobody);
    assert_eq!((place.count("host.enrolled").await, place.count("host.enrol-refused").await), (1, 4));
}

#[tokio::test]
async fn h02_keys_have_to_be_proven() {
    let place = Place::new().await;
    let token = place.invite_host("web1", "web").await;
    let (link, vouch) = (key(31), key(131));
    let line = |key: &ssh_key::PrivateKey| key.public_key().to_openssh().unwrap();
    let proof = |key: &ssh_key::PrivateKey, text: &str| {
        SignedBody::sign(text.to_owned(), key, VOUCH_NAMESPACE).unwrap().signature
    };
    let good = EnrolAsk {
        versions: Versions::OURS,
        token: token.clone(),
        link_key: line(&link),
        vouch_key: line(&vouch),
        vouch_proof: proof(&vouch, token.expose()),
    };
    let from = "10.0.0.9".parse().unwrap();
    for (what, bad) in [
        ("another's proof", EnrolAsk { vouch_proof: proof(&link, token.expose()), ..good.clone() }),
        ("a proof of another token", EnrolAsk { vouch_proof: proof(&vouch, "x"), ..good.clone() }),
        ("another link key", EnrolAsk { link_key: line(&key(77)), ..good.clone() }),
        ("one key for both", EnrolAsk { vouch_key: line(&link), ..good.clone() }),
        ("no key", EnrolAsk { vouch_key: "ssh-ed25519 x".into(), ..good.clone() }),
    ] {
        let reply = place.core.enrol(bad, link.public_key(), from).await;
        assert_eq!(refusal(reply), Code::Integrity, "{what}");
    }
    // None of these burnt the token.
    assert!(matches!(place.core.enrol(good, link.public_key(), from).await, EnrolReply::Enrolled(_)));
}

#[tokio::test]
async fn a_host_that_enrols_anew_takes_the_place_and_ends_what_was() {
    let place = Place::new().await;
    let before = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&before, 31).await;
    place.factor("alice").await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let after = place.enrol("web1", "web", 33).await;
    assert_ne!(before.host, after.host);
    assert_eq!(place.core.holder(key(31).public_key()), Holder::Nobody);
    assert_eq!(place.core.holder(key(33).public_key()), Holder::Host(after.host));
    assert_eq!(place.count("grant.ended").await, 1);
    drop(agent);
    let agent = place.obedient(&after, 33).await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    assert_eq!(agent.acts(), ["grant"]);
}

#[tokio::test]
async fn c13_a_vouch_repeated_or_of_another_host_ends_the_connection() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let db1 = place.enrol("db1", "db", 32).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    let report = Claim::Report {
        number: 1,
        at: place.clock.now(),
        report: Report::Started { agent: "0.1.0".into(), grants: 0 },
    };
    let signed = agent.sign(report);
    agent.send(signed.clone()).await;
    assert!(matches!(agent.frame().await, ToAgent::Recorded { number: 1 }));
    agent.send(signed).await;
    let ToAgent::Refused(refusal) = agent.frame().await else { panic!("not refused") };
    assert_eq!(refusal.code, Code::Integrity);
    assert!(agent.closed().await);
    // db1's keys on web1's connection.
    let mut stranger = place.agent(&web1, 32).await;
    stranger.host = db1.host;
    let hello = stranger.greeting(0);
    stranger.claim(Claim::Hello(hello)).await;
    assert!(matches!(stranger.frame().await, ToAgent::Refused(refusal) if refusal.code == Code::Integrity));
    place.event("host.refused", 2).await;
    assert_eq!(place.count("host.started").await, 1);
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    for (what, code) in [("versions", Code::Version), ("host", Code::Integrity)] {
        let mut agent = place.agent(&web1, 31).await;
        let mut hello = agent.greeting(0);
        match what {
            "versions" => hello.versions = Versions { lowest: 7, highest: 9 },
            _ => hello.host = HostId::from_random([1; 16]),
        }
        agent.claim(Claim::Hello(hello)).await;
        let ToAgent::Refused(refusal) = agent.frame().await else { panic!("{what}") };
        assert_eq!(refusal.code, code, "{what}");
    }
}

#[tokio::test]
async fn a_host_with_another_time_gets_no_new_grants() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    place.factor("alice").await;
    let mut agent = place.agent(&web1, 31).await;
    let mut hello = agent.greeting(0);
    hello.time = hello.time.after(elevate_protocol::time::Span(61));
    agent.claim(Claim::Hello(hello)).await;
    assert!(matches!(agent.frame().await, ToAgent::Welcome { .. }));
    agent.accounts().await;
    let refusal = place.ask("alice", request("web-ops")).await.unwrap_err();
    assert_eq!(refusal.code, Code::Host, "{refusal:?}");
    assert_eq!(place.count("host.clock-skew").await, 1);
}

#[tokio::test]
async fn a_silent_host_is_lost_and_a_report_counts_once() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    let report = Report::Tampered { what: "a drop-in that nobody made".parse().unwrap() };
    for _ in 0..3 {
        agent.claim(Claim::Report { number: 7, at: place.clock.now(), report: report.clone() }).await;
        assert!(matches!(agent.frame().await, ToAgent::Recorded { number: 7 }));
    }
    assert_eq!(place.count("host.tampered").await, 1);
    place.clock.advance(45);
    assert!(agent.closed().await);
    place.event("host.lost", 1).await;
}

#[tokio::test]
async fn h02_a_key_of_nobody_cannot_fill_the_log() {
    let place = Place::new().await;
    for _ in 0..50 {
        assert_eq!(refusal(place.enrol_with(Secret::new("0".repeat(26)), 41).await), Code::NotEligible);
    }
    assert_eq!(place.count("host.enrol-refused").await, 10);
    place.clock.advance(60);
    place.enrol_with(Secret::new("0".repeat(26)), 41).await;
    let last = place.events().await.pop().unwrap();
    assert!(last.to_line().unwrap().contains("40 refusals before this one were not recorded"));
}

/// What a host claims of accounts and callers is its own claim; no claim reaches the system's accounts.
#[tokio::test]
async fn a06_no_claim_of_a_host_gives_a_system_account_a_grant() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    place.factor("alice").await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    assert!(matches!(agent.next().await, ToAgent::Offers { .. }));
    for (conversation, uid) in (1..).zip([0, 1, 999, 65_534, 65_535, u32::MAX]) {
        // Door 2: the account that the host says the login is.
        let uids = std::collections::BTreeMap::from([("alice".parse().unwrap(), uid)]);
        agent.claim(Claim::Accounts { uids }).await;
        // Door 1: the caller that the host says is there. Its answer comes after the accounts were taken.
        let caller = Caller { uid, login: "alice".parse().unwrap() };
        let say = Say::Ask(request("web-ops"));
        agent.claim(Claim::Conversation { conversation, caller, say }).await;
        match agent.frame().await {
            ToAgent::Conversation { reply: Reply::Refused(refused), .. } => {
                assert_eq!(refused.code, Code::NotEligible, "{uid}");
            }
            other => panic!("{uid}: {other:?}"),
        }
        let refused = place.ask("alice", request("web-ops")).await.unwrap_err();
        assert_eq!(refused.code, Code::NotEligible, "{uid}: {refused:?}");
        assert!(refused.message.contains(&format!("uid {uid} ")), "{refused:?}");
    }
    assert_eq!((place.count("request.created").await, place.count("grant.issued").await), (0, 0));
    // A person's account is granted what was refused: nothing else was in the way.
    agent.accounts().await;
    let report = Report::Started { agent: "0.1.0".into(), grants: 0 };
    agent.claim(Claim::Report { number: 1, at: place.clock.now(), report }).await;
    assert!(matches!(agent.frame().await, ToAgent::Recorded { number: 1 }));
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    place.event("grant.issued", 1).await;
}

/// alice's request for dba has one approval of two, and db1 is away: its host, the request, what the second approver says.
async fn half_approved() -> (Place, Enrolled, ActivationView, Ask) {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let agent = place.obedient(&db1, 32).await;
    for who in ["alice", "bob", "carol"] {
        place.factor(who).await;
    }
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let approve = Ask::Approve { id: pending.id.into(), reason: None };
    place.ask_with_code("bob", approve.clone()).await.unwrap();
    drop(agent);
    place.event("host.lost", 1).await;
    (place, db1, pending, approve)
}

#[tokio::test]
async fn c11_an_account_that_is_another_one_by_then_starts_nothing() {
    let (place, db1, _, approve) = half_approved().await;
    // alice was removed there and made anew, with the uid of nobody knows whom.
    let mut again = place.agent(&db1, 32).await;
    again.hello(0).await;
    assert!(matches!(again.next().await, ToAgent::Offers { .. }));
    let uids = std::collections::BTreeMap::from([("alice".parse().unwrap(), 2001)]);
    again.claim(Claim::Accounts { uids }).await;
    let report = Report::Started { agent: "0.1.0".into(), grants: 0 };
    again.claim(Claim::Report { number: 1, at: place.clock.now(), report }).await;
    assert!(matches!(again.frame().await, ToAgent::Recorded { number: 1 }));
    let refused = view(place.ask_with_code("carol", approve).await.unwrap());
    assert!(
        matches!(&refused.state, State::Refused { reason } if reason.contains("uid 2001")),
        "{refused:?}"
    );
    assert_eq!((place.count("grant.issued").await, place.count("request.refused").await), (0, 1));
}

#[tokio::test]
async fn a_clock_that_went_wrong_since_the_request_is_waited_for() {
    let (place, db1, pending, approve) = half_approved().await;
    let mut wrong = place.agent(&db1, 32).await;
    let mut hello = wrong.greeting(0);
    hello.time = hello.time.after(elevate_protocol::time::Span(61));
    wrong.claim(Claim::Hello(hello)).await;
    assert!(matches!(wrong.frame().await, ToAgent::Welcome { .. }));
    let approved = view(place.ask_with_code("carol", approve).await.unwrap());
    assert_eq!(approved.state, State::Approved);
    let resume = Ask::Resume { id: pending.id.into() };
    assert_eq!(place.ask("alice", resume.clone()).await.unwrap_err().code, Code::Host);
    drop(wrong);
    place.event("host.lost", 2).await;
    let agent = place.obedient(&db1, 32).await;
    let active = view(place.ask_with_code("alice", resume).await.unwrap());
    assert_eq!((active.state, agent.acts()), (State::Active, vec!["grant"]));
}
