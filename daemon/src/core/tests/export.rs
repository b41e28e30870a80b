//! Certificates for machines without agent, and what such machines are given.

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RevokeWhat, Signs, SshExport};
use elevate_protocol::message::person::{Ask, CertificateAsk};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::ssh::principal;
use ssh_key::PublicKey;
use ssh_key::certificate::Certificate;

use super::certificates::{activate, certificate, place, plain_ask};
use super::place::*;
use crate::core::Speaker;

const POLICY: &str = r#"
[people]
alice = {}
bob = {}

[roles.db]
who = ["alice", "bob"]
hosts = { tier = "db" }
ssh = { logins = ["postgres"] }
duration = "1h"
max = "1h"
mfa = "none"

[roles.web-in]
who = ["alice"]
hosts = { tier = "web" }
ssh = { logins = ["deploy", "git"], agentless = true }
duration = "1h"
max = "1h"
mfa = "none"
"#;

async fn agentless() -> Place {
    let (place, _) = place().await;
    place.write_policy(POLICY);
    place.core.reload_policy().await.unwrap();
    place
}

fn ask(role: &str) -> CertificateAsk {
    CertificateAsk { role: Some(name(role)), agentless: true, ..plain_ask() }
}

async fn export(place: &Place) -> SshExport {
    match place.admin(AdminAsk::SshExport).await {
        AdminOutcome::SshExport(export) => *export,
        other => panic!("{other:?}"),
    }
}

async fn revoke(place: &Place, role: &str) {
    let reason = "it is enough".parse().unwrap();
    place.admin(AdminAsk::Revoke { what: RevokeWhat::Role(name(role)), reason }).await;
}

#[tokio::test]
async fn e01_only_a_role_that_says_so_has_certificates_that_name_accounts() {
    let place = agentless().await;
    activate(&place, "alice", "db").await;
    activate(&place, "alice", "web-in").await;
    let refusal = certificate(&place, ask("db")).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotEligible);
    assert!(
        refusal.message.contains("db has no certificates for machines without agent"),
        "{}",
        refusal.message
    );
    let named = |text: &str| Certificate::from_openssh(text).unwrap().valid_principals().to_vec();
    let all = certificate(&place, ask("web-in")).await.unwrap();
    assert_eq!(
        (named(&all.certificate), all.principals),
        (vec!["deploy".into(), "git".into()], vec!["deploy".into(), "git".into()])
    );
    let one = CertificateAsk { login: Some(name("git")), ..ask("web-in") };
    assert_eq!(named(&certificate(&place, one).await.unwrap().certificate), ["git"]);
    let other = CertificateAsk { login: Some(name("root")), ..ask("web-in") };
    assert_eq!(certificate(&place, other).await.unwrap_err().code, Code::NotEligible);
    // Who does not ask for it gets what hosts take, of this role too.
    let plain = certificate(&place, CertificateAsk { agentless: false, ..ask("web-in") }).await.unwrap();
    assert_eq!(named(&plain.certificate), [principal(plain.id)]);
}

#[tokio::test]
async fn an_export_revokes_what_is_over_and_lives_and_its_version_grows_with_what_differs() {
    let mut place = agentless().await;
    let first = export(&place).await;
    assert!(first.revoked.is_empty() && first.user_ca.keys().len() == 1);
    activate(&place, "alice", "web-in").await;
    activate(&place, "alice", "db").await;
    let view = certificate(&place, ask("web-in")).await.unwrap();
    certificate(&place, CertificateAsk { agentless: false, ..ask("db") }).await.unwrap();
    place.clock.advance(60);
    assert_eq!(export(&place).await, first, "nothing has ended");
    revoke(&place, "web-in").await;
    let second = export(&place).await;
    assert_eq!(second.revoked, [view.id].into());
    assert!(second.version > first.version);
    place.restart().await;
    assert_eq!(export(&place).await, second, "the same again is the same");
    // Its certificate is over.
    place.clock.advance(15 * 60);
    let third = export(&place).await;
    assert!(third.revoked.is_empty() && third.version > second.version);
    // Another key: those of before are trusted on, and sign for machines that know them alone.
    place.admin(AdminAsk::KeyRotate { signs: Signs::SshUserCa, overlap: None, key_type: None }).await;
    let fourth = export(&place).await;
    assert!(fourth.user_ca.keys().len() == 2 && fourth.version > third.version);
    activate(&place, "alice", "web-in").await;
    let view = certificate(&place, ask("web-in")).await.unwrap();
    let oldest = PublicKey::from_openssh(first.user_ca.keys()[0].as_str()).unwrap();
    assert_eq!(Certificate::from_openssh(&view.certificate).unwrap().signature_key(), oldest.key_data());
}

/// THREATS I14: what a backup has forgotten stays revoked where it was.
#[tokio::test]
async fn i14_after_a_restore_no_list_is_exported_while_a_forgotten_certificate_may_live() {
    let mut place = agentless().await;
    let file = |place: &Place, name: &str| place.folder.path().join(name);
    activate(&place, "alice", "web-in").await;
    place.core.close().await;
    std::fs::copy(file(&place, "elevated.db"), file(&place, "backup")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    certificate(&place, ask("web-in")).await.unwrap();
    revoke(&place, "web-in").await;
    let before = export(&place).await;
    assert_eq!(before.revoked.len(), 1);
    place.core.close().await;
    std::fs::copy(file(&place, "backup"), file(&place, "elevated.db")).unwrap();
    place.core = open(place.folder.path(), &place.clock).await.unwrap();
    let refused = async |place: &Place| {
        let asked = Ask::Admin(AdminAsk::SshExport);
        place.talk(Speaker::Root { uid: 0 }, asked).end().await.unwrap_err().code
    };
    assert_eq!(refused(&place).await, Code::Locked, "until the backup is accepted");
    let reason = "the disk of vault1 was lost".parse().unwrap();
    place.admin(AdminAsk::RestoreAccept { reason }).await;
    assert_eq!(refused(&place).await, Code::Busy);
    place.clock.advance(14 * 60);
    assert_eq!(refused(&place).await, Code::Busy, "it may live for another minute");
    place.clock.advance(2 * 60);
    assert!(export(&place).await.version > before.version);
}
