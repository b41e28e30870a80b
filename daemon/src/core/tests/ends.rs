//! Ends that a host does not tell of: an alarm, once, and not for a host that is away.

use elevate_audit::Event;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::enrol::Enrolled;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, RequestAsk};
use elevate_protocol::message::view::{HostState, State};

use super::place::*;

/// alice holds web-ops for two minutes on web1 and web2, whose agents do nothing by themselves.
async fn in_force() -> (Place, [Agent; 2], Enrolled, ActivationId) {
    let (place, agents, mut enrolled, id) = in_force_on(&["web1", "web2"]).await;
    (place, agents.try_into().unwrap_or_else(|_| panic!("two")), enrolled.pop().unwrap(), id)
}

async fn in_force_on(hosts: &[&str]) -> (Place, Vec<Agent>, Vec<Enrolled>, ActivationId) {
    let place = Place::new().await;
    let mut agents = Vec::new();
    let mut enrolled = Vec::new();
    for (host, seed) in hosts.iter().zip(31..) {
        enrolled.push(place.enrol(host, "web", seed).await);
        let mut agent = place.agent(enrolled.last().unwrap(), seed).await;
        agent.hello(0).await;
        agent.accounts().await;
        agents.push(agent);
    }
    place.factor("alice").await;
    let hosts = hosts.iter().map(|host| word(host)).collect();
    let ask = RequestAsk { hosts, duration: Some(span("2m")), ..wanted("web-ops", true) };
    let mut talk = place.talk(place.person("alice"), Ask::Request(ask));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    for agent in &mut agents {
        document(agent).await;
        agent.claim(Claim::Applied { seq: 1, result: Applied::Enforced }).await;
    }
    let id = view(talk.end().await.unwrap()).id;
    (place, agents, enrolled, id)
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

/// alice has ten minutes more on so many hosts, as far as the daemon knows.
async fn extend(place: &Place, hosts: usize) {
    let by = span("10m");
    let mut talk = place.talk(place.person("alice"), Ask::Extend { id: None, by, reason: None });
    let challenge = talk.challenge().await;
    talk.answer(challenge, &place.code("alice")).await;
    place.event("grant.extended", hosts).await;
}

async fn refuses(agent: &mut Agent, seq: u64) {
    let why = "there is no such grant in force here".parse().unwrap();
    agent.claim(Claim::Applied { seq, result: Applied::Refused { why } }).await;
}

async fn tells(place: &Place, agent: &mut Agent, (id, cause): (ActivationId, EndCause)) {
    let report = Report::Ended { grant: id, cause };
    agent.claim(Claim::Report { number: 1, at: place.clock.now(), report }).await;
}

async fn shown(place: &Place, id: ActivationId) -> (State, Vec<HostState>) {
    let shown = view(place.ask("alice", Ask::Show { id: id.into(), documents: false }).await.unwrap());
    (shown.state, shown.hosts.into_iter().map(|host| host.state).collect())
}

#[tokio::test]
async fn an_extension_that_comes_after_the_end_leaves_nothing_active() {
    let (place, mut agents, enrolled, id) = in_force_on(&["web1"]).await;
    let head = agents.remove(0).head;
    place.event("host.lost", 1).await;
    extend(&place, 1).await;
    place.clock.advance(120);
    assert_eq!(shown(&place, id).await.0, State::Active, "nobody has said anything else");
    let mut back = place.agent(&enrolled[0], 31).await;
    back.head = head;
    back.hello(1).await;
    assert_eq!(document(&mut back).await, 2);
    refuses(&mut back, 2).await;
    place.event("grant.ended", 1).await;
    let (state, hosts) = shown(&place, id).await;
    let State::Ended { cause: EndCause::NotEnforced, at } = state else { panic!("{state:?}") };
    assert_eq!(at, place.clock.now());
    assert!(matches!(hosts.as_slice(), [HostState::Refused { .. }]), "{hosts:?}");
    // Whatever it has after all ends with this.
    assert_eq!(document(&mut back).await, 3);
}

/// The host could not take the extension; the right goes on to the end that it had.
#[tokio::test]
async fn an_extension_that_was_refused_ends_with_what_it_would_have_extended() {
    let (place, mut agents, _, id) = in_force_on(&["web1"]).await;
    extend(&place, 1).await;
    assert_eq!(document(&mut agents[0]).await, 2);
    refuses(&mut agents[0], 2).await;
    place.event("grant.refused-by-host", 1).await;
    assert_eq!(shown(&place, id).await.0, State::Active);
    pass(&place, &mut agents, 90).await;
    tells(&place, &mut agents[0], (id, EndCause::Expired)).await;
    place.event("grant.ended", 1).await;
    let (state, _) = shown(&place, id).await;
    assert!(matches!(state, State::Ended { cause: EndCause::NotEnforced, .. }), "{state:?}");
}

#[tokio::test]
async fn what_one_host_no_longer_has_is_over_when_the_other_has_lost_it_too() {
    let (place, mut agents, enrolled, id) = in_force_on(&["web1", "web2"]).await;
    let head = agents.remove(1).head;
    place.event("host.lost", 1).await;
    extend(&place, 2).await;
    assert_eq!(document(&mut agents[0]).await, 2);
    agents[0].claim(Claim::Applied { seq: 2, result: Applied::Enforced }).await;
    pass(&place, &mut agents, 30).await;
    // Its clock is ahead: it tells of the end, and then hears that there was more time.
    let mut back = place.agent(&enrolled[1], 32).await;
    back.head = head;
    back.hello(1).await;
    assert_eq!(document(&mut back).await, 2);
    tells(&place, &mut back, (id, EndCause::Expired)).await;
    refuses(&mut back, 2).await;
    place.event("grant.refused-by-host", 1).await;
    let (state, hosts) = shown(&place, id).await;
    assert_eq!(state, State::Active);
    assert!(matches!(hosts.as_slice(), [HostState::Confirmed, HostState::Refused { .. }]), "{hosts:?}");
    tells(&place, &mut agents[0], (id, EndCause::NoContact)).await;
    place.event("grant.ended", 1).await;
    assert!(matches!(shown(&place, id).await.0, State::Ended { cause: EndCause::NoContact, .. }));
}
