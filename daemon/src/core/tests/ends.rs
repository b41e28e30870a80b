//! Ends that a host does not tell of: an alarm, once, and not for a host that is away.

use elevate_audit::Event;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::enrol::Enrolled;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, RequestAsk};

use super::place::*;

/// alice holds web-ops for two minutes on web1 and web2, whose agents do nothing by themselves.
async fn in_force() -> (Place, [Agent; 2], Enrolled, ActivationId) {
    let place = Place::new().await;
    let mut agents = Vec::new();
    let mut enrolled = Vec::new();
    for (host, seed) in [("web1", 31), ("web2", 32)] {
        enrolled.push(place.enrol(host, "web", seed).await);
        let mut agent = place.agent(enrolled.last().unwrap(), seed).await;
        agent.hello(0).await;
        agent.accounts().await;
        agents.push(agent);
    }
    place.factor("alice").await;
    let hosts = vec![name("web1"), name("web2")];
    let ask = RequestAsk { hosts, duration: Some(span("2m")), ..wanted("web-ops", true) };
    let mut talk = place.talk(place.person("alice"), Ask::Request(ask));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    for agent in &mut agents {
        document(agent).await;
        agent.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    }
    let id = view(talk.end().await.unwrap()).id;
    (place, agents.try_into().unwrap_or_else(|_| panic!("two")), enrolled.pop().unwrap(), id)
}

/// The next document, heartbeats aside.
async fn document(agent: &mut Agent) -> u64 {
    let ToAgent::Document(signed) = agent.frame().await else { panic!("no document") };
    agent.seq = agent.read(&signed).seq;
    agent.head = Some(elevate_protocol::document::head(agent.head, &signed.body));
    agent.seq
}

/// Lets time go by while these agents show that they live.
async fn pass(place: &Place, agents: &mut [Agent], seconds: i64) {
    for _ in 0..seconds / 15 {
        place.clock.advance(15);
        for agent in agents.iter_mut() {
            agent.claim(Claim::Heartbeat { time: place.clock.now() }).await;
            while !matches!(agent.next().await, ToAgent::Heartbeat { .. }) {}
        }
    }
}

async fn alarms(place: &Place) -> Vec<Event> {
    let mut events = place.events().await;
    events.retain(|event| event.kind.code() == "host.end-missing");
    events
}

async fn revoke(place: &Place) {
    let reason = "no longer needed".parse().unwrap();
    place.admin(AdminAsk::Revoke { what: RevokeWhat::Person(name("alice")), reason }).await;
}

#[tokio::test]
async fn a_connected_host_that_does_not_tell_of_the_end_of_a_right_is_an_alarm_once() {
    let (place, mut agents, _, id) = in_force().await;
    pass(&place, &mut agents, 120).await;
    place.event("grant.ended", 1).await;
    let told = Report::Ended { grant: id, cause: EndCause::Expired };
    agents[0].claim(Claim::Report { number: 1, at: place.clock.now(), report: told }).await;
    place.event("host.ended", 1).await;
    assert_eq!(alarms(&place).await, []);
    pass(&place, &mut agents, 90).await;
    place.event("host.end-missing", 1).await;
    pass(&place, &mut agents, 300).await;
    let alarms = alarms(&place).await;
    assert_eq!(alarms.len(), 1);
    assert_eq!((&alarms[0].subject.host, alarms[0].subject.activation), (&Some(name("web2")), Some(id)));
}

#[tokio::test]
async fn a_connected_host_that_does_not_acknowledge_an_end_is_an_alarm() {
    let (place, mut agents, _, id) = in_force().await;
    revoke(&place).await;
    assert_eq!(document(&mut agents[0]).await, 2);
    agents[0].claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    place.event("grant.confirmed", 3).await;
    pass(&place, &mut agents, 30).await;
    place.event("host.end-missing", 1).await;
    let alarms = alarms(&place).await;
    assert_eq!((&alarms[0].subject.host, alarms[0].subject.activation), (&Some(name("web2")), Some(id)));
}

#[tokio::test]
async fn a_host_that_is_away_owes_no_end_before_it_is_back() {
    let (place, [one, two], enrolled, id) = in_force().await;
    let head = two.head;
    drop(two);
    place.event("host.lost", 1).await;
    revoke(&place).await;
    let mut there = [one];
    assert_eq!(document(&mut there[0]).await, 2);
    there[0].claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    pass(&place, &mut there, 300).await;
    let back_at = place.clock.now();
    let mut back = place.agent(&enrolled, 32).await;
    back.head = head;
    back.hello(1).await;
    let mut both = there.into_iter().chain([back]).collect::<Vec<_>>();
    pass(&place, &mut both, 90).await;
    place.event("host.end-missing", 1).await;
    let alarms = alarms(&place).await;
    assert_eq!((&alarms[0].subject.host, alarms[0].subject.activation), (&Some(name("web2")), Some(id)));
    assert!(alarms[0].at >= back_at.after(span("90s")), "it had its time after it was back");
}

#[tokio::test]
async fn a_host_that_refused_a_right_has_no_end_to_tell_of() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut agents = [place.agent(&web1, 31).await];
    agents[0].hello(0).await;
    agents[0].accounts().await;
    place.factor("alice").await;
    let mut talk = place.talk(place.person("alice"), waiting("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    assert_eq!(document(&mut agents[0]).await, 1);
    let result = Applied::Refused { why: "forbidden by ceiling.toml".parse().unwrap() };
    agents[0].claim(Claim::Applied { seq: 1, result }).await;
    // Its end is sent all the same, and this host never says anything of it.
    assert_eq!(document(&mut agents[0]).await, 2);
    drop(talk);
    place.event("grant.ended", 1).await;
    pass(&place, &mut agents, 300).await;
    // The timers have been at it: a lock that was set later is over.
    let (what, reason) = (LockWhat::Person(name("bob")), "for the test".parse().unwrap());
    place.admin(AdminAsk::Lock { what, ttl: Some(span("1m")), reason }).await;
    pass(&place, &mut agents, 60).await;
    place.event("lock.expired", 1).await;
    assert_eq!(alarms(&place).await, []);
}
