//! Recovery codes under attack, and locking oneself.

use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;

use super::place::*;

fn lock_me() -> Ask {
    Ask::LockMe { ttl: None, reason: "phone gone".parse().ok() }
}

/// A set of codes, as a person makes one.
async fn codes(place: &Place, who: &str) -> Vec<String> {
    match place.ask_with_code(who, Ask::RecoveryMake).await.unwrap() {
        Outcome::Recovery(codes) => codes.iter().map(|code| code.expose().to_owned()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Asks through web1's door, with this at its prompt; the host's own stack agrees.
async fn through(agent: &mut Obedient, conversation: u64, ask: Ask, code: &str) -> Reply {
    agent.calls.send((conversation, Say::Ask(ask))).await.unwrap();
    loop {
        let (_, reply) = soon("a reply", agent.replied.recv()).await.unwrap();
        match reply {
            Reply::Challenge(challenge) => {
                let code = Secret::new(code.to_owned());
                agent
                    .calls
                    .send((conversation, Say::Answer { challenge: challenge.id, code }))
                    .await
                    .unwrap();
                let (_, verdict) = soon("a verdict", agent.replied.recv()).await.unwrap();
                let Reply::Verdict { accepted: true, .. } = verdict else { return verdict };
                let confirm = Say::Confirm { challenge: challenge.id, passed: true };
                agent.calls.send((conversation, confirm)).await.unwrap();
            }
            Reply::Progress(_) => {}
            done => return done,
        }
    }
}

#[tokio::test]
async fn d11_a_recovery_code_works_once_locks_and_does_nothing_else() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let codes = codes(&place, "alice").await;
    assert_eq!(codes.len(), 10);
    // Not for a right, not for a decision, not for a try: there it is a wrong code.
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    let challenge = talk.challenge().await;
    talk.answer(challenge, &codes[0]).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: false, .. }));
    drop(talk);
    place.event("factor.rejected", 1).await;
    place.ask_with_code("alice", waiting("web-ops")).await.unwrap();
    let typed = codes[0].to_lowercase().replace('-', " ");
    let Reply::Done(Outcome::Locked(told)) = through(&mut web, 1, lock_me(), &typed).await else { panic!() };
    assert_eq!((told.ended.count, told.unconfirmed_count), (1, 0));
    assert_eq!(told.lock.by.raw(), "alice");
    assert_eq!(code_of(place.ask("alice", request("web-ops")).await), Code::Locked);
    let unlock = elevate_protocol::message::admin::AdminAsk::Unlock {
        what: elevate_protocol::message::lock::LockWhat::Person(name("alice")),
        reason: "found again".parse().unwrap(),
    };
    place.admin(unlock).await;
    // Used is used, also after a restart; the others are not.
    drop(web);
    place.restart().await;
    let mut web = place.obedient(&web1, 31).await;
    for (conversation, code, right) in [(2, &codes[0], false), (3, &codes[1], true)] {
        let answer = through(&mut web, conversation, lock_me(), code).await;
        assert_eq!(matches!(answer, Reply::Done(Outcome::Locked(_))), right, "{answer:?}");
    }
    let used: Vec<serde_json::Value> = place
        .events()
        .await
        .iter()
        .filter(|event| event.kind.code() == "recovery.used")
        .map(|event| serde_json::from_str(&event.to_line().unwrap()).unwrap())
        .collect();
    assert_eq!(used.len(), 2);
    assert_eq!((&used[0]["details"]["left"], &used[1]["details"]["left"]), (&9.into(), &8.into()));
}

#[tokio::test]
async fn d11_guessing_recovery_codes_is_counted_like_any_guessing() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let real = codes(&place, "alice").await;
    for n in 1..=5u64 {
        let answer = through(&mut web, n, lock_me(), "0000-0000-0000").await;
        assert!(matches!(answer, Reply::Verdict { accepted: false, .. }), "{n}: {answer:?}");
    }
    // The delay of five wrong codes: a right one is not looked at, of neither kind.
    let Reply::Refused(refusal) = through(&mut web, 6, lock_me(), &real[0]).await else { panic!() };
    assert_eq!(refusal.code, Code::Factor);
    assert_eq!((place.count("factor.rejected").await, place.count("recovery.used").await), (5, 0));
    // Through her own key she needs none: it takes rights away.
    assert!(matches!(place.ask("alice", lock_me()).await, Ok(Outcome::Locked(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d11_one_code_of_two_at_once_has_one_success() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let codes = codes(&place, "alice").await;
    let mut web = web;
    // Two conversations that are challenged before either answers.
    let mut challenges = Vec::new();
    for conversation in [1, 2] {
        web.calls.send((conversation, Say::Ask(lock_me()))).await.unwrap();
        let (_, reply) = soon("a challenge", web.replied.recv()).await.unwrap();
        let Reply::Challenge(challenge) = reply else { panic!("{reply:?}") };
        challenges.push((conversation, challenge.id));
    }
    for (conversation, challenge) in challenges {
        let code = Secret::new(codes[0].clone());
        web.calls.send((conversation, Say::Answer { challenge, code })).await.unwrap();
    }
    let mut accepted = 0;
    for _ in 0..2 {
        let (_, reply) = soon("a verdict", web.replied.recv()).await.unwrap();
        let Reply::Verdict { accepted: right, .. } = reply else { panic!("{reply:?}") };
        accepted += u32::from(right);
    }
    assert_eq!((accepted, place.count("recovery.used").await), (1, 1));
}

#[tokio::test]
async fn d11_a_new_set_voids_the_old_one_and_no_code_is_in_a_file_or_event() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let mut web = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let old = codes(&place, "alice").await;
    let new = codes(&place, "alice").await;
    let answer = through(&mut web, 1, lock_me(), &old[3]).await;
    assert!(matches!(answer, Reply::Verdict { accepted: false, .. }), "{answer:?}");
    let answer = through(&mut web, 2, lock_me(), &new[3]).await;
    assert!(matches!(answer, Reply::Done(Outcome::Locked(_))), "{answer:?}");
    place.core.close().await;
    let mut bytes = 0;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        bytes += content.len();
        for code in old.iter().chain(&new) {
            for form in [code.clone(), code.replace('-', ""), code.to_lowercase()] {
                let found = content.windows(form.len()).any(|part| part == form.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
    assert!(bytes > 10_000);
}
