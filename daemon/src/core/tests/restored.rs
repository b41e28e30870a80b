//! A database that is laid back: its witness tells, and nothing is issued before root's word.

use std::path::PathBuf;

use elevate_audit::Kind;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RestoreView};
use elevate_protocol::message::agent::{Claim, Report, ToAgent};
use elevate_protocol::message::enrol::EnrolReply;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::State;

use super::place::*;
use crate::core::Speaker;
use crate::core::restore::seen_in;

const KEEPERS: &str = r#"
[roles.keepers]
who = ["carol", "dave"]
admin = ["people", "hosts", "locks"]
"#;

fn file(place: &Place, name: &str) -> PathBuf {
    place.folder.path().join(name)
}

/// What `docs/faults.md` calls a backup: the database alone, of a daemon that is stopped.
async fn backup(place: &mut Place) {
    place.core.close().await;
    assert!(!file(place, "elevated.db-wal").exists(), "all is in one file");
    std::fs::copy(file(place, "elevated.db"), file(place, "backup")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
}

async fn lay_back(place: &mut Place) {
    place.core.close().await;
    std::fs::copy(file(place, "elevated.db"), file(place, "newer")).unwrap();
    std::fs::copy(file(place, "backup"), file(place, "elevated.db")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
}

async fn known(place: &Place) -> Option<RestoreView> {
    match place.admin(AdminAsk::RestoreShow).await {
        AdminOutcome::Restore(view) => view,
        other => panic!("{other:?}"),
    }
}

fn accept() -> AdminAsk {
    AdminAsk::RestoreAccept { reason: "the disk of vault1 was lost".parse().unwrap() }
}

async fn root(place: &Place, ask: AdminAsk) -> Result<Outcome, Refusal> {
    place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await
}

fn lock(what: LockWhat) -> AdminAsk {
    AdminAsk::Lock { what, ttl: None, reason: "to be sure".parse().unwrap() }
}

fn invite(who: &str) -> Ask {
    Ask::Admin(AdminAsk::PersonInvite { person: name(who), valid: None })
}

/// alice and carol have factors; carol administers, alice has recovery codes. Then the backup is made.
async fn scene() -> (Place, Vec<elevate_protocol::secret::Secret>) {
    let mut place = Place::new().await;
    place.write_policy(&format!("{POLICY}{KEEPERS}"));
    place.admin(AdminAsk::PolicyReload).await;
    for who in ["alice", "carol"] {
        place.factor(who).await;
    }
    place.ask_with_code("carol", request("keepers")).await.unwrap();
    let Ok(Outcome::Recovery(codes)) = place.ask_with_code("alice", Ask::RecoveryMake).await else {
        panic!()
    };
    backup(&mut place).await;
    (place, codes)
}

#[tokio::test]
async fn r25_an_older_database_is_told_by_its_witness_and_nothing_begins_before_roots_word() {
    let (mut place, _) = scene().await;
    assert_eq!(known(&place).await, None);
    let before = u64::try_from(place.events().await.len()).unwrap();
    // Forgotten by what is laid back: carol administers no longer.
    place.ask("carol", Ask::Drop { id: None, all: false }).await.unwrap();
    lay_back(&mut place).await;
    for round in ["at once", "after a restart", "laid back again"] {
        match round {
            "after a restart" => place.restart().await,
            "laid back again" => lay_back(&mut place).await,
            _ => {}
        }
        let view = known(&place).await.unwrap();
        // The backup ended with the start that followed the stop of it, and everything after is not known.
        assert!(view.from < view.seen && view.seen > Some(before), "{round}: {view:?}");
        assert_eq!(place.count("restore.found").await, 1, "{round}");
        let refused = place.ask("alice", request("web-ops")).await.unwrap_err();
        assert_eq!(refused.code, Code::Locked, "{round}");
        assert!(refused.message.contains("restored from a backup"), "{refused:?}");
        assert!(refused.hint.unwrap().contains("elevatectl restore"));
        // What ended does not come alive: not the grant to administer, not for looking, not for the word itself.
        for ask in [invite("alice"), Ask::Admin(AdminAsk::PersonList), Ask::Admin(accept())] {
            assert_eq!(code_of(place.ask("carol", ask).await), Code::Locked, "{round}");
        }
        let mut listed = place.talk(Speaker::Root { uid: 0 }, Ask::Admin(AdminAsk::HostList));
        let Reply::Notice { text } = listed.next().await else { panic!("{round}") };
        assert!(text.raw().contains("elevatectl restore"), "{round}: {}", text.raw());
        let unlock = AdminAsk::Unlock { what: LockWhat::Everything, reason: "no".parse().unwrap() };
        assert_eq!(code_of(root(&place, unlock).await), Code::Locked, "{round}");
    }
    let AdminOutcome::Restored { ended, refused } = place.admin(accept()).await else { panic!() };
    assert_eq!((ended, refused), (1, 0));
    assert_eq!(code_of(place.ask("carol", invite("alice")).await), Code::NotEligible, "over by the word");
    assert_eq!(code_of(root(&place, accept()).await), Code::Gone);
    let mut listed = place.talk(Speaker::Root { uid: 0 }, Ask::Admin(AdminAsk::HostList));
    assert!(matches!(listed.next().await, Reply::Done(_)), "nothing is to be said");
    place.restart().await;
    assert_eq!(known(&place).await, None);
    place.clock.advance(60);
    place.ask_with_code("carol", request("keepers")).await.unwrap();
    assert!(place.ask("carol", invite("alice")).await.is_ok());
    assert_eq!(place.count("restore.accepted").await, 1);
    // The same backup once more is another restore.
    lay_back(&mut place).await;
    assert!(known(&place).await.is_some());
}

#[tokio::test]
async fn r25_what_may_have_been_used_since_the_backup_counts_no_longer_after_roots_word() {
    let (mut place, codes) = scene().await;
    let invitation = place.token(AdminAsk::PersonInvite { person: name("bob"), valid: None }).await;
    let token = place.invite_host("web1", "web").await;
    backup(&mut place).await;
    // Used, and forgotten.
    place.ask_with_code("alice", Ask::FactorTest).await.unwrap();
    lay_back(&mut place).await;
    let reply = place.enrol_with(token.clone(), 31).await;
    assert!(matches!(reply, EnrolReply::Refused(refusal) if refusal.code == Code::Locked));
    place.admin(accept()).await;
    let reply = place.enrol_with(token, 31).await;
    assert!(matches!(reply, EnrolReply::Refused(refusal) if refusal.code == Code::NotEligible));
    let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
    let challenge = talk.challenge().await;
    for _ in 0..2 {
        // The step that was used, and the one after it, whose code is taken as well.
        talk.answer(challenge, &place.same_code("alice")).await;
        assert!(matches!(talk.next().await, Reply::Verdict { accepted: false, .. }));
        place.clock.advance(30);
    }
    talk.answer(challenge, &place.same_code("alice")).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: true, .. }));
    for (who, basis) in [("bob", invitation), ("alice", codes[0].clone())] {
        let refused = place.ask(who, Ask::FactorAdd { invitation: basis }).await;
        assert_eq!(code_of(refused), Code::Factor, "{who}");
    }
    assert!(place.ask_with_code("alice", Ask::RecoveryMake).await.is_ok(), "new ones");
}

