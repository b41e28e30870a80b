//! Locks: what they end, what they refuse, who lifts them, and that nothing slips through beside them.

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::lock::{LockView, LockWhat, LockedView};
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ActivationView, HostState, State};

use super::place::*;
use crate::core::Speaker;

fn person(who: &str) -> LockWhat {
    LockWhat::Person(name(who))
}

async fn lock_for(place: &Place, what: LockWhat, ttl: Option<&str>) -> LockedView {
    let reason = "laptop stolen".parse().unwrap();
    match place.admin(AdminAsk::Lock { what, ttl: ttl.map(span), reason }).await {
        AdminOutcome::Locked(view) => *view,
        other => panic!("{other:?}"),
    }
}

async fn lock(place: &Place, what: LockWhat) -> LockedView {
    lock_for(place, what, None).await
}

async fn unlock(place: &Place, what: LockWhat) -> Vec<LockView> {
    match place.admin(AdminAsk::Unlock { what, reason: "found again".parse().unwrap() }).await {
        AdminOutcome::Unlocked(views) => views,
        other => panic!("{other:?}"),
    }
}

async fn root(place: &Place, ask: AdminAsk) -> Result<Outcome, Refusal> {
    place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await
}

fn approve(view: &ActivationView) -> Ask {
    Ask::Approve { id: view.id.into(), reason: None }
}

/// Refused by a lock, at once: without a challenge.
async fn barred(place: &Place, who: &str, ask: Ask) -> String {
    let refusal = place.ask(who, ask).await.unwrap_err();
    assert_eq!(refusal.code, Code::Locked, "{refusal:?}");
    refusal.message
}

async fn scene() -> (Place, Obedient, Obedient) {
    let place = Place::new().await;
    let (web1, db1) = (place.enrol("web1", "web", 31).await, place.enrol("db1", "db", 32).await);
    let (web, db) = (place.obedient(&web1, 31).await, place.obedient(&db1, 32).await);
    for who in ["alice", "bob", "carol"] {
        place.factor(who).await;
    }
    (place, web, db)
}

/// The reserve is tried to its end before somebody is told that there is no room; and what is told so is not there.
#[tokio::test]
async fn r05_a_lock_without_room_has_all_of_the_reserve_and_is_set_once() {
    let place = Place::new().await;
    let store = &place.core.inner().store;
    store.has_room_for(1).await;
    let ask =
        |reason: &str| AdminAsk::Lock { what: person("alice"), ttl: None, reason: reason.parse().unwrap() };
    let mut there = 0;
    let refusal = loop {
        match root(&place, ask(&"why ".repeat(200))).await {
            Ok(_) => there += 1,
            Err(refusal) => break refusal,
        }
        assert!(there < 100, "the database grows without room");
    };
    assert_eq!(refusal.code, Code::Full, "{refusal:?}");
    assert_eq!(std::fs::metadata(place.folder.path().join("reserve")).unwrap().len(), 0);
    assert_eq!(place.count("lock.set").await, there);
    store.has_room_for(1_000_000).await;
    root(&place, ask("at last")).await.unwrap();
    assert_eq!(place.count("lock.set").await, there + 1);
}

#[tokio::test]
async fn a_locked_person_has_nothing_and_begins_nothing_also_after_restart_and_reload() {
    let (mut place, web, db) = scene().await;
    let active = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let told = lock_for(&place, person("alice"), Some("10h")).await;
    assert_eq!((told.ended.count, told.refused.count, told.withheld.count), (1, 1, 0));
    assert_eq!((told.ended.first[0].id, told.refused.first[0].id), (active.id, pending.id));
    assert_eq!(told.unconfirmed_count, 0);
    assert_eq!(web.acts(), ["grant", "end"]);
    for round in 0..3 {
        let asks = [
            request("web-ops"),
            Ask::Resume { id: pending.id.into() },
            Ask::Extend { id: None, by: span("10m"), reason: None },
            Ask::FactorTest,
            Ask::Requests { to_review: true, mine: false, watch: false },
            Ask::FactorAdd { invitation: elevate_protocol::secret::Secret::new("0".repeat(26)) },
        ];
        for ask in asks {
            let said = barred(&place, "alice", ask).await;
            assert!(
                said.starts_with("alice is locked by uid 0 on the daemon's machine since 2027-"),
                "{said}"
            );
            assert!(said.contains(" until 2027-") && said.ends_with(": laptop stolen"), "{said}");
        }
        assert!(place.ask("alice", Ask::Overview).await.is_ok(), "looking is no right");
        match round {
            0 => place.restart().await,
            _ => drop(place.core.reload_policy().await.unwrap()),
        }
    }
    // Nobody else is concerned.
    assert!(place.ask_with_code("bob", Ask::FactorTest).await.is_ok());
    place.clock.advance(10 * 3600);
    place.event("lock.expired", 1).await;
    drop((web, db));
    let web1 = place.enrol("web1", "web", 31).await;
    let _web = place.obedient(&web1, 31).await;
    assert_eq!(view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap()).state, State::Active);
    let counts = (place.count("lock.set").await, place.count("lock.refused").await);
    assert_eq!(counts, (1, 18));
}

