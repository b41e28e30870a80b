//! The second factor under attack.

use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;

use super::place::*;

#[tokio::test]
async fn d01_a_code_counts_once_for_every_purpose_and_after_a_restart() {
    let mut place = Place::new().await;
    place.factor("alice").await;
    let code = place.code("alice");
    let mut first = place.talk(place.person("alice"), Ask::FactorTest);
    let challenge = first.challenge().await;
    first.answer(challenge, &code).await;
    assert!(matches!(first.end().await, Ok(Outcome::Ok)));
    for round in 0..2 {
        let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
        let challenge = talk.challenge().await;
        talk.answer(challenge, &code).await;
        let Reply::Verdict { accepted: false, message: Some(message), .. } = talk.next().await else {
            panic!("accepted")
        };
        assert!(message.contains("used before"), "{message}");
        drop(talk);
        if round == 0 {
            place.restart().await;
        }
    }
    // The step before the used one is used up with it.
    place.clock.advance(-30);
    let earlier = place.same_code("alice");
    place.clock.advance(30);
    let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
    let challenge = talk.challenge().await;
    talk.answer(challenge, &earlier).await;
    assert!(matches!(talk.next().await, Reply::Verdict { accepted: false, .. }));
    assert_eq!((place.count("factor.reused").await, place.count("factor.rejected").await), (3, 0));
    assert_eq!(place.count("factor.accepted").await, 1);
}

#[tokio::test]
async fn d04_one_code_of_many_at_once_has_one_success() {
    let place = Place::new().await;
    place.factor("alice").await;
    let code = place.code("alice");
    let mut talks = Vec::new();
    for _ in 0..30 {
        let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
        let challenge = talk.challenge().await;
        talks.push((talk, challenge));
    }
    for (talk, challenge) in &talks {
        talk.answer(*challenge, &code).await;
    }
    let mut accepted = 0;
    for (mut talk, _) in talks {
        let Reply::Verdict { accepted: right, .. } = talk.next().await else { panic!("no verdict") };
        accepted += u32::from(right);
    }
    assert_eq!(accepted, 1);
    assert_eq!(place.count("factor.accepted").await, 1);
}

