//! A host that people call by a name that an administrator gave it beside its own.

use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome, RequestAsk};
use elevate_protocol::message::refusal::Code;

use super::certificates::{activate, certificate, place, plain_ask};
use super::place::*;

async fn rename(place: &Place, host: &str, add: &[&str], remove: &[&str]) {
    let list = |names: &[&str]| names.iter().map(|one| one.parse().unwrap()).collect();
    place.admin(AdminAsk::HostNames { name: name(host), add: list(add), remove: list(remove) }).await;
}

fn by(host: &str) -> RequestAsk {
    RequestAsk { hosts: vec![word(host)], ..wanted("db", false) }
}

/// Which host a request is for; why there is none.
async fn asked(place: &Place, host: &str) -> Result<String, Code> {
    match place.ask("alice", Ask::Request(by(host))).await {
        Ok(Outcome::Activation(view)) => {
            let [only] = view.hosts.as_slice() else { panic!("{view:?}") };
            place.ask("alice", Ask::Drop { id: None, all: true }).await.unwrap();
            Ok(only.name.to_string())
        }
        Err(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_an_administrator_gave_leads_to_its_host_wherever_a_host_is_named() {
    let (place, _) = place().await;
    let names = ["db.example.org", "10.0.0.5", "a-name-that-is-longer-than-those-of-ours.example.org"];
    rename(&place, "db1", &names, &[]).await;
    for called in names {
        assert_eq!(asked(&place, called).await.as_deref(), Ok("db1"), "{called}");
        let can_i = Ask::CanI { role: name("db"), host: Some(word(called)) };
        let told = place.ask("alice", can_i).await;
        assert!(matches!(&told, Ok(Outcome::Explanation(view)) if view.yes), "{told:?}");
    }
    activate(&place, "alice", "db").await;
    for (called, told) in [("db1", None), ("db.example.org", Some("db1")), ("10.0.0.5", Some("db1"))] {
        let view = certificate(&place, CertificateAsk { host: Some(word(called)), ..plain_ask() }).await;
        assert_eq!(view.unwrap().host, told.map(name), "{called}");
    }
}

#[tokio::test]
async fn each_host_of_a_role_is_shown_with_its_own_further_names_and_no_others() {
    let (place, _) = place().await;
    rename(&place, "db1", &["db.example.org", "10.0.0.5"], &[]).await;
    rename(&place, "web1", &["web.example.org"], &[]).await;
    let Ok(Outcome::Eligible(mine)) = place.ask("alice", Ask::Eligible).await else { panic!() };
    let mut roles = 0;
    for role in mine {
        let expected = if role.role == name("web-in") {
            ("web1", vec!["web.example.org"])
        } else {
            ("db1", vec!["10.0.0.5", "db.example.org"])
        };
        let told: Vec<(&str, Vec<&str>)> = role
            .names
            .iter()
            .map(|(host, names)| (host.as_str(), names.iter().map(|name| name.as_str()).collect()))
            .collect();
        assert_eq!(told, [expected], "{:?}", role.role);
        roles += 1;
    }
    assert_eq!(roles, 4);
}

/// THREATS E19: one name never leads to two hosts, and an enrolled one is its own host's.
#[tokio::test]
async fn e19_a_name_leads_to_one_host_and_to_none_once_it_is_taken_away_or_enrolled() {
    let (place, _) = place().await;
    rename(&place, "db1", &["db9", "db.example.org"], &[]).await;
    assert_eq!(asked(&place, "db9").await.as_deref(), Ok("db1"));
    place.enrol("db9", "mail", 43).await;
    assert_eq!(asked(&place, "db9").await, Err(Code::NotEligible), "the host that is enrolled so");
    rename(&place, "db1", &[], &["db.example.org"]).await;
    assert_eq!(asked(&place, "db.example.org").await, Err(Code::UnknownHost));
    place.enrol("db2", "db", 44).await;
    rename(&place, "db2", &["db.example.org"], &[]).await;
    assert_eq!(asked(&place, "db.example.org").await, Err(Code::Host), "db2, which was never connected");
    // In a store of before, two had it.
    let mut tx = place.core.0.store.write().await.unwrap();
    let db1 = tx.host_named(&name("db1")).await.unwrap().unwrap();
    tx.set_names(db1.id, &["db.example.org".parse().unwrap()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(asked(&place, "db.example.org").await, Err(Code::UnknownHost));
}

/// Whoever has no role for a host does not learn which one an address is.
#[tokio::test]
async fn a_name_of_a_host_that_nobodys_role_is_for_leads_nowhere() {
    let (place, _) = place().await;
    place.enrol("mail1", "mail", 43).await;
    rename(&place, "mail1", &["10.0.0.7"], &[]).await;
    let mut told = Vec::new();
    for host in ["10.0.0.7", "10.0.0.8"] {
        let asks = [
            Ask::Request(by(host)),
            Ask::CanI { role: name("db"), host: Some(word(host)) },
            Ask::Why { host: Some(word(host)), argv: vec!["/usr/bin/id".into()] },
            Ask::Certificate(CertificateAsk { host: Some(word(host)), ..plain_ask() }),
        ];
        for ask in asks {
            let refusal = place.ask("alice", ask).await.unwrap_err();
            assert_eq!(refusal.code, Code::UnknownHost, "{refusal:?}");
            told.push((refusal.message.replace(host, "HOST"), refusal.hint));
        }
    }
    let (there, nowhere) = told.split_at(4);
    assert_eq!(there, nowhere);
}
