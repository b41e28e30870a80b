//! Rotation of the grant key, and a key that cannot be asked.

use std::sync::atomic::{AtomicBool, Ordering};

use elevate_protocol::document::Act;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, KeyState, KeyView, RevokeWhat, Signs};
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;

use elevate_protocol::message::view::HostState;
use elevate_protocol::text::UntrustedText;
use nix::sys::signal::Signal;

use super::place::*;
use crate::core::Speaker;
use crate::signer::Signer;
use crate::signer::fixture;

const QUICK: &str = r#"
[people]
alice = {}

[roles.quick]
who = ["alice"]
hosts = { tier = "web" }
sudo = { as = "root", run = [["/usr/bin/id"]] }
duration = "1h"
max = "1h"
mfa = "none"
"#;

async fn place() -> Place {
    let place = Place::new().await;
    place.write_policy(QUICK);
    place.core.reload_policy().await.unwrap();
    place
}

async fn keys(place: &Place, ask: AdminAsk) -> Vec<KeyView> {
    let AdminOutcome::Keys { mut keys, .. } = place.admin(ask).await else { panic!("no keys") };
    keys.retain(|key| key.signs == Signs::Grants);
    keys
}

const ROTATE: AdminAsk = AdminAsk::KeyRotate { signs: Signs::Grants, overlap: None, key_type: None };

fn states(keys: &[KeyView]) -> Vec<KeyState> {
    keys.iter().map(|key| key.state).collect()
}

fn on(host: &str) -> Ask {
    let mut wanted = wanted("quick", false);
    wanted.hosts = vec![word(host)];
    Ask::Request(wanted)
}

/// Threat K05. The agents here verify every document with the keys that they trust at that moment, and panic otherwise.
#[tokio::test]
async fn k05_rotation_under_load_and_a_host_that_was_away_verify_every_document() {
    let mut place = place().await;
    let (web1, web2) = (place.enrol("web1", "web", 31).await, place.enrol("web2", "web", 32).await);
    let first = place.obedient(&web1, 31).await;
    let seen = place.obedient(&web2, 32).await;
    place.event("host.connected", 2).await;
    let stop = AtomicBool::new(false);
    let load = async {
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            view(place.ask("alice", on("web1")).await.unwrap());
            place.ask("alice", Ask::Drop { id: None, all: true }).await.unwrap();
            done += 1;
        }
        done
    };
    let rotations = async {
        let mut first = Vec::new();
        for _ in 0..3 {
            let before = place.count("grant.ended").await;
            place.event("grant.ended", before + 5).await;
            first = keys(&place, ROTATE).await;
        }
        let before = place.count("grant.ended").await;
        place.event("grant.ended", before + 5).await;
        stop.store(true, Ordering::Relaxed);
        first
    };
    let (rounds, listed) = tokio::join!(load, rotations);
    assert!(rounds >= 20, "{rounds}");
    let (replaced, signs) = (KeyState::Replaced, KeyState::Signs);
    assert_eq!(states(&listed), [replaced, replaced, replaced, signs]);
    place.event("key.trusted", 6).await;
    assert_eq!(first.acts().iter().filter(|act| **act == "keys").count(), 3);
    assert_eq!(place.count("grant.refused-by-host").await + place.count("host.refused").await, 0);
    // Away during two rotations and a grant between them: the log tells it in order.
    drop(seen);
    place.event("host.lost", 1).await;
    keys(&place, ROTATE).await;
    view(place.ask("alice", on("web2")).await.unwrap());
    keys(&place, ROTATE).await;
    // web1 alone so far.
    place.event("key.trusted", 8).await;
    place.restart().await;
    let back = place.obedient(&web2, 32).await;
    place.event("key.trusted", 10).await;
    assert_eq!(back.acts(), ["keys", "keys", "keys", "keys", "grant", "keys"]);
    let Act::Keys(last) = back.applied.lock().unwrap().last().unwrap().act.clone() else { panic!() };
    assert_eq!(last.grant.len(), 6);
    // A host that enrols now pins the key that signs now, and nothing else.
    let web3 = place.enrol("web3", "web", 33).await;
    assert_eq!(web3.grant_signers.lines().count(), 1);
    assert!(web3.grant_signers.contains(&last.grant.last().unwrap().key));
}