#[tokio::test]
async fn d02_wrong_codes_delay_and_lock_across_conversations_and_restarts() {
    let mut place = Place::new().await;
    place.factor("alice").await;
    place.clock.advance(30);
    let wrong = place.wrong_code("alice");
    let mut evaluated = 0;
    for round in 0..1000 {
        if round == 500 {
            place.restart().await;
        }
        let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
        let challenge = match talk.next().await {
            Reply::Challenge(challenge) => challenge.id,
            Reply::Refused(refusal) => {
                assert_eq!(refusal.code, Code::Factor);
                continue;
            }
            other => panic!("{other:?}"),
        };
        talk.answer(challenge, &wrong).await;
        match talk.next().await {
            Reply::Verdict { accepted: false, .. } => evaluated += 1,
            Reply::Refused(refusal) => assert_eq!(refusal.code, Code::Factor),
            other => panic!("{other:?}"),
        }
    }
    // Nobody moved the clock: five are looked at, then a delay that does not end.
    assert_eq!(evaluated, 5);
    assert_eq!(place.count("factor.rejected").await, 5);
    // An attacker who waits out each delay gets ten, then a quarter of an hour of nothing.
    for _ in 0..60 {
        place.clock.advance(100);
        let wrong = place.wrong_code("alice");
        let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
        if let Reply::Challenge(challenge) = talk.next().await {
            talk.answer(challenge.id, &wrong).await;
            talk.next().await;
        }
        if place.count("factor.locked").await > 0 {
            break;
        }
    }
    assert_eq!(place.count("factor.rejected").await, 10);
    let right = place.code("alice");
    let refused = place.ask("alice", Ask::FactorTest).await.unwrap_err();
    assert!(refused.message.contains("locked"), "{refused:?} {right}");
    place.clock.advance(900);
    assert!(place.ask_with_code("alice", Ask::FactorTest).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d02_fifty_at_once_get_five_codes_looked_at() {
    let place = Place::new().await;
    place.factor("alice").await;
    place.clock.advance(30);
    let wrong = place.wrong_code("alice");
    let mut rounds = Vec::new();
    // A person may hold a bounded number of conversations: those above are refused, which is fine for this.
    for _ in 0..50 {
        let (mut talk, wrong) = (place.talk(place.person("alice"), Ask::FactorTest), wrong.clone());
        rounds.push(tokio::spawn(async move {
            let Reply::Challenge(challenge) = talk.next().await else { return 0 };
            talk.answer(challenge.id, &wrong).await;
            u32::from(matches!(talk.next().await, Reply::Verdict { accepted: false, .. }))
        }));
    }
    let mut evaluated = 0;
    for round in rounds {
        evaluated += round.await.unwrap();
    }
    assert_eq!((evaluated, place.count("factor.rejected").await), (5, 5));
}

#[tokio::test]
async fn d06_a_challenge_takes_its_own_answer_only() {
    let place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let agent = place.obedient(&web1, 31).await;
    place.factor("alice").await;
    let mut one = place.talk(place.person("alice"), Ask::FactorTest);
    let other = one.challenge().await;
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    talk.challenge().await;
    // The answer to another conversation's challenge, with a right code.
    talk.answer(other, &place.code("alice")).await;
    assert_eq!(code_of(talk.end().await), Code::Factor);
    // Confirm without an answer.
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    let challenge = talk.challenge().await;
    let confirm = elevate_protocol::message::person::Say::Confirm { challenge, passed: true };
    talk.say.send(confirm).await.unwrap();
    assert_eq!(code_of(talk.end().await), Code::Usage);
    // A second ask in the place of an answer: bob's grant with alice's challenge, or any other.
    let mut talk = place.talk(place.person("alice"), request("web-ops"));
    talk.challenge().await;
    talk.say.send(elevate_protocol::message::person::Say::Ask(request("dba"))).await.unwrap();
    assert_eq!(code_of(talk.end().await), Code::Usage);
    assert_eq!((place.count("request.created").await, place.count("factor.accepted").await), (0, 0));
    assert!(agent.acts().is_empty());
}

#[tokio::test]
async fn d06_a_challenge_lives_five_minutes() {
    let place = Place::new().await;
    place.factor("alice").await;
    let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
    talk.challenge().await;
    place.clock.advance(300);
    assert_eq!(code_of(talk.end().await), Code::Factor);
}

#[tokio::test]
async fn d12_the_seed_is_in_no_file_and_no_event() {
    let place = Place::new().await;
    let invitation = place.token(AdminAsk::PersonInvite { person: name("alice"), valid: None }).await;
    let token = invitation.expose().to_owned();
    let mut talk = place.talk(place.person("alice"), Ask::FactorAdd { invitation });
    let Reply::Seed { uri } = talk.next().await else { panic!("no seed") };
    let totp = totp_rs::Totp::from_url(uri.expose()).unwrap();
    let challenge = talk.challenge().await;
    let code = totp.generate(u64::try_from(place.clock.now().0).unwrap()).to_string();
    talk.answer(challenge, &code).await;
    assert!(talk.end().await.is_ok());
    let base32 = uri.expose().split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let seed = totp.secret().as_ref().to_vec();
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    place.core.close().await;
    let mut bytes = 0;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        bytes += content.len();
        for needle in [seed.as_slice(), base32.as_bytes(), hex.as_bytes(), token.as_bytes()] {
            assert!(!content.windows(needle.len()).any(|part| part == needle), "{}", path.display());
        }
    }
    assert!(bytes > 10_000);
}

#[tokio::test]
async fn an_invitation_is_for_one_person_one_success_and_five_tries() {
    let place = Place::new().await;
    let invite = || AdminAsk::PersonInvite { person: name("alice"), valid: None };
    let invitation = place.token(invite()).await;
    let add = |token: &Secret| Ask::FactorAdd { invitation: token.clone() };
    assert_eq!(code_of(place.ask("mallory", add(&invitation)).await), Code::Factor);
    let mut talk = place.talk(place.person("alice"), add(&invitation));
    assert!(matches!(talk.next().await, Reply::Seed { .. }));
    let challenge = talk.challenge().await;
    for left in (0..5u8).rev() {
        talk.answer(challenge, "abcdef").await;
        let Reply::Verdict { accepted: false, tries, .. } = talk.next().await else { panic!() };
        assert_eq!(tries, left);
    }
    assert_eq!(code_of(talk.end().await), Code::Factor);
    assert_eq!(code_of(place.ask("alice", add(&invitation)).await), Code::Factor);
    // A new one, which is worth nothing a day later.
    let late = place.token(invite()).await;
    place.clock.advance(86_400);
    assert_eq!(code_of(place.ask("alice", add(&late)).await), Code::Factor);
    place.factor("alice").await;
    let Outcome::Factors(factors) = place.ask("alice", Ask::FactorList).await.unwrap() else { panic!() };
    assert_eq!(factors.len(), 1);
}

/// Phishing by relay: what is asked for a code says whose, for what, where, and for whose request.
#[tokio::test]
async fn d09_a_prompt_names_person_act_role_host_and_request() {
    let place = Place::new().await;
    let db1 = place.enrol("db1", "db", 32).await;
    let _agent = place.obedient(&db1, 32).await;
    for who in ["alice", "bob"] {
        place.factor(who).await;
    }
    let prompt = |reply: Reply| match reply {
        Reply::Challenge(challenge) => challenge.prompt.raw().to_owned(),
        other => panic!("{other:?}"),
    };
    let asked = prompt(place.talk(place.person("alice"), request("dba")).next().await);
    assert_eq!(asked, "Code for alice: start dba on db1");
    let pending = view(place.ask_with_code("alice", request("dba")).await.unwrap());
    let approve = Ask::Approve { id: pending.id.into(), reason: None };
    let asked = prompt(place.talk(place.person("bob"), approve).next().await);
    assert_eq!(asked, format!("Code for bob: approve R-{}: dba on db1 for alice", pending.short));
    let asked = prompt(place.talk(place.person("alice"), Ask::RecoveryMake).next().await);
    assert_eq!(asked, "Code for alice: make recovery codes; earlier ones are worth nothing then");
}

/// "User exists? factor enrolled? code right but locked?": only whoever is let in by a key hears anything, and a right code
/// that comes while the door is closed is answered like a wrong one.
#[tokio::test]
async fn d14_a_right_code_at_a_closed_door_is_answered_like_a_wrong_one() {
    let place = Place::new().await;
    place.factor("alice").await;
    place.clock.advance(30);
    let mut answers = Vec::new();
    let mut talks = Vec::new();
    for _ in 0..7 {
        let mut talk = place.talk(place.person("alice"), Ask::FactorTest);
        let challenge = talk.challenge().await;
        talks.push((talk, challenge));
    }
    let (wrong, right) = (place.wrong_code("alice"), place.same_code("alice"));
    for (place_in_line, (mut talk, challenge)) in talks.into_iter().enumerate() {
        let code = if place_in_line == 6 { &right } else { &wrong };
        talk.answer(challenge, code).await;
        match talk.next().await {
            Reply::Verdict { accepted, .. } => assert!(!accepted),
            Reply::Refused(refusal) => answers.push(refusal),
            other => panic!("{other:?}"),
        }
    }
    // Five were looked at; the sixth was wrong, the seventh right, and nothing tells them apart.
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], answers[1]);
    assert_eq!((place.count("factor.rejected").await, place.count("factor.accepted").await), (5, 0));
}
