//! A host that was away has much to tell: all of it counts once, in its order, and nobody waits for the end of it. Threat R10.

use elevate_audit::Kind;
use elevate_protocol::message::agent::{Claim, Report, ToAgent};

use super::place::*;

fn told(place: &Place, number: u64) -> Claim {
    let report = Report::Started { agent: "0.1.0".into(), grants: 0 };
    Claim::Report { number, at: place.clock.now(), report }
}

/// Waits until the daemon says that it has everything up to a number; in how many answers.
async fn recorded(agent: &mut Agent, last: u64) -> u32 {
    let mut answers = 0;
    loop {
        let ToAgent::Recorded { number } = agent.frame().await else { panic!("something else") };
        answers += 1;
        if number == last {
            return answers;
        }
    }
}

/// Numbers of the recorded reports, in the order of the log.
async fn numbers(place: &Place) -> Vec<u64> {
    let number = |kind: &Kind| if let Kind::HostStarted { number, .. } = kind { Some(*number) } else { None };
    place.events().await.iter().filter_map(|event| number(&event.kind)).collect()
}

#[tokio::test]
async fn r10_reports_that_come_together_are_each_recorded_once_in_their_order() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    // Less than the doors hold, so that they lie there together.
    for number in 1..=60 {
        agent.claim(told(&place, number)).await;
    }
    let answers = recorded(&mut agent, 60).await;
    assert!(answers < 30, "{answers} commits for 60 reports");
    // What was recorded and not heard of comes again, with something else among it.
    for number in 41..=80 {
        agent.claim(told(&place, number)).await;
        if number % 15 == 0 {
            agent.claim(Claim::Heartbeat { time: place.clock.now() }).await;
        }
    }
    recorded(&mut agent, 80).await;
    assert_eq!(numbers(&place).await, (1..=80).collect::<Vec<u64>>());
    // What came before something that is refused was said.
    for number in 81..=90 {
        agent.claim(told(&place, number)).await;
    }
    agent.count += 1;
    agent.claim(told(&place, 91)).await;
    assert!(agent.closed().await);
    assert_eq!(numbers(&place).await, (1..=90).collect::<Vec<u64>>());
    // The host hears it: it may have lost count.
    let mut agent = place.agent(&web1, 31).await;
    let hello = agent.greeting(0);
    agent.claim(Claim::Hello(hello)).await;
    assert!(matches!(agent.frame().await, ToAgent::Welcome { reported: 90, .. }));
}

#[tokio::test]
async fn r10_a_document_does_not_wait_behind_what_a_host_has_to_tell() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agent = place.agent(&web1, 31).await;
    agent.hello(0).await;
    agent.accounts().await;
    place.factor("alice").await;
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    let challenge = talk.challenge().await;
    // It never ends: whoever waits for its end waits for ever.
    let flood = async {
        for number in 1.. {
            agent.claim(told(&place, number)).await;
            if number == 200 {
                talk.answer(challenge, &place.code("alice")).await;
            }
            while let Ok(said) = agent.said.try_recv() {
                if let ToAgent::Document(signed) = *said {
                    return agent.read(&signed).seq;
                }
            }
        }
        0
    };
    assert_eq!(soon("the grant", flood).await, 1);
}