#[tokio::test]
async fn r25_rights_can_be_taken_away_all_the_time_and_what_was_in_force_ends_with_roots_word() {
    let mut place = Place::new().await;
    let (web1, db1) = (place.enrol("web1", "web", 31).await, place.enrol("db1", "db", 32).await);
    let agents = (place.obedient(&web1, 31).await, place.obedient(&db1, 32).await);
    place.factor("alice").await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    assert_eq!(pending.state, State::Pending);
    drop(agents);
    backup(&mut place).await;
    place.admin(lock(LockWhat::Role(name("dba")))).await;
    lay_back(&mut place).await;
    let web = place.obedient(&web1, 31).await;
    // By the own key, and by root: none of it waits for the word.
    assert!(place.ask("dave", Ask::LockMe { ttl: None, reason: None }).await.is_ok());
    assert!(root(&place, lock(LockWhat::Person(name("mallory")))).await.is_ok());
    // Nor is a host that is behind sent what may have ended since.
    assert!(web.acts().is_empty(), "{:?}", web.acts());
    assert_eq!(code_of(place.ask("alice", Ask::Resume { id: pending.id.into() }).await), Code::Locked);
    let AdminOutcome::Restored { ended, refused } = place.admin(accept()).await else { panic!() };
    assert_eq!((ended, refused), (1, 1));
    place.event("grant.confirmed", 2).await;
    assert_eq!(web.acts(), ["grant", "end"]);
    // Locks that were set meanwhile hold on.
    assert_eq!(code_of(place.ask("dave", Ask::FactorTest).await), Code::Locked);
    place.clock.advance(60);
    // Drop: again in force, then given back while the gate is closed.
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    backup(&mut place).await;
    place.ask("bob", Ask::LockMe { ttl: None, reason: None }).await.unwrap();
    lay_back(&mut place).await;
    assert!(place.ask("alice", Ask::Drop { id: None, all: true }).await.is_ok());
}

