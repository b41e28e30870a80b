//! A thousand people, a thousand hosts, a policy of that size: whatever answers lists answers them whole.

use std::fmt::Write;

use elevate_protocol::frame::{FRAME_MAX, encode};
use elevate_protocol::id::HostId;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::person::{Ask, Outcome, Reply};
use elevate_protocol::message::refusal::Code;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::place::{POLICY, Place};
use crate::core::Speaker;

const MANY: usize = 1_000;

/// The policy with a thousand people more, each with a key and a role.
fn large() -> String {
    let (head, roles) = POLICY.split_once("\n[groups]\n").unwrap();
    let mut text = head.to_owned();
    for n in 0..MANY {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed(n))).public_key().to_openssh().unwrap();
        write!(text, "\noperator{n:04} = {{ keys = [{key:?}] }}").unwrap();
    }
    text.push_str("\n\n[groups]\n");
    text.push_str(roles);
    for n in 0..MANY {
        write!(
            text,
            "\n[roles.service-{n:04}]\ntitle = \"Restart service {n:04}\"\nwho = [\"alice\", \"operator{n:04}\"]\n\
             hosts = {{ tier = \"web\" }}\nsudo = {{ as = \"root\", run = [[\"/usr/bin/systemctl\", \"restart\", \"service{n:04}.service\"]] }}\n"
        )
        .unwrap();
    }
    text
}

/// Bytes of which no two are the same.
fn seed<const N: usize>(n: usize) -> [u8; N] {
    let mut bytes = [9; N];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

#[tokio::test]
async fn a_thousand_people_and_their_policy_are_shown_whole() {
    let place = Place::new().await;
    let policy = place.write_policy(&large());
    place.admin(AdminAsk::PolicyReload).await;
    let AdminOutcome::People(people) = place.admin(AdminAsk::PersonList).await else { panic!() };
    assert_eq!(people.len(), MANY + 5);
    assert!(people.iter().all(|one| one.keys.len() == 1));
    let AdminOutcome::Policy { text, .. } = place.admin(AdminAsk::PolicyShow).await else { panic!() };
    assert!(text.len() > FRAME_MAX, "{} is no test of it", text.len());
    assert_eq!(text, policy.show_effective());
    let Outcome::Eligible(roles) = place.ask("alice", Ask::Eligible).await.unwrap() else { panic!() };
    assert_eq!(roles.len(), MANY + 2);
}

#[tokio::test]
async fn a_thousand_hosts_are_listed_each_frame_a_frame() {
    let place = Place::new().await;
    let first = place.enrol("web1", "web", 31).await;
    let mut tx = place.core.inner().store.write().await.unwrap();
    let mut host = tx.host(first.host).await.unwrap().unwrap();
    for label in ["site", "team", "stage"] {
        host.labels.insert(label.parse().unwrap(), "as-long-as-labels-mostly-are".parse().unwrap());
    }
    for n in 1..MANY {
        host.id = HostId::from_random(seed(n));
        host.name = format!("web{n:04}").parse().unwrap();
        host.link_fingerprint = format!("SHA256:{n}");
        tx.insert_host(&host).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut talk = place.talk(Speaker::Root { uid: 0 }, Ask::Admin(AdminAsk::HostList));
    let mut count = 0;
    loop {
        let reply = talk.next().await;
        assert!(encode(&reply).is_ok());
        count += 1;
        match reply {
            Reply::Part { left: 0, .. } => break,
            Reply::Part { .. } => {}
            _ => panic!("one frame is no test of it"),
        }
    }
    assert!(count > 1);
    let AdminOutcome::Hosts(hosts) = place.admin(AdminAsk::HostList).await else { panic!() };
    assert_eq!(hosts.len(), MANY);
}

#[tokio::test]
async fn b06_through_a_hosts_door_an_answer_has_a_smaller_bound() {
    let place = Place::new().await;
    let title = "x".repeat(200);
    place.write_policy(&large().replace("title = \"Restart", &format!("title = \"{title}")));
    place.admin(AdminAsk::PolicyReload).await;
    let web1 = place.enrol("web1", "web", 31).await;
    let _agent = place.obedient(&web1, 31).await;
    let here = Speaker::OnHost {
        host: web1.host,
        name: "alice".parse().unwrap(),
        uid: 2000,
        login: "alice".parse().unwrap(),
    };
    let Ok(Outcome::Eligible(roles)) = place.talk(here.clone(), Ask::Eligible).end().await else { panic!() };
    assert_eq!(roles.len(), MANY + 1);
    let whole = serde_json::to_vec(&Outcome::Eligible(roles)).unwrap().len();
    assert!(whole < 1024 * 1024 && whole > FRAME_MAX, "{whole}");
    place.write_policy(&large().replace("title = \"Restart", &format!("title = \"{}", "x".repeat(1000))));
    place.admin(AdminAsk::PolicyReload).await;
    let refused = place.talk(here, Ask::Eligible).end().await.unwrap_err();
    assert_eq!(refused.code, Code::Usage);
    assert!(
        matches!(place.ask("alice", Ask::Eligible).await, Ok(Outcome::Eligible(roles)) if roles.len() == MANY + 2)
    );
}
