//! Administration with one's own key: under a live grant of a role that gives the part, and never about oneself.

use elevate_policy::AdminPart;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RevokeWhat};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;

use super::place::*;

const KEEPERS: &str = r#"
[roles.keepers]
title = "People, hosts and locks"
who = ["carol", "dave"]
admin = ["people", "hosts", "locks"]
approve = [{ need = 1, of = ["bob", "dave"], within = "1h" }]

[roles.readers]
who = ["carol"]
admin = ["audit", "policy"]
"#;

/// A daemon with roles that administer, and factors for those who are in them.
async fn scene() -> Place {
    let place = Place::new().await;
    place.write_policy(&format!("{POLICY}{KEEPERS}"));
    place.admin(AdminAsk::PolicyReload).await;
    for who in ["bob", "carol"] {
        place.factor(who).await;
    }
    place
}

fn invite(who: &str) -> Ask {
    Ask::Admin(AdminAsk::PersonInvite { person: name(who), valid: None })
}

fn unlock(what: LockWhat) -> Ask {
    Ask::Admin(AdminAsk::Unlock { what, reason: "it was nothing".parse().unwrap() })
}

/// One ask of each part.
fn one_of_each() -> [(AdminPart, Ask); 5] {
    [
        (AdminPart::People, Ask::Admin(AdminAsk::PersonList)),
        (AdminPart::Hosts, Ask::Admin(AdminAsk::HostList)),
        (AdminPart::Locks, Ask::Admin(AdminAsk::LockList)),
        (AdminPart::Policy, Ask::Admin(AdminAsk::PolicyShow)),
        (AdminPart::Audit, Ask::Admin(AdminAsk::AuditTail { last: 1, follow: false })),
    ]
}

/// Carol's grant to administer, with bob's word.
async fn keeper(place: &Place) -> elevate_protocol::message::view::ActivationView {
    let asked = view(place.ask_with_code("carol", request("keepers")).await.unwrap());
    assert_eq!(asked.state, State::Pending);
    let approve = Ask::Approve { id: asked.id.into(), reason: None };
    let active = view(place.ask_with_code("bob", approve).await.unwrap());
    assert_eq!((active.state.clone(), active.hosts.len()), (State::Active, 0));
    active
}

#[tokio::test]
async fn c01_nobody_administers_without_a_live_grant_of_exactly_that_part() {
    let place = scene().await;
    for (_, ask) in one_of_each() {
        assert_eq!(code_of(place.ask("carol", ask.clone()).await), Code::NotEligible, "{ask:?}");
        // Eligible for nothing: the same, without a role to try.
        assert_eq!(code_of(place.ask("mallory", ask).await), Code::NotEligible);
    }
    let refused = place.ask("carol", invite("alice")).await.unwrap_err();
    assert_eq!(refused.hint.as_deref(), Some("elevate keepers"));
    assert_eq!(place.count("admin.refused").await, 11);
    let grant = keeper(&place).await;
    for (part, ask) in one_of_each() {
        let given = matches!(part, AdminPart::People | AdminPart::Hosts | AdminPart::Locks);
        assert_eq!(place.ask("carol", ask).await.is_ok(), given, "{part:?}");
    }
    // What was approved for carol is carol's.
    assert_eq!(code_of(place.ask("bob", invite("alice")).await), Code::NotEligible);
    // Over is over: given back, revoked or by time.
    place.ask("carol", Ask::Drop { id: None, all: false }).await.unwrap();
    assert_eq!(code_of(place.ask("carol", invite("alice")).await), Code::NotEligible);
    let again = keeper(&place).await;
    assert_ne!(again.id, grant.id);
    assert!(place.ask("carol", invite("alice")).await.is_ok());
    place.clock.advance(3600);
    assert_eq!(code_of(place.ask("carol", invite("alice")).await), Code::NotEligible);
    let events = place.events().await;
    let granted = events.iter().filter(|event| event.kind.code() == "admin.granted").count();
    assert_eq!((granted, place.count("grant.issued").await), (2, 0));
}

#[tokio::test]
async fn c01_nobody_administers_their_own_person() {
    let place = scene().await;
    keeper(&place).await;
    for ask in [invite("carol"), unlock(LockWhat::Person(name("carol")))] {
        let refused = place.ask("carol", ask).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (Code::NotEligible, "nobody administers their own person")
        );
    }
    assert_eq!(place.count("admin.refused").await, 2);
    assert!(place.ask("carol", invite("alice")).await.is_ok());
    // A lock on oneself is lifted by another only, and a locked person administers nothing meanwhile.
    place.ask("carol", Ask::LockMe { ttl: None, reason: None }).await.unwrap();
    assert_eq!(code_of(place.ask("carol", invite("alice")).await), Code::Locked);
    assert_eq!(code_of(place.ask("carol", unlock(LockWhat::Person(name("carol")))).await), Code::Locked);
}