/// A crash on either side of the one transaction: the old key signs, or the new one, and hosts know which.
#[tokio::test]
async fn k05_a_crash_around_a_rotation_leaves_one_key_that_signs() {
    let mut place = place().await;
    let web1 = place.enrol("web1", "web", 31).await;
    // The new key's file was written, nothing else.
    let folder = place.folder.path().join("keys");
    crate::keys::write_signing(&folder.join("grant-0badcafe"), &key(77)).unwrap();
    place.restart().await;
    let before = keys(&place, AdminAsk::KeyList).await;
    assert_eq!((states(&before), before[0].place.as_str()), (vec![KeyState::Signs], "grant"));
    let after = keys(&place, ROTATE).await;
    place.restart().await;
    assert_eq!(keys(&place, AdminAsk::KeyList).await, after);
    let agent = place.obedient(&web1, 31).await;
    view(place.ask("alice", on("web1")).await.unwrap());
    place.event("grant.confirmed", 1).await;
    assert_eq!(agent.acts(), ["keys", "grant"]);
    // The file of the key that signs holds another key: no start, and the old key's file is not taken in its place.
    place.core.close().await;
    let path = folder.join(&after[1].place);
    std::fs::rename(folder.join("grant-0badcafe"), &path).unwrap();
    let refused = open(place.folder.path(), &place.clock).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("holds another key"), "{refused}");
}

#[tokio::test]
async fn an_overlap_that_would_cut_a_grant_off_is_refused_with_the_least_that_would_do() {
    let place = place().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 1).await;
    view(place.ask("alice", on("web1")).await.unwrap());
    let short = AdminAsk::KeyRotate { signs: Signs::Grants, overlap: Some(span("10m")), key_type: None };
    let refused = place.talk(Speaker::Root { uid: 0 }, Ask::Admin(short)).end().await.unwrap_err();
    assert_eq!(refused.code, Code::Usage);
    assert!(refused.hint.unwrap().contains("1h1m"), "the end of the grant and a minute");
    let listed =
        keys(&place, AdminAsk::KeyRotate { signs: Signs::Grants, overlap: Some(span("2h")), key_type: None })
            .await;
    assert_eq!(states(&listed), [KeyState::Replaced, KeyState::Signs]);
    place.clock.advance(7200);
    let listed = keys(&place, AdminAsk::KeyList).await;
    assert_eq!(states(&listed), [KeyState::Over, KeyState::Signs]);
}

/// An agent that is not there: refused, said why, and nothing that would look like a grant.
#[tokio::test]
async fn a_key_that_cannot_be_asked_refuses_activations_and_changes_nothing() {
    let mut place = place().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 1).await;
    let gone = place.folder.path().join("gone.sock");
    place.core.close().await;
    let lost = Signer::agent(gone, key(1).public_key().clone());
    place.core = open_with(place.folder.path(), &place.clock, Some(lost)).await.unwrap();
    let listed = keys(&place, AdminAsk::KeyList).await;
    assert!(listed[0].problem.as_ref().unwrap().raw().contains("gone.sock"), "{listed:?}");
    let _agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 2).await;
    let refused = place.ask("alice", on("web1")).await.unwrap_err();
    assert_eq!(refused.code, Code::Internal);
    assert!(refused.message.contains("cannot sign grants") && refused.hint.unwrap().contains("key list"));
    assert_eq!(place.count("grant.issued").await, 0);
    place.restart().await;
    let _agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 3).await;
    view(place.ask("alice", on("web1")).await.unwrap());
    place.event("grant.confirmed", 1).await;
}

/// A place whose grant key is in a real ssh-agent, with what opens its core anew.
async fn held() -> (Place, fixture::Agent, Signer) {
    let mut place = place().await;
    let holder = fixture::Agent::start();
    let signer = Signer::agent(holder.socket(), holder.key("ecdsa"));
    reopen(&mut place, &signer).await;
    (place, holder, signer)
}

async fn reopen(place: &mut Place, signer: &Signer) {
    place.core.close().await;
    place.core = open_with(place.folder.path(), &place.clock, Some(signer.clone())).await.unwrap();
}

