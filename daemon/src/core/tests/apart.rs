//! What stays apart: hosts from each other's grants, and an end from a start that runs beside it; and one who asks too much from the rest. Threats C14, D10, H07.

use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent, UseKind, UseReport};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, RequestAsk};
use elevate_protocol::message::refusal::Code;

use super::place::*;

fn used() -> UseReport {
    UseReport {
        uid: 2000,
        kind: UseKind::Start,
        service: "sudo".parse().unwrap(),
        run_as: None,
        argv: vec![],
        directory: None,
        terminal: None,
        pid: 1,
    }
}

/// What db1's root can say of a grant that is web1's.
fn lies(about: ActivationId) -> [Report; 4] {
    [
        Report::Ended { grant: about, cause: EndCause::NotEnforced },
        Report::Ended { grant: about, cause: EndCause::NoContact },
        Report::Warned { grant: about, left: span("5m") },
        Report::Used { grants: vec![about], used: used() },
    ]
}

#[tokio::test]
async fn h07_what_a_host_says_of_anothers_grant_ends_nothing_names_nobody_and_is_answered_alike() {
    let place = Place::new().await;
    let (web1, db1) = (place.enrol("web1", "web", 31).await, place.enrol("db1", "db", 32).await);
    let web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    let mut liar = place.agent(&db1, 32).await;
    liar.hello(0).await;
    let nobodys = ActivationId::from_random([77; 16]);
    let mut number = 0;
    for about in [active.id, nobodys] {
        // A place of web1's log is none of db1's.
        for result in [Applied::Enforced, Applied::Refused { why: "no".parse().unwrap() }] {
            liar.claim(Claim::Applied { seq: 1, result }).await;
        }
        for report in lies(about) {
            number += 1;
            liar.claim(Claim::Report { number, at: place.clock.now(), report }).await;
            // No oracle: a grant that is another's and one that never was get the same answer.
            assert!(matches!(liar.frame().await, ToAgent::Recorded { number: told } if told == number));
        }
    }
    let mut told = 0;
    for event in place.events().await {
        if event.subject.host_id == Some(db1.host) {
            told += usize::from(event.kind.code() == "host.ended");
            assert_eq!((event.subject.activation, event.subject.person), (None, None), "{:?}", event.kind);
        }
    }
    assert_eq!((told, place.count("grant.ended").await), (4, 0));
    let live = place.core.inner().store.read().await.unwrap().in_phase("active").await.unwrap();
    assert_eq!(live.iter().map(|one| one.id).collect::<Vec<_>>(), [active.id]);
    assert_eq!(web.acts(), ["grant"]);
}

/// Whether alice holds anything.
async fn holds(place: &Place) -> bool {
    !place.core.inner().store.read().await.unwrap().in_phase("active").await.unwrap().is_empty()
}

/// Locks alice while her code is on its way; true when the grant began before it was ended.
async fn race(place: &Place, round: u32) -> bool {
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    let challenge = talk.challenge().await;
    let code = place.code("alice");
    // The order is the scheduler's, a little helped.
    let pause = async |turns: u32| {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    let begin = async {
        pause(round.wrapping_mul(7) % 40).await;
        talk.answer(challenge, &code).await;
        talk.end().await.is_ok()
    };
    let what = LockWhat::Person(name("alice"));
    let lock = async {
        pause(round.wrapping_mul(11) % 40).await;
        let ask = AdminAsk::Lock { what: what.clone(), ttl: None, reason: "laptop stolen".parse().unwrap() };
        place.admin(ask).await;
        assert!(!holds(place).await, "round {round}: the lock was answered and something is in force");
    };
    let (begun, ()) = tokio::join!(begin, lock);
    assert!(!holds(place).await, "round {round}: something began after the lock was answered");
    place.admin(AdminAsk::Unlock { what, reason: "found again".parse().unwrap() }).await;
    begun
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_after_a_lock_is_answered_nothing_is_in_force_and_nothing_begins() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let (mut begun, mut barred) = (0, 0);
    // As often as it takes to see both orders well.
    for round in 0.. {
        if begun >= 10 && barred >= 10 {
            break;
        }
        assert!(round < 1000, "only one order was seen: {begun} began, {barred} did not");
        if race(&place, round).await {
            begun += 1;
        } else {
            barred += 1;
        }
    }
    assert_eq!((place.count("grant.issued").await, place.count("grant.ended").await), (begun, begun));
    soon("the ends on the host", async {
        while web.acts().len() < 2 * begun {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(web.acts().chunks(2).all(|pair| pair == ["grant", "end"]), "{:?}", web.acts());
}

#[tokio::test]
async fn d10_one_person_has_so_many_open_requests_and_no_more() {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let _db = place.obedient(&db1, 32).await;
    let (before, dba) = POLICY.split_once("[roles.dba]").unwrap();
    let roles: String = (0..21).map(|number| format!("[roles.dba{number}]{dba}\n")).collect();
    place.write_policy(&format!("{before}{roles}"));
    place.core.reload_policy().await.unwrap();
    place.factor("alice").await;
    let nth = |number: u32, reason: &str| {
        Ask::Request(RequestAsk { reason: reason.parse().ok(), ..wanted(&format!("dba{number}"), false) })
    };
    let mut open = Vec::new();
    for number in 0..20 {
        open.push(view(place.ask_with_code("alice", nth(number, "the index is slow")).await.unwrap()).id);
    }
    // The same once more is the one that waits already, whatever is said with it: nobody is bothered again.
    assert_eq!(view(place.ask("alice", nth(7, "still slow, please")).await.unwrap()).id, open[7]);
    // Another one is refused before a code is asked for.
    assert_eq!(code_of(place.ask("alice", nth(20, "the index is slow")).await), Code::Busy);
    assert_eq!(place.count("request.created").await, 20);
    place.ask("alice", Ask::Cancel { id: open[0].into() }).await.unwrap();
    assert!(place.ask_with_code("alice", nth(20, "the index is slow")).await.is_ok());
}
