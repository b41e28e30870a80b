//! What the absence of a grant key behind a real ssh-agent does to approvals and to proofs of contact (threat K07).

use elevate_protocol::contact::Contact;
use elevate_protocol::document::Act;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat, Signs};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;

use super::place::*;
use crate::signer::{Signer, fixture};

const ROLES: &str = r#"
[people]
alice = {}
bob = {}

[roles.quick]
who = ["alice"]
hosts = { tier = "web" }
sudo = { as = "root", run = [["/usr/bin/id"]] }
duration = "1h"
max = "1h"
mfa = "none"

[roles.asked]
who = ["alice"]
hosts = { tier = "web" }
sudo = { as = "root", run = [["/usr/bin/id"]] }
duration = "1h"
max = "1h"
mfa = "none"
approve = [{ need = 1, of = ["bob"] }]
"#;

/// A place in which a key of a real ssh-agent will sign after the next rotation.
async fn place() -> (Place, fixture::Agent) {
    let mut place = Place::new().await;
    place.write_policy(ROLES);
    place.core.close().await;
    let holder = fixture::Agent::start();
    let signer = Signer::agent(holder.socket(), holder.key("ed25519"));
    place.core = open_with(place.folder.path(), &place.clock, Some(signer)).await.unwrap();
    (place, holder)
}

async fn rotate(place: &Place) {
    place.admin(AdminAsk::KeyRotate { signs: Signs::Grants, overlap: None, key_type: None }).await;
}

/// An approver's word is not lost: the grant starts when its person asks again with the key back.
#[tokio::test]
async fn k07_what_is_approved_while_the_key_is_away_waits_for_its_person() {
    let (place, holder) = place().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 1).await;
    rotate(&place).await;
    place.factor("bob").await;
    let asked = view(place.ask("alice", request("asked")).await.unwrap());
    assert_eq!(asked.state, State::Pending);
    holder.with_secret(&["-x"]);
    let approve = Ask::Approve { id: asked.id.into(), reason: None };
    let approved = view(place.ask_with_code("bob", approve).await.unwrap());
    assert_eq!(approved.state, State::Approved);
    assert_eq!((place.count("key.away").await, place.count("grant.issued").await), (1, 0));
    let refused = place.ask("alice", request("asked")).await.unwrap_err();
    assert!(refused.message.contains("cannot sign grants"), "{}", refused.message);
    holder.with_secret(&["-X"]);
    let active = view(place.ask("alice", request("asked")).await.unwrap());
    assert_eq!((active.id, active.state), (asked.id, State::Active));
    place.event("grant.confirmed", 1).await;
}

/// With a document unsigned there is no contact: a lease must not be lengthened by hiding an end.
#[tokio::test]
async fn k07_contact_is_proven_when_everything_of_the_log_was_signed_and_sent() {
    let (place, holder) = place().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    agent.accounts().await;
    place.event("host.connected", 1).await;
    rotate(&place).await;
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    let Act::Keys(keys) = agent.read(&signed).act else { panic!("not about keys") };
    agent.trust = agent.trust.follow(&keys, (1, 1)).unwrap();
    agent.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    let (active, ()) = tokio::join!(place.ask("alice", request("quick")), async {
        let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
        assert!(matches!(agent.read(&signed).act, Act::Grant(_)));
        agent.claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    });
    assert_eq!(view(active.unwrap()).state, State::Active);
    assert_eq!(contact(&place, &mut agent, 1).await.seq, 2);

    holder.with_secret(&["-x"]);
    let what = RevokeWhat::Person(name("alice"));
    place.admin(AdminAsk::Revoke { what, reason: UntrustedText::lossy("it is enough") }).await;
    place.event("key.away", 1).await;
    agent.claim(Claim::Contact { nonce: Nonce::from_random([2; 16]) }).await;
    // The answer to this comes after what the question brings.
    let closed = Report::GateClosed { uid: 2000, why: UntrustedText::lossy("a test") };
    agent.claim(Claim::Report { number: 1, at: place.clock.now(), report: closed }).await;
    let said = agent.frame().await;
    assert!(matches!(said, ToAgent::Recorded { number: 1 }), "{said:?}");
    // Nor is it this host's fault that it does not tell of an end that it was not sent.
    pass(&place, &mut agent, 60).await;
    holder.with_secret(&["-X"]);
    let signed_at = place.clock.now();
    place.admin(AdminAsk::KeyList).await;
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    assert!(matches!(agent.read(&signed).act, Act::End(_)));
    assert_eq!(answer(&place, &mut agent, 2).await.seq, 3);
    pass(&place, &mut agent, 45).await;
    place.event("host.end-missing", 1).await;
    let mut events = place.events().await;
    events.retain(|event| event.kind.code() == "host.end-missing");
    assert!(events.len() == 1 && events[0].at >= signed_at.after(span("30s")), "{events:?}");
}

/// Lets time go by while this agent shows that it lives.
async fn pass(place: &Place, agent: &mut Agent, seconds: i64) {
    for _ in 0..seconds / 15 {
        place.clock.advance(15);
        agent.claim(Claim::Heartbeat { time: place.clock.now() }).await;
        while !matches!(agent.next().await, ToAgent::Heartbeat { .. }) {}
    }
}

async fn contact(place: &Place, agent: &mut Agent, nonce: u8) -> Contact {
    agent.claim(Claim::Contact { nonce: Nonce::from_random([nonce; 16]) }).await;
    answer(place, agent, nonce).await
}

async fn answer(place: &Place, agent: &mut Agent, nonce: u8) -> Contact {
    let ToAgent::Contact(signed) = agent.frame().await else { panic!("no answer") };
    let cluster = place.core.cluster();
    Contact::open(&signed, &agent.trust, (cluster, agent.host, Nonce::from_random([nonce; 16]))).unwrap()
}
