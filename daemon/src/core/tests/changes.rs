//! A factor in the place of another, and a key that a person did not have: they wait, for a second administrator or a day.

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::ChangeView;
use elevate_protocol::secret::Secret;
use ssh_key::HashAlg;
use totp_rs::Totp;

use super::place::*;
use crate::core::{Holder, Speaker};

const KEEPERS: &str = r#"
[roles.keepers]
who = ["carol", "dave"]
admin = ["people", "locks"]
"#;

async fn scene() -> Place {
    let place = Place::new().await;
    place.write_policy(&format!("{POLICY}{KEEPERS}"));
    place.admin(AdminAsk::PolicyReload).await;
    for who in ["alice", "carol"] {
        place.factor(who).await;
    }
    place.ask_with_code("carol", request("keepers")).await.unwrap();
    place
}

async fn waiting(place: &Place, who: &str) -> Vec<ChangeView> {
    let AdminOutcome::People(people) = place.admin(AdminAsk::PersonList).await else { panic!() };
    people.into_iter().find(|one| one.person == name(who)).unwrap().waiting
}

fn confirm(who: &str, what: &str) -> AdminAsk {
    AdminAsk::PersonConfirm { person: name(who), what: what.parse().unwrap() }
}

async fn root(place: &Place, ask: AdminAsk) -> Result<Outcome, Refusal> {
    place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await
}

/// Enrols anew with this in the place of an invitation; the app, and what was said.
async fn enrol_anew(place: &Place, who: &str, basis: Secret) -> (Totp, Outcome) {
    let mut talk = place.talk(place.person(who), Ask::FactorAdd { invitation: basis });
    let Reply::Seed { uri } = talk.next().await else { panic!("no seed") };
    let app = Totp::from_url(uri.expose()).unwrap();
    let challenge = talk.challenge().await;
    talk.answer(challenge, &code_at(place, &app)).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: true, .. }));
    (app, talk.end().await.unwrap())
}

fn code_at(place: &Place, app: &Totp) -> String {
    app.generate(u64::try_from(place.clock.now().0).unwrap()).to_string()
}

/// Whether a code of this app counts, in a step of its own.
async fn counts(place: &Place, who: &str, app: &Totp) -> bool {
    place.clock.advance(30);
    let mut talk = place.talk(place.person(who), Ask::FactorTest);
    let challenge = match talk.next().await {
        Reply::Challenge(challenge) => challenge.id,
        Reply::Refused(refusal) => {
            assert_eq!(refusal.code, Code::Factor);
            return false;
        }
        other => panic!("{other:?}"),
    };
    talk.answer(challenge, &code_at(place, app)).await;
    matches!(talk.next().await, Reply::Verdict { accepted: true, .. })
}

#[tokio::test]
async fn d07_a_second_factor_waits_a_day_and_the_first_counts_meanwhile() {
    let mut place = scene().await;
    let invitation = place.token(AdminAsk::PersonInvite { person: name("alice"), valid: None }).await;
    let (app, said) = enrol_anew(&place, "alice", invitation).await;
    assert!(matches!(said, Outcome::Waits { counts_at } if counts_at == place.clock.now().after(span("1d"))));
    assert!(!counts(&place, "alice", &app).await);
    assert!(place.ask_with_code("alice", Ask::FactorTest).await.is_ok(), "the old one");
    // Over a restart and a reload it waits on.
    place.restart().await;
    place.admin(AdminAsk::PolicyReload).await;
    assert_eq!(waiting(&place, "alice").await.len(), 1);
    assert!(!counts(&place, "alice", &app).await);
    place.clock.advance(86_400);
    place.event("change.counts", 1).await;
    assert!(counts(&place, "alice", &app).await);
    assert!(waiting(&place, "alice").await.is_empty());
    assert_eq!((place.count("change.waits").await, place.count("factor.enrolled").await), (1, 2));
}

#[tokio::test]
async fn d07_a_second_administrator_confirms_and_neither_the_first_nor_the_person_does() {
    let place = scene().await;
    place.factor("dave").await;
    // Root resets: the lost phone counts no longer, and nothing else does yet.
    let reset = AdminAsk::PersonReset { person: name("alice"), reason: "phone lost".parse().unwrap() };
    let invitation = place.token(reset).await;
    assert_eq!(code_of(place.ask("alice", Ask::FactorTest).await), Code::Factor);
    let (app, said) = enrol_anew(&place, "alice", invitation).await;
    assert!(matches!(said, Outcome::Waits { .. }), "{said:?}");
    assert!(!counts(&place, "alice", &app).await);
    assert_eq!(code_of(root(&place, confirm("alice", "factor")).await), Code::NotEligible);
    assert_eq!(code_of(place.ask("carol", Ask::Admin(confirm("carol", "factor"))).await), Code::NotEligible);
    assert_eq!(code_of(place.ask("dave", Ask::Admin(confirm("alice", "factor"))).await), Code::NotEligible);
    assert!(place.ask("carol", Ask::Admin(confirm("alice", "factor"))).await.is_ok());
    assert!(counts(&place, "alice", &app).await);
    assert_eq!(code_of(place.ask("carol", Ask::Admin(confirm("alice", "factor"))).await), Code::Gone);
    // The other way round: an administrator invites, root is the second.
    let invite = Ask::Admin(AdminAsk::PersonInvite { person: name("alice"), valid: None });
    let Ok(Outcome::Admin(AdminOutcome::Paste { line, .. })) = place.ask("carol", invite).await else {
        panic!()
    };
    let invitation = line.expose().parse::<elevate_protocol::paste::Paste>().unwrap().token.unwrap();
    let (app, _) = enrol_anew(&place, "alice", invitation).await;
    assert_eq!(code_of(place.ask("carol", Ask::Admin(confirm("alice", "factor"))).await), Code::NotEligible);
    assert!(root(&place, confirm("alice", "factor")).await.is_ok());
    assert!(counts(&place, "alice", &app).await);
}