/// "Approver leaves or is disabled between approval and activation."
#[tokio::test]
async fn c06_the_word_of_a_locked_approver_does_not_count_then_nor_later() {
    let (place, _web, db) = scene().await;
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    place.ask_with_code("bob", approve(&pending)).await.unwrap();
    lock(&place, person("bob")).await;
    barred(&place, "bob", approve(&pending)).await;
    let deny = Ask::Deny { id: pending.id.into(), reason: "no reason at all".parse().unwrap() };
    barred(&place, "bob", deny).await;
    let half = view(place.ask_with_code("carol", approve(&pending)).await.unwrap());
    assert_eq!((half.state, half.needs[0].approved.len()), (State::Pending, 1));
    assert_eq!(unlock(&place, person("bob")).await.len(), 1);
    let shown =
        view(place.ask("alice", Ask::Show { id: pending.id.into(), documents: false }).await.unwrap());
    assert_eq!(shown.needs[0].approved.len(), 1, "what was said before the lock stays worth nothing");
    let active = view(place.ask_with_code("bob", approve(&pending)).await.unwrap());
    assert_eq!(active.state, State::Active);
    place.event("grant.confirmed", 1).await;
    assert_eq!(db.acts(), ["grant"]);
    // What an approval has let start is told, and not ended: that is for an administrator to look at.
    let told = lock(&place, person("bob")).await;
    assert_eq!((told.ended.count, told.approved.count), (0, 1));
    assert_eq!(told.approved.first[0].id, pending.id);
}

#[tokio::test]
async fn c06_an_approved_request_waits_again_when_its_approver_is_locked() {
    let (place, _web, _db) = scene().await;
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    place.ask_with_code("bob", approve(&pending)).await.unwrap();
    place.clock.advance(601);
    let approved = view(place.ask_with_code("carol", approve(&pending)).await.unwrap());
    assert_eq!(approved.state, State::Approved);
    lock(&place, person("carol")).await;
    let show = Ask::Show { id: pending.id.into(), documents: false };
    assert_eq!(view(place.ask("alice", show).await.unwrap()).state, State::Pending);
}

#[tokio::test]
async fn a_locked_role_or_host_withholds_what_waits_until_it_is_unlocked() {
    for what in [LockWhat::Role(name("dba")), LockWhat::Host(name("db1")), LockWhat::Everything] {
        let (place, _web, db) = scene().await;
        let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
        place.ask_with_code("bob", approve(&pending)).await.unwrap();
        let told = lock(&place, what.clone()).await;
        assert_eq!((told.ended.count, told.refused.count, told.withheld.count), (0, 0, 1), "{what:?}");
        barred(&place, "carol", approve(&pending)).await;
        barred(&place, "alice", request("dba")).await;
        let can_i = Ask::CanI { role: name("dba"), host: Some(word("db1")) };
        let Ok(Outcome::Explanation(told)) = place.ask("alice", can_i).await else { panic!() };
        assert!(!told.yes && told.reasons[0].text.contains("is locked by"), "{told:?}");
        unlock(&place, what.clone()).await;
        let active = view(place.ask_with_code("carol", approve(&pending)).await.unwrap());
        assert_eq!(active.state, State::Active, "{what:?}");
        place.event("grant.confirmed", 1).await;
        assert_eq!(db.acts(), ["grant"], "{what:?}");
    }
}

#[tokio::test]
async fn a_locked_host_hears_ends_and_nobody_asks_through_its_door() {
    let (place, mut web, db) = scene().await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let told = lock(&place, LockWhat::Host(name("web1"))).await;
    assert_eq!((told.ended.count, told.unconfirmed_count), (1, 0));
    assert_eq!((web.acts(), db.acts()), (vec!["grant", "end"], vec![]));
    let say = elevate_protocol::message::person::Say::Ask(Ask::FactorTest);
    web.calls.send((7, say)).await.unwrap();
    let (_, reply) = soon("a reply", web.replied.recv()).await.unwrap();
    let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert_eq!(refusal.code, Code::Locked);
    assert!(refusal.message.starts_with("the host web1 is locked"), "{}", refusal.message);
    // Through her own key and elsewhere alice is who she was.
    assert!(place.ask_with_code("alice", Ask::FactorTest).await.is_ok());
}

