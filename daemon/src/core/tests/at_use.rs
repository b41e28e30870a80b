//! `mfa = "every-use"` from the daemon's side: what is signed, and what a code at a use is looked at for (threats D06, D13).

use elevate_protocol::document::Act;
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::agent::Seat;
use elevate_protocol::message::person::{Ask, AtUseAsk, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::place::*;

/// web1 with an obedient agent, alice's factor, and her active grant of a role that asks at every use.
async fn active() -> (Place, Obedient, ActivationId) {
    let place = Place::new().await;
    place.write_policy(&POLICY.replace("max = \"2h\"", "max = \"2h\"\nmfa = \"every-use\""));
    place.core.reload_policy().await.unwrap();
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    place.clock.advance(30);
    let view = view(place.ask_with_code("alice", waiting("web-ops")).await.unwrap());
    place.clock.advance(30);
    (place, agent, view.id)
}

fn use_of(grants: &[ActivationId], nonce: u8) -> Ask {
    Ask::AtUse(AtUseAsk {
        grants: grants.to_vec(),
        seat: Seat { tty: 34_816, session: 7, began: 9 },
        nonce: Nonce::from_random([nonce; 16]),
        shown: UntrustedText::lossy("sudo /usr/bin/id (pts/0)"),
    })
}

async fn reply(agent: &mut Obedient) -> Reply {
    soon("a reply", agent.replied.recv()).await.unwrap().1
}

/// One code for one use; what the daemon said of the code, and in the end.
async fn with_code(agent: &mut Obedient, conversation: u64, ask: Ask, code: String) -> (bool, Option<Reply>) {
    agent.calls.send((conversation, Say::Ask(ask.clone()))).await.unwrap();
    let challenge = match reply(agent).await {
        Reply::Challenge(challenge) => challenge,
        other => return (false, Some(other)),
    };
    assert_eq!(challenge.ask, ask.digest().unwrap(), "bound to this very use");
    assert_eq!(challenge.prompt.raw(), "Code for alice: use web-ops on web1: sudo /usr/bin/id (pts/0)");
    let answer = Say::Answer { challenge: challenge.id, code: Secret::new(code) };
    agent.calls.send((conversation, answer)).await.unwrap();
    let Reply::Verdict { accepted, .. } = reply(agent).await else { panic!("no verdict") };
    if !accepted {
        agent.calls.send((conversation, Say::Leave)).await.unwrap();
        return (false, None);
    }
    agent.calls.send((conversation, Say::Confirm { challenge: challenge.id, passed: true })).await.unwrap();
    (true, Some(reply(agent).await))
}

fn refused(said: Option<Reply>) -> Refusal {
    match said {
        Some(Reply::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_grant_says_that_each_use_asks_and_hosts_must_understand_it() {
    let (_place, agent, id) = active().await;
    let applied = agent.applied.lock().unwrap();
    let Act::Grant(grant) = &applied.first().unwrap().act else { panic!("no grant") };
    assert_eq!((grant.id, grant.factor_at_use), (id, Some(Span(300))));
    assert_eq!(grant.critical, ["sudo", "factor_at_use"]);
}

#[tokio::test]
async fn d13_only_ones_own_active_grants_on_this_host_are_used() {
    let (place, mut agent, id) = active().await;
    let other = ActivationId::from_random([9; 16]);
    for (conversation, grants, code) in
        [(1, vec![other], Code::Gone), (2, vec![id, other], Code::Gone), (3, vec![], Code::Usage)]
    {
        let (_, said) = with_code(&mut agent, conversation, use_of(&grants, 1), String::new()).await;
        assert_eq!(refused(said).code, code, "{grants:?}");
    }
    let own_key = place.ask("alice", use_of(&[id], 1)).await;
    assert_eq!(code_of(own_key), Code::WrongDoor);
    // Given back while the person types: the code is used up and lets nothing pass.
    let ask = use_of(&[id], 5);
    agent.calls.send((5, Say::Ask(ask))).await.unwrap();
    let Reply::Challenge(challenge) = reply(&mut agent).await else { panic!("no challenge") };
    place.ask("alice", Ask::Drop { id: None, all: true }).await.unwrap();
    let code = Secret::new(place.code("alice"));
    agent.calls.send((5, Say::Answer { challenge: challenge.id, code })).await.unwrap();
    assert!(matches!(reply(&mut agent).await, Reply::Verdict { accepted: true, .. }));
    agent.calls.send((5, Say::Confirm { challenge: challenge.id, passed: true })).await.unwrap();
    assert_eq!(refused(Some(reply(&mut agent).await)).code, Code::Gone);
}