/// Threat K07. While the agent hangs everybody's changes are committed, what is ended is ended and durable, nothing starts; when
/// it goes on, hosts are told in order.
#[tokio::test]
async fn k07_a_hanging_agent_holds_up_nobody_and_ends_are_told_when_it_goes_on() {
    let (mut place, holder, signer) = held().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 1).await;
    assert_eq!(states(&keys(&place, ROTATE).await), [KeyState::Replaced, KeyState::Signs]);
    place.event("key.trusted", 1).await;
    let granted = view(place.ask("alice", on("web1")).await.unwrap());
    place.event("grant.confirmed", 1).await;
    assert_eq!(agent.acts(), ["keys", "grant"]);
    let web2 = place.enrol("web2", "web", 32).await;
    let _other = place.obedient(&web2, 32).await;
    place.event("host.connected", 2).await;

    holder.signal(Signal::SIGSTOP);
    let mut asked = Box::pin(place.ask("alice", on("web2")));
    let mut commits = 0;
    let refused = loop {
        tokio::select! {
            refused = &mut asked => break refused.unwrap_err(),
            _ = place.token(AdminAsk::PersonInvite { person: name("alice"), valid: None }) => commits += 1,
        }
    };
    drop(asked);
    assert!(refused.message.contains("cannot sign grants"), "{}", refused.message);
    assert!(commits >= 10, "others' changes meanwhile: {commits}");
    place.event("key.away", 1).await;
    let revoke = AdminAsk::Revoke {
        what: RevokeWhat::Person(name("alice")),
        reason: UntrustedText::lossy("it is enough"),
    };
    let AdminOutcome::Revoked(ended) = place.admin(revoke).await else { panic!("not revoked") };
    assert_eq!((ended[0].id, &ended[0].hosts[0].state), (granted.id, &HostState::Unsigned));
    place.event("grant.ended", 1).await;
    assert_eq!(agent.acts(), ["keys", "grant"], "nothing reaches a host without a signature");
    let rotate = place.talk(Speaker::Root { uid: 0 }, Ask::Admin(ROTATE)).end().await.unwrap_err();
    assert!(rotate.message.contains("has to tell the hosts"), "{}", rotate.message);

    drop(agent);
    place.event("host.lost", 1).await;
    reopen(&mut place, &signer).await;
    place.event("key.away", 2).await;
    let agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 3).await;
    let listed = keys(&place, AdminAsk::KeyList).await;
    assert_eq!(listed[1].waiting, 1, "{listed:?}");
    assert!(listed[1].problem.as_ref().unwrap().raw().contains("within 3 s"), "{listed:?}");
    holder.signal(Signal::SIGCONT);
    assert!(keys(&place, AdminAsk::KeyList).await[1].problem.is_none());
    place.event("key.back", 1).await;
    place.event("grant.confirmed", 2).await;
    assert_eq!(agent.acts(), ["keys", "grant", "end"]);
    assert_eq!(keys(&place, AdminAsk::KeyList).await[1].waiting, 0);
}

/// What was committed in the moment in which the agent went away is signed by itself once it is there again.
#[tokio::test]
async fn k07_documents_of_a_moment_without_the_agent_are_signed_in_order_without_a_word() {
    let (place, holder, _signer) = held().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.event("host.connected", 1).await;
    keys(&place, ROTATE).await;
    view(place.ask("alice", on("web1")).await.unwrap());
    place.event("grant.confirmed", 1).await;
    holder.with_secret(&["-x"]);
    // Nobody has asked it since: the end is committed without anybody noticing.
    let dropped = place.ask("alice", Ask::Drop { id: None, all: true }).await.unwrap();
    let Outcome::Activations(ended) = dropped else { panic!("{dropped:?}") };
    assert_eq!(ended[0].hosts[0].state, HostState::Unsigned);
    place.event("key.away", 1).await;
    assert_eq!(agent.acts(), ["keys", "grant"]);
    holder.with_secret(&["-X"]);
    // The signer's next try is two seconds of its clock after the last one, whenever that was.
    let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
    soon("the signature", async {
        while agent.acts().len() < 3 {
            beat.tick().await;
            place.clock.advance(2);
        }
    })
    .await;
    place.event("grant.confirmed", 2).await;
    assert_eq!(agent.acts(), ["keys", "grant", "end"]);
    // Told after the signatures are committed.
    place.event("key.back", 1).await;
    assert_eq!(place.count("key.back").await, 1);
}