#[tokio::test]
async fn d07_a_recovery_code_stands_for_the_invitation_and_what_it_begins_waits() {
    let place = scene().await;
    let Ok(Outcome::Recovery(codes)) = place.ask_with_code("alice", Ask::RecoveryMake).await else {
        panic!()
    };
    let wrong = Ask::FactorAdd { invitation: Secret::new("0000-0000-0000".into()) };
    assert_eq!(code_of(place.ask("alice", wrong).await), Code::Factor);
    let (app, said) = enrol_anew(&place, "alice", codes[0].clone()).await;
    assert!(matches!(said, Outcome::Waits { .. }), "{said:?}");
    assert!(!counts(&place, "alice", &app).await);
    let again = Ask::FactorAdd { invitation: codes[0].clone() };
    assert_eq!(code_of(place.ask("alice", again).await), Code::Factor, "it was used up");
    assert!(root(&place, confirm("alice", "factor")).await.is_ok());
    assert!(counts(&place, "alice", &app).await);
    assert_eq!(place.count("recovery.used").await, 1);
}

#[tokio::test]
async fn d07_a_lock_stops_the_clock_of_what_waits() {
    let place = scene().await;
    let invitation = place.token(AdminAsk::PersonInvite { person: name("alice"), valid: None }).await;
    let (app, _) = enrol_anew(&place, "alice", invitation).await;
    place.ask("alice", Ask::LockMe { ttl: Some(span("1h")), reason: None }).await.unwrap();
    place.clock.advance(3 * 86_400);
    place.event("lock.expired", 1).await;
    assert!(!counts(&place, "alice", &app).await);
    assert_eq!(waiting(&place, "alice").await[0].counts_at, None);
    let grant = AdminAsk::Unlock { what: LockWhat::Person(name("alice")), reason: "over".parse().unwrap() };
    assert_eq!(code_of(root(&place, grant).await), Code::Gone);
}

/// The policy with another key for bob; alone, or beside the one that he has.
fn with_key(key: &ssh_key::PrivateKey, beside: bool) -> String {
    let line = key.public_key().to_openssh().unwrap();
    let old = persons_key("bob").public_key().to_openssh().unwrap();
    let keys = if beside { format!("{old:?}, {line:?}") } else { format!("{line:?}") };
    POLICY.replace("\nbob = {}\n", &format!("\nbob = {{ keys = [{keys}] }}\n")) + KEEPERS
}

#[tokio::test]
async fn d07_a_key_that_a_person_did_not_have_waits_and_one_that_went_counts_no_longer() {
    let mut place = scene().await;
    let fresh = key(77);
    let print = fresh.public_key().fingerprint(HashAlg::Sha256).to_string();
    let holder = |place: &Place| place.core.holder(fresh.public_key());
    let bob = Holder::Person(name("bob"));
    place.write_policy(&with_key(&fresh, true));
    place.admin(AdminAsk::PolicyReload).await;
    for round in ["at once", "after a restart", "after a reload"] {
        match round {
            "after a restart" => place.restart().await,
            "after a reload" => drop(place.admin(AdminAsk::PolicyReload).await),
            _ => {}
        }
        assert_eq!(
            (holder(&place), place.core.holder(persons_key("bob").public_key())),
            (Holder::Nobody, bob.clone()),
            "{round}"
        );
    }
    // On a connection that somehow is there already it says nothing either.
    let speaker =
        Speaker::Person { name: name("bob"), key: print.clone(), address: "10.1.2.3".parse().unwrap() };
    assert_eq!(code_of(place.talk(speaker, Ask::Whoami).end().await), Code::NotEligible);
    assert_eq!(waiting(&place, "bob").await[0].what, print);
    assert_eq!(code_of(root(&place, confirm("bob", &print)).await), Code::NotEligible, "root reloaded");
    assert!(place.ask("carol", Ask::Admin(confirm("bob", &print))).await.is_ok());
    assert_eq!(holder(&place), bob);
    // Away and back: a new one again. And alone: the old one is gone at once, so that nobody is bob for a day.
    place.write_policy(&format!("{POLICY}{KEEPERS}"));
    place.admin(AdminAsk::PolicyReload).await;
    assert_eq!(holder(&place), Holder::Nobody);
    place.write_policy(&with_key(&fresh, false));
    place.admin(AdminAsk::PolicyReload).await;
    assert_eq!(holder(&place), Holder::Nobody);
    assert_eq!(place.core.holder(persons_key("bob").public_key()), Holder::Nobody);
    place.clock.advance(86_400);
    place.event("change.counts", 2).await;
    assert_eq!(holder(&place), bob);
    assert_eq!(place.count("change.waits").await, 2);
}

#[tokio::test]
async fn the_first_keys_and_the_first_factor_count_at_once() {
    let place = scene().await;
    let first = key(78);
    let line = first.public_key().to_openssh().unwrap();
    place.write_policy(
        &POLICY.replace("\nbob = {}\n", &format!("\nbob = {{}}\nerin = {{ keys = [{line:?}] }}\n")),
    );
    place.admin(AdminAsk::PolicyReload).await;
    assert_eq!(place.core.holder(first.public_key()), Holder::Person(name("erin")));
    place.factor("bob").await;
    assert!(place.ask_with_code("bob", Ask::FactorTest).await.is_ok());
    assert_eq!(place.count("change.waits").await, 0);
}