/// A part that the role got after the approval was approved by nobody.
#[tokio::test]
async fn c06_a_role_that_grew_since_the_grant_gives_nothing_until_it_is_activated_again() {
    let place = scene().await;
    keeper(&place).await;
    place.write_policy(&format!("{POLICY}{}", KEEPERS.replace(r#""locks"]"#, r#""locks", "audit"]"#)));
    place.admin(AdminAsk::PolicyReload).await;
    for (_, ask) in one_of_each() {
        assert_eq!(code_of(place.ask("carol", ask).await), Code::NotEligible);
    }
    // And one that is gone ends the grant.
    place.write_policy(POLICY);
    place.admin(AdminAsk::PolicyReload).await;
    assert_eq!(place.count("grant.ended").await, 1);
}

#[tokio::test]
async fn a_grant_to_administer_is_no_hosts_matter() {
    let place = scene().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut web = place.obedient(&web1, 31).await;
    // Through a host nobody administers, nor becomes able to.
    for (conversation, ask) in [(1, request("keepers")), (2, Ask::Admin(AdminAsk::PersonList))] {
        web.calls.send((conversation, Say::Ask(ask))).await.unwrap();
        let (_, reply) = soon("a reply", web.replied.recv()).await.unwrap();
        assert!(matches!(&reply, Reply::Refused(refusal) if refusal.code == Code::WrongDoor), "{reply:?}");
    }
    let mut wish = wanted("keepers", false);
    wish.hosts = vec![word("web1")];
    let refused = place.ask("carol", Ask::Request(wish)).await.unwrap_err();
    assert!(refused.message.contains("administers Elevate itself and has no hosts"), "{refused:?}");
    keeper(&place).await;
    assert!(web.acts().is_empty());
    let listed = place.ask("carol", Ask::Eligible).await.unwrap();
    let Outcome::Eligible(roles) = listed else { panic!("{listed:?}") };
    assert!(roles.iter().any(|role| role.role == name("keepers") && role.hosts.is_empty()));
}

#[tokio::test]
async fn who_follows_the_log_by_a_grant_hears_nothing_after_its_end() {
    let place = scene().await;
    place.ask_with_code("carol", request("readers")).await.unwrap();
    let mut talk =
        place.talk(place.person("carol"), Ask::Admin(AdminAsk::AuditTail { last: 1, follow: true }));
    assert!(matches!(talk.next().await, Reply::Event(_)));
    let what = RevokeWhat::Role(name("readers"));
    place.admin(AdminAsk::Revoke { what, reason: "no more reading".parse().unwrap() }).await;
    assert_eq!(code_of(talk.end().await), Code::NotEligible);
}

#[tokio::test]
async fn an_administrator_locks_and_the_log_says_who_and_with_which_key() {
    let place = scene().await;
    keeper(&place).await;
    let lock = AdminAsk::Lock {
        what: LockWhat::Person(name("alice")),
        ttl: None,
        reason: "laptop stolen".parse().unwrap(),
    };
    let told = place.ask("carol", Ask::Admin(lock)).await.unwrap();
    let Outcome::Admin(AdminOutcome::Locked(told)) = told else { panic!("{told:?}") };
    assert_eq!(told.lock.by.raw(), "carol");
    let events = place.events().await;
    let used: Vec<_> = events.iter().filter(|event| event.kind.code() == "admin.used").collect();
    let line = used.last().unwrap().to_line().unwrap();
    assert!(line.contains(r#""actor":{"person":"carol"}"#) && line.contains(r#""door":{"key""#), "{line}");
    // Everything locked: no grant helps, root does.
    place
        .ask(
            "carol",
            Ask::Admin(AdminAsk::Lock {
                what: LockWhat::Everything,
                ttl: None,
                reason: "looking at it".parse().unwrap(),
            }),
        )
        .await
        .unwrap();
    assert_eq!(code_of(place.ask("carol", unlock(LockWhat::Everything)).await), Code::Locked);
    let unlock = AdminAsk::Unlock { what: LockWhat::Everything, reason: "it was nothing".parse().unwrap() };
    assert!(matches!(place.admin(unlock).await, AdminOutcome::Unlocked(locks) if locks.len() == 1));
}