#[tokio::test]
async fn everything_locked_is_everything_but_root() {
    let (place, web, _db) = scene().await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let told = lock(&place, LockWhat::Everything).await;
    assert_eq!(told.ended.count, 1);
    assert_eq!(web.acts(), ["grant", "end"]);
    for who in ["alice", "bob", "mallory"] {
        barred(&place, who, Ask::FactorTest).await;
    }
    let AdminOutcome::Locks(locks) = place.admin(AdminAsk::LockList).await else { panic!() };
    assert_eq!(locks.iter().map(|lock| &lock.what).collect::<Vec<_>>(), [&LockWhat::Everything]);
    unlock(&place, LockWhat::Everything).await;
    assert!(place.ask_with_code("alice", Ask::FactorTest).await.is_ok());
}

#[tokio::test]
async fn a_lock_says_where_nobody_confirmed_an_end_and_until_when_it_may_be_used() {
    let (place, web, _db) = scene().await;
    let web1_grant = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    drop(web);
    place.event("host.lost", 1).await;
    let told = lock(&place, LockWhat::Role(name("web-ops"))).await;
    assert_eq!((told.ended.count, told.unconfirmed_count), (1, 1));
    let open = &told.unconfirmed[0];
    assert!(matches!(open.state, HostState::Offline { since: Some(_) }), "{open:?}");
    assert_eq!((open.host.as_str(), open.until), ("web1", web1_grant.ends_at));
}

/// A lock that comes while a code is typed: the code was asked for before, the right is given after.
#[tokio::test]
async fn d06_a_lock_that_comes_between_the_code_and_the_right_has_the_last_word() {
    let (place, web, db) = scene().await;
    for what in [person("alice"), LockWhat::Role(name("web-ops")), LockWhat::Host(name("web1"))] {
        let mut talk = place.talk(place.person("alice"), request("web-ops"));
        let challenge = talk.challenge().await;
        let code = place.code("alice");
        lock(&place, what.clone()).await;
        talk.answer(challenge, &code).await;
        assert_eq!(code_of(talk.end().await), Code::Locked, "{what:?}");
        unlock(&place, what).await;
    }
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    place.ask_with_code("bob", approve(&pending)).await.unwrap();
    for what in [person("carol"), LockWhat::Role(name("dba")), LockWhat::Everything] {
        let mut talk = place.talk(place.person("carol"), approve(&pending));
        let challenge = talk.challenge().await;
        let code = place.code("carol");
        lock(&place, what.clone()).await;
        talk.answer(challenge, &code).await;
        assert_eq!(code_of(talk.end().await), Code::Locked, "{what:?}");
        unlock(&place, what).await;
    }
    assert!(web.acts().is_empty() && db.acts().is_empty());
    assert_eq!(place.count("grant.issued").await, 0);
}

#[tokio::test]
async fn a_slip_of_the_hand_is_no_lock() {
    let place = Place::new().await;
    let reason = || "a slip".parse().unwrap();
    for (what, code) in [
        (person("alcie"), Code::Usage),
        (LockWhat::Role(name("web-opps")), Code::UnknownRole),
        (LockWhat::Host(name("web1")), Code::UnknownHost),
    ] {
        let ask = AdminAsk::Lock { what: what.clone(), ttl: None, reason: reason() };
        assert_eq!(code_of(root(&place, ask).await), code, "{what:?}");
        let ask = AdminAsk::Unlock { what: what.clone(), reason: reason() };
        assert_eq!(code_of(root(&place, ask).await), Code::Gone, "{what:?}");
    }
    for ttl in ["366d"] {
        let ask = AdminAsk::Lock { what: person("alice"), ttl: Some(span(ttl)), reason: reason() };
        assert_eq!(code_of(root(&place, ask).await), Code::Usage);
    }
    // Two locks on one thing: the longer one counts, and unlocking lifts both.
    lock_for(&place, person("alice"), Some("1h")).await;
    lock_for(&place, person("alice"), Some("2h")).await;
    place.clock.advance(3600);
    place.event("lock.expired", 1).await;
    barred(&place, "alice", Ask::FactorTest).await;
    lock(&place, person("alice")).await;
    assert_eq!(unlock(&place, person("alice")).await.len(), 2);
    assert_eq!((place.count("lock.set").await, place.count("lock.lifted").await), (3, 2));
}