#[tokio::test]
async fn r25_contact_is_not_proven_while_it_is_not_known_what_a_host_was_to_be_told() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    backup(&mut place).await;
    place.admin(lock(LockWhat::Host(name("web1")))).await;
    lay_back(&mut place).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    agent.claim(Claim::Contact { nonce: Nonce::from_random([2; 16]) }).await;
    let report = Report::GateClosed { uid: 2000, why: "a test".parse().unwrap() };
    agent.claim(Claim::Report { number: 1, at: place.clock.now(), report }).await;
    assert!(matches!(agent.frame().await, ToAgent::Recorded { number: 1 }), "and no contact before it");
    place.admin(accept()).await;
    agent.claim(Claim::Contact { nonce: Nonce::from_random([3; 16]) }).await;
    assert!(matches!(agent.frame().await, ToAgent::Contact(_)));
}

#[tokio::test]
async fn r25_the_newer_database_fits_its_witness_again() {
    let (mut place, _) = scene().await;
    place.ask("carol", Ask::Drop { id: None, all: false }).await.unwrap();
    lay_back(&mut place).await;
    assert!(known(&place).await.is_some());
    place.core.close().await;
    std::fs::copy(file(&place, "newer"), file(&place, "elevated.db")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    assert_eq!(known(&place).await, None);
    assert_eq!(place.count("restore.found").await, 0);
    assert!(place.ask_with_code("alice", Ask::FactorTest).await.is_ok());
}

#[tokio::test]
async fn r25_a_witness_that_is_gone_damaged_or_of_another_log_closes_the_gate_too() {
    for how in ["gone", "damaged", "another cluster", "another event"] {
        let mut place = Place::new().await;
        place.restart().await;
        assert_eq!(known(&place).await, None);
        place.core.close().await;
        let path = file(&place, "witness");
        match how {
            "gone" => std::fs::remove_file(&path).unwrap(),
            "damaged" => std::fs::write(&path, "elevate-witness 1\n").unwrap(),
            "another cluster" => {
                let other = Place::new().await;
                other.core.close().await;
                std::fs::copy(file(&other, "witness"), &path).unwrap();
            }
            _ => {
                let (database, witness) = (file(&place, "elevated.db"), path);
                let before = (std::fs::read(&database).unwrap(), std::fs::read(&witness).unwrap());
                let mut seen = Vec::new();
                // Twice from the same point on, at different times: two logs of one cluster.
                for _ in 0..2 {
                    std::fs::write(&database, &before.0).unwrap();
                    std::fs::write(&witness, &before.1).unwrap();
                    place.clock.advance(60);
                    open(place.folder.path(), &place.clock).await.unwrap().close().await;
                    seen.push(std::fs::read(&witness).unwrap());
                }
                std::fs::write(&witness, &seen[0]).unwrap();
            }
        }
        place.core = open(place.folder.path(), &place.clock).await.unwrap();
        assert!(known(&place).await.is_some(), "{how}");
        assert_eq!(code_of(place.ask("alice", request("web-ops")).await), Code::Locked, "{how}");
        place.admin(accept()).await;
        place.restart().await;
        assert_eq!(known(&place).await, None, "{how}");
    }
}

/// A change that waits may have been stopped since: nothing counts by itself after a restore.
#[tokio::test]
async fn r25_what_waits_for_its_time_counts_by_a_word_only() {
    let (mut place, codes) = scene().await;
    let mut talk = place.talk(place.person("alice"), Ask::FactorAdd { invitation: codes[1].clone() });
    let Reply::Seed { uri } = talk.next().await else { panic!("no seed") };
    let app = totp_rs::Totp::from_url(uri.expose()).unwrap();
    let challenge = talk.challenge().await;
    let code = app.generate(u64::try_from(place.clock.now().0).unwrap()).to_string();
    talk.answer(challenge, &code).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: true, .. }));
    assert!(matches!(talk.end().await, Ok(Outcome::Waits { .. })));
    backup(&mut place).await;
    let reset = AdminAsk::PersonReset { person: name("alice"), reason: "it was not her".parse().unwrap() };
    place.admin(reset).await;
    assert_eq!(place.count("change.withdrawn").await, 1);
    lay_back(&mut place).await;
    place.clock.advance(3 * 86_400);
    place.admin(accept()).await;
    place.restart().await;
    let AdminOutcome::People(people) = place.admin(AdminAsk::PersonList).await else { panic!() };
    let waiting = people.into_iter().find(|one| one.person == name("alice")).unwrap().waiting;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].counts_at, None);
    assert_eq!(place.count("change.counts").await, 0);
    let accepted: Vec<Kind> = place.events().await.into_iter().map(|event| event.kind).collect();
    assert!(accepted.iter().any(|kind| matches!(kind, Kind::RestoreAccepted { from: Some(_), .. })));
}

