//! A host with another log than ours: nobody's word is taken for it but the host's root's.

use elevate_audit::Kind;
use elevate_protocol::document::{Act, Document, End, EndCause, FORMAT};
use elevate_protocol::epoch::NewEpoch;
use elevate_protocol::id::{ActivationId, ClusterId, Nonce};
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::agent::{AgentHello, Applied, Claim, ToAgent};
use elevate_protocol::message::enrol::Enrolled;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{HostState, State};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody};

use super::place::*;

/// alice holds web-ops on web1, whose agent has applied the grant and is gone.
async fn in_force() -> (Place, Enrolled, Vec<SignedBody>) {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    agent.accounts().await;
    place.factor("alice").await;
    let mut talk = place.talk(place.person("alice"), waiting("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    agent.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    assert_eq!(view(talk.end().await.unwrap()).state, State::Active);
    drop(agent);
    place.event("host.lost", 1).await;
    (place, web1, vec![signed])
}

/// What the daemon answers to a hello: the new epoch, or none when it bids welcome.
async fn greeted(place: &Place, web1: &Enrolled, change: impl FnOnce(&mut AgentHello)) -> Option<u32> {
    greeted_as(place, (web1, 31), change).await
}

async fn greeted_as(
    place: &Place,
    (web1, seed): (&Enrolled, u8),
    change: impl FnOnce(&mut AgentHello),
) -> Option<u32> {
    let mut agent = place.agent(web1, seed).await;
    let mut hello = agent.greeting(0);
    hello.nonce = Nonce::from_random([5; 16]);
    change(&mut hello);
    agent.claim(Claim::Hello(hello)).await;
    match agent.frame().await {
        ToAgent::Welcome { .. } => None,
        ToAgent::Epoch(signed) => {
            let to = (place.core.cluster(), web1.host, Nonce::from_random([5; 16]));
            let said = NewEpoch::open(&signed, &agent.trust, to).unwrap();
            assert!(
                matches!(agent.frame().await, ToAgent::Refused(refusal) if refusal.code == Code::Integrity)
            );
            assert!(agent.closed().await);
            Some(said.epoch)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn r25_a_host_that_is_ahead_waits_for_its_root_and_loses_what_was_active() {
    let (place, web1, _) = in_force().await;
    for _ in 0..3 {
        assert_eq!(greeted(&place, &web1, |hello| hello.seq = 5).await, Some(2), "said as often as asked");
    }
    let begun: Vec<Kind> = place.events().await.into_iter().map(|event| event.kind).collect();
    assert_eq!(begun.iter().filter(|kind| kind.code() == "host.epoch").count(), 1);
    assert!(begun.contains(&Kind::HostEpoch { epoch: 2, before: 1, place: 5 }));
    assert!(begun.iter().any(|kind| matches!(kind, Kind::GrantEnded { cause: EndCause::Restored, .. })));
    // Its root has said so: a log that begins anew, without anything of the one before.
    let mut agent = place.agent(&web1, 31).await;
    let mut hello = agent.greeting(0);
    hello.epoch = 2;
    agent.claim(Claim::Hello(hello)).await;
    assert!(matches!(agent.frame().await, ToAgent::Welcome { .. }));
    // It begins with the keys: what was said of them in the log before is not known.
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    let first = agent.read(&signed);
    let Act::Keys(keys) = &first.act else { panic!("{first:?}") };
    assert_eq!((first.epoch, first.seq, &keys.user_ca), (2, 1, &web1.user_ca));
    agent.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    agent.accounts().await;
    let mut talk = place.talk(place.person("alice"), waiting("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    let document = agent.read(&signed);
    assert_eq!((document.epoch, document.seq), (2, 2));
    agent.claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    let confirmed = view(talk.end().await.unwrap());
    assert_eq!(
        (Some(confirmed.id), &confirmed.hosts[0].state),
        (document.activation(), &HostState::Confirmed)
    );
}

#[tokio::test]
async fn r25_a_place_that_was_taken_twice_is_another_log() {
    let (place, web1, log) = in_force().await;
    let ours = Agent::head_of(&log);
    let at = |head| {
        move |hello: &mut AgentHello| {
            (hello.seq, hello.head) = (1, head);
        }
    };
    assert_eq!(greeted(&place, &web1, at(ours)).await, None);
    let other = SignedBody { body: "{}\n".into(), ..log[0].clone() };
    assert_eq!(greeted(&place, &web1, at(Agent::head_of(&[other]))).await, Some(2));
}

#[tokio::test]
async fn r25_a_host_that_forgot_its_head_and_one_of_a_later_epoch_are_not_believed() {
    let (place, web1, _) = in_force().await;
    assert_eq!(greeted(&place, &web1, |hello| hello.seq = 1).await, Some(2));
    assert_eq!(greeted(&place, &web1, |hello| hello.epoch = 4).await, Some(5));
    // A host that is behind the new epoch does not make another.
    assert_eq!(greeted(&place, &web1, |hello| hello.epoch = 3).await, Some(5));
    assert_eq!(greeted(&place, &web1, |hello| hello.epoch = 5).await, None);
}

#[tokio::test]
async fn a_host_that_is_behind_hears_the_rest_of_its_log() {
    let (place, web1, _) = in_force().await;
    // Its own state is of yesterday: what it does not know is told again, and that is no new epoch.
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    assert_eq!(agent.read(&signed).seq, 1);
    assert_eq!(place.count("host.epoch").await, 0);
}

/// A document for a host that nobody has put into the log.
fn forgotten(place: &Place, host: &Enrolled, (epoch, seq): (u32, u64)) -> Document {
    let end = End { id: ActivationId::from_random([8; 16]), revision: 2, cause: EndCause::Revoked };
    Document {
        format: FORMAT,
        cluster: place.core.cluster(),
        host: host.host,
        epoch,
        seq,
        act: Act::End(end),
    }
}

fn signed(document: &Document, by: u8) -> SignedBody {
    SignedBody::sign(document.to_line().unwrap(), &key(by), GRANT_NAMESPACE).unwrap()
}

/// A hello of a host that has this as its last document.
fn shows(last: SignedBody, (epoch, seq): (u32, u64)) -> impl FnOnce(&mut AgentHello) {
    move |hello| {
        (hello.epoch, hello.seq, hello.head) = (epoch, seq, Agent::head_of(std::slice::from_ref(&last)));
        hello.last = Some(last);
    }
}

fn accept() -> AdminAsk {
    AdminAsk::RestoreAccept { reason: "the disk was lost".parse().unwrap() }
}

#[tokio::test]
async fn r25_a_document_by_our_key_that_we_do_not_know_closes_the_gate_for_all() {
    let place = Place::new().await;
    let (web1, db1) = (place.enrol("web1", "web", 31).await, place.enrol("db1", "db", 32).await);
    let last = signed(&forgotten(&place, &web1, (1, 5)), 1);
    assert_eq!(greeted(&place, &web1, shows(last.clone(), (1, 5))).await, Some(2));
    assert_eq!(place.count("restore.found").await, 1);
    assert_eq!(
        code_of(place.ask("alice", request("dba")).await),
        Code::Locked,
        "also where nothing is unknown"
    );
    let AdminOutcome::Restore(Some(view)) = place.admin(AdminAsk::RestoreShow).await else { panic!() };
    assert!(view.why.raw().starts_with("web1 has document 5 of epoch 1"), "{view:?}");
    place.admin(accept()).await;
    // What hosts that were away have of that time is no news any more, and a host that waits is none.
    assert_eq!(greeted(&place, &web1, shows(last, (1, 5))).await, Some(2));
    // Neither by a connection that says nothing nor by a hello that forgets everything does it become news (threat H11).
    drop(place.agent(&db1, 32).await);
    place.event("host.lost", 1).await;
    assert_eq!(greeted_as(&place, (&db1, 32), |hello| (hello.seq, hello.head) = (0, None)).await, None);
    let other = signed(&forgotten(&place, &db1, (1, 3)), 1);
    assert_eq!(greeted_as(&place, (&db1, 32), shows(other, (1, 3))).await, Some(2));
    assert_eq!((place.count("restore.found").await, place.count("host.epoch").await), (1, 2));
    // Once it was heard in the epoch that has begun, it is believed again.
    assert_eq!(greeted_as(&place, (&db1, 32), |hello| hello.epoch = 2).await, None);
    let next = signed(&forgotten(&place, &db1, (2, 1)), 1);
    assert_eq!(greeted_as(&place, (&db1, 32), shows(next, (2, 1))).await, Some(3));
    assert_eq!(place.count("restore.found").await, 2);
}

/// Threat H11: the root of one host says what it likes, and others go on.
#[tokio::test]
async fn r25_what_a_host_merely_says_closes_no_gate() {
    let (place, web1, log) = in_force().await;
    let db1 = place.enrol("db1", "db", 32).await;
    type Change<'a> = &'a dyn Fn(Document) -> Document;
    let shown: [(Change<'_>, u8, &str); 5] = [
        (&|document| document, 2, "another key"),
        (&|document| Document { host: db1.host, ..document }, 1, "another host"),
        (&|document| Document { cluster: ClusterId::from_random([9; 16]), ..document }, 1, "another cluster"),
        (&|document| Document { seq: 4, ..document }, 1, "another place"),
        (&|document| Document { epoch: 99, ..document }, 1, "another epoch"),
    ];
    for (epoch, (change, by, what)) in (1..).zip(shown) {
        let last = signed(&change(forgotten(&place, &web1, (epoch, 5))), by);
        assert_eq!(greeted(&place, &web1, shows(last, (epoch, 5))).await, Some(epoch + 1), "{what}");
        assert_eq!(place.count("restore.found").await, 0, "{what}");
    }
    // A signature that is one, of something else.
    let last =
        SignedBody { signature: log[0].signature.clone(), ..signed(&forgotten(&place, &web1, (6, 5)), 1) };
    assert_eq!(greeted(&place, &web1, shows(last, (6, 5))).await, Some(7));
    assert_eq!(place.count("restore.found").await, 0);
    assert!(matches!(place.admin(AdminAsk::RestoreShow).await, AdminOutcome::Restore(None)));
}

/// A document that we do know, under another head: the host has forgotten, not we.
#[tokio::test]
async fn r25_a_document_that_we_know_closes_no_gate() {
    let (place, web1, log) = in_force().await;
    let known = log[0].clone();
    let change = |hello: &mut AgentHello| (hello.seq, hello.last) = (1, Some(known));
    assert_eq!(greeted(&place, &web1, change).await, Some(2));
    assert_eq!(place.count("restore.found").await, 0);
}
