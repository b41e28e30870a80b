//! A host's way through the listener: invited, enrolled once, then its own subsystem and one channel (threat H02).

use super::fixture::*;
use super::*;
use crate::core::{Conversation, Speaker};
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::{SUBSYSTEM_AGENT, SUBSYSTEM_ENROL, SUBSYSTEM_PERSON, Versions};
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, VOUCH_NAMESPACE};
use tokio::sync::mpsc;

const LINK: u8 = 21;
const VOUCH: u8 = 22;

async fn invited(core: &Core) -> Secret {
    let (say, heard) = mpsc::channel(4);
    let (reply, mut replies) = mpsc::channel(4);
    let ask = AdminAsk::HostInvite {
        name: "web1".parse().unwrap(),
        labels: Default::default(),
        names: vec![],
        valid: None,
    };
    say.send(Say::Ask(Ask::Admin(ask))).await.unwrap();
    core.converse(Conversation { speaker: Speaker::Root { uid: 0 }, say: heard, reply }).await;
    match replies.recv().await {
        Some(Reply::Done(Outcome::Admin(AdminOutcome::Paste { line, .. }))) => {
            line.expose().parse::<Paste>().unwrap().token.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

async fn enrol(fixture: &Fixture, token: &Secret, named: u8, connected: u8) -> EnrolReply {
    let ask = EnrolAsk {
        versions: Versions::OURS,
        token: token.clone(),
        link_key: key(named).public_key().to_openssh().unwrap(),
        vouch_key: key(VOUCH).public_key().to_openssh().unwrap(),
        vouch_proof: SignedBody::sign(token.expose().to_owned(), &key(VOUCH), VOUCH_NAMESPACE)
            .unwrap()
            .signature,
    };
    let mut handle = fixture.connect().await;
    assert!(login(&mut handle, SUBSYSTEM_ENROL, key(connected)).await);
    let mut talk = open(&handle, SUBSYSTEM_ENROL).await.unwrap();
    talk.say(&ask).await;
    talk.hear().await.expect("an answer")
}

#[tokio::test]
async fn h02_a_host_enrols_with_the_key_it_connects_with_and_a_token_works_once() {
    let fixture = Fixture::start().await;
    let token = invited(&fixture.core).await;
    match enrol(&fixture, &token, LINK, NOBODY).await {
        EnrolReply::Refused(refusal) => assert_eq!(refusal.code, Code::Integrity),
        EnrolReply::Enrolled(_) => panic!("enrolled with a key that it did not prove"),
    }
    match enrol(&fixture, &token, LINK, LINK).await {
        EnrolReply::Enrolled(enrolled) => assert_eq!(enrolled.name.as_str(), "web1"),
        EnrolReply::Refused(refusal) => panic!("{refusal:?}"),
    }
    assert!(matches!(enrol(&fixture, &token, NOBODY, NOBODY).await, EnrolReply::Refused(_)));
}

#[tokio::test]
async fn an_enrolled_host_gets_its_own_subsystem_and_one_channel() {
    let fixture = Fixture::start().await;
    let token = invited(&fixture.core).await;
    assert!(!login(&mut fixture.connect().await, "elevate-link", key(LINK)).await);
    let enrolled = enrol(&fixture, &token, LINK, LINK).await;
    assert!(matches!(enrolled, EnrolReply::Enrolled(_)), "{enrolled:?}");
    let mut person = fixture.connect().await;
    assert!(login(&mut person, "alice", key(LINK)).await);
    assert!(open(&person, SUBSYSTEM_PERSON).await.is_none(), "a host is no person");
    let mut handle = fixture.connect().await;
    assert!(login(&mut handle, "elevate-link", key(LINK)).await);
    let mut talk = open(&handle, SUBSYSTEM_AGENT).await.unwrap();
    assert!(matches!(talk.hear::<ToAgent>().await, Some(ToAgent::Hello { .. })));
    assert!(open(&handle, SUBSYSTEM_AGENT).await.is_none(), "a second channel");
    let unsigned = SignedBody { body: "{}".into(), signature: "none".into() };
    talk.say(&unsigned).await;
    while let Some(said) = talk.hear::<ToAgent>().await {
        assert!(matches!(said, ToAgent::Refused(_) | ToAgent::Heartbeat { .. }), "{said:?}");
    }
}