/// As `elevated --check-config` looks: beside a daemon that works, and before one starts.
#[tokio::test]
async fn r25_an_older_database_is_seen_from_outside() {
    let (mut place, _) = scene().await;
    let seen = async |place: &Place| seen_in(place.folder.path(), place.clock.now()).await.unwrap();
    assert_eq!(seen(&place).await, None);
    place.admin(lock(LockWhat::Person(name("bob")))).await;
    place.core.close().await;
    std::fs::copy(file(&place, "elevated.db"), file(&place, "newer")).unwrap();
    std::fs::copy(file(&place, "backup"), file(&place, "elevated.db")).unwrap();
    let said = seen(&place).await.expect("it is older");
    assert!(said.contains("the witness saw") && said.contains("a daemon that starts"), "{said}");
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    let said = seen(&place).await.expect("the gate is closed");
    assert!(said.contains("nothing is issued before root says so"), "{said}");
    place.admin(accept()).await;
    assert_eq!(seen(&place).await, None);
    place.core.close().await;
    assert_eq!(seen(&place).await, None);
    std::fs::remove_file(file(&place, "witness")).unwrap();
    assert!(seen(&place).await.is_some_and(|said| said.contains("gone, or damaged")));
    std::fs::remove_file(file(&place, "elevated.db")).unwrap();
    assert_eq!(seen(&place).await, None, "there is nothing yet");
}
