//! What the signer signs and what it does not, with `ssh-keygen` as the reader.

use std::process::Command;

use elevate_protocol::person_key::PersonKeyError;
use elevate_protocol::ssh::{SshOptions, SshPart};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::*;
use crate::signer::fixture::Agent;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn ca() -> Signer {
    Signer::here(key(7))
}

fn id() -> ActivationId {
    ActivationId::from_random([0xab; 16])
}

fn order() -> Order {
    let options = SshOptions {
        source: vec!["10.1.0.0/16".parse().unwrap()],
        command: Some("/usr/bin/git-shell -c 'x'".into()),
        ..SshOptions::default()
    };
    let part = SshPart::new(vec!["git".parse().unwrap()], options).unwrap();
    Order::of((id(), Timestamp(NOW.0 + 3600)), &part, (key(1).public_key().clone(), 17), NOW)
}

async fn signed(order: &Order) -> Result<Certificate, CertificateError> {
    sign(&ca(), order, ([3; NONCE], NOW)).await
}

async fn refused(change: impl FnOnce(&mut Order)) -> CertificateError {
    let mut order = order();
    change(&mut order);
    signed(&order).await.expect_err("it was signed")
}

/// What `ssh-keygen -L` prints, line by line.
fn shown(certificate: &Certificate) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("key-cert.pub");
    std::fs::write(&file, certificate.to_openssh().unwrap()).unwrap();
    let output = Command::new("ssh-keygen").args(["-L", "-f"]).arg(&file).env("TZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_certificate_is_what_ssh_keygen_reads() {
    let certificate = signed(&order()).await.unwrap();
    let print = |key: &PrivateKey| key.public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
    let expected = [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate".to_owned(),
        format!("Public key: ED25519-CERT {}", print(&key(1))),
        format!("Signing CA: ED25519 {} (using ssh-ed25519)", print(&key(7))),
        format!("Key ID: \"{}\"", id()),
        "Serial: 17".to_owned(),
        "Valid: from 2027-01-15T07:59:00 to 2027-01-15T08:15:00".to_owned(),
        "Principals:".to_owned(),
        format!("elevate:{}", id()),
        "Critical Options:".to_owned(),
        "force-command /usr/bin/git-shell -c 'x'".to_owned(),
        "source-address 10.1.0.0/16".to_owned(),
        "Extensions:".to_owned(),
        "permit-pty".to_owned(),
    ];
    assert_eq!(shown(&certificate), expected);
    let prints = [key(7).public_key().fingerprint(ssh_key::HashAlg::Sha256)];
    certificate.validate_at(1_800_000_000, &prints).unwrap();
}

/// The same behind a real ssh-agent, which may be a token.
#[tokio::test]
async fn a_key_behind_an_agent_signs_certificates() {
    let agent = Agent::start();
    for kind in ["ed25519", "ecdsa"] {
        let public = agent.key(kind);
        let signer = Signer::agent(agent.socket(), public.clone());
        let certificate = sign(&signer, &order(), ([3; NONCE], NOW)).await.unwrap();
        let prints = [public.fingerprint(ssh_key::HashAlg::Sha256)];
        certificate.validate_at(1_800_000_000, &prints).unwrap();
        assert!(shown(&certificate).contains(&"Serial: 17".to_owned()), "{kind}");
    }
    // Another key than the agent has: nothing that anybody could see.
    let other = Signer::agent(agent.socket(), key(9).public_key().clone());
    let refused = sign(&other, &order(), ([3; NONCE], NOW)).await;
    assert!(matches!(refused, Err(CertificateError::Sign(_))));
}

/// THREATS E01, X-n: no other principals than the grant's own, whoever wrote the order.
#[tokio::test]
async fn e01_a_certificate_without_with_other_or_with_more_principals_is_not_signed() {
    let own = principal(id());
    let mut odd: Vec<Vec<String>> = vec![vec![], (0..300).map(|n| format!("p{n}")).collect()];
    odd.push(vec![own.clone(), own.clone()]);
    let other = principal(ActivationId::from_random([1; 16]));
    for text in [
        "",
        "*",
        "root",
        "root,deploy",
        "a b",
        "a\"b",
        "a\nb",
        "a\0b",
        "elevate:",
        &other,
        &format!("{own}\n"),
    ] {
        odd.push(vec![text.to_owned()]);
        odd.push(vec![own.clone(), text.to_owned()]);
    }
    for principals in odd {
        let found = principals.clone();
        let error = refused(|order| order.principals = principals).await;
        assert!(
            matches!(&error, CertificateError::Principals { found: named } if *named == found),
            "{error}"
        );
    }
}

/// THREATS E02: people's certificates only, and none that could sign.
#[tokio::test]
async fn e02_host_certificates_and_certificates_for_the_ca_are_not_signed() {
    assert!(matches!(refused(|order| order.kind = CertType::Host).await, CertificateError::Kind));
    let own = refused(|order| order.key = key(7).public_key().clone()).await;
    assert!(matches!(own, CertificateError::Own));
    // A certificate in the place of a key: it would be certified as a whole.
    let certificate = signed(&order()).await.unwrap();
    let nested = PublicKey::from_openssh(&certificate.to_openssh().unwrap());
    assert!(nested.is_err(), "ssh-key reads a certificate as a key");
    let line = certificate.to_openssh().unwrap();
    assert_eq!(person_key::parse(&line), Err(PersonKeyError::Certificate));
}

/// THREATS E03: never in the future, never for ever, never longer than the grant.
#[tokio::test]
async fn e03_a_validity_that_is_not_now_and_short_is_not_signed() {
    let at = |seconds: i64| Timestamp(NOW.0 + seconds);
    for (after, before) in [
        (0, 900),
        (60, 900),
        (-61, 900),
        (-3600, 900),
        (-60, 901),
        (-60, 86_400),
        (-60, i64::MAX - NOW.0),
        (-60, 0),
        (-60, -30),
    ] {
        let error = refused(|order| (order.valid_after, order.valid_before) = (at(after), at(before))).await;
        assert!(matches!(error, CertificateError::Validity), "{after} {before}: {error}");
    }
    // The end of the grant is nearer than a quarter of an hour.
    let error = refused(|order| order.ends_at = at(600)).await;
    assert!(matches!(error, CertificateError::Validity), "{error}");
    let mut short = order();
    (short.ends_at, short.valid_before) = (at(600), at(600));
    assert_eq!(signed(&short).await.unwrap().valid_before(), 1_800_000_600);
}

/// THREATS E16: what sshd logs of a certificate is a grant's id and a number.
#[tokio::test]
async fn e16_a_key_id_that_is_not_the_grants_id_and_a_serial_of_nothing_are_not_signed() {
    let long = "x".repeat(64 * 1024);
    for key_id in ["", "root", "a\nAccepted publickey for root", &long, &format!("{} ", id())] {
        let error = refused(|order| order.key_id = key_id.to_owned()).await;
        assert!(matches!(error, CertificateError::KeyId), "{error}");
    }
    assert!(matches!(refused(|order| order.serial = 0).await, CertificateError::Serial));
}

/// PROTOCOL.certkeys: sshd refuses a critical option that it does not know, and ignores an extension.
#[tokio::test]
async fn e10_options_that_no_role_gives_are_not_signed() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (name, value) in
        [("verify-required", ""), ("force-command", ""), ("force-command", "a\nb"), ("", "x")]
    {
        let error = refused(|order| order.critical = vec![pair(name, value)]).await;
        assert!(matches!(&error, CertificateError::Option { name: named } if named == name), "{error}");
    }
    for (name, value) in [("permit-user-rc", ""), ("permit-pty", "x"), ("permit-everything", ""), ("", "")] {
        let error = refused(|order| order.extensions = vec![pair(name, value)]).await;
        assert!(matches!(&error, CertificateError::Option { name: named } if named == name), "{error}");
    }
}

/// THREATS E17, with the keys that `ssh-keygen` makes.
#[tokio::test]
async fn e17_weak_keys_get_no_certificate_and_every_good_kind_does() {
    let data = |file: &str| {
        let path = format!("{}/../policy/tests/data/{file}.pub", env!("CARGO_MANIFEST_DIR"));
        PublicKey::from_openssh(std::fs::read_to_string(path).unwrap().trim()).unwrap()
    };
    for (file, kind) in [
        ("alice", "ssh-ed25519-cert-v01@openssh.com"),
        ("p256", "ecdsa-sha2-nistp256-cert-v01@openssh.com"),
        ("p384", "ecdsa-sha2-nistp384-cert-v01@openssh.com"),
        ("p521", "ecdsa-sha2-nistp521-cert-v01@openssh.com"),
        ("rsa3072", "ssh-rsa-cert-v01@openssh.com"),
        ("sked", "sk-ssh-ed25519-cert-v01@openssh.com"),
        ("skec", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"),
    ] {
        let order = Order { key: data(file), ..order() };
        let certificate = signed(&order).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(shown(&certificate).first().unwrap(), &format!("Type: {kind} user certificate"));
    }
    let weak = refused(|order| order.key = data("rsa2048")).await;
    assert_eq!(
        weak.to_string(),
        "no certificate for this key: this RSA key has 2048 bits, at least 3072 are needed"
    );
}

/// Threats E01, X-n: accounts stand in a certificate only where the role says so, its own, and each once.
#[tokio::test]
async fn e01_accounts_are_principals_only_where_the_role_has_such_certificates() {
    let of = |agentless: bool| {
        let options = SshOptions { agentless, ..SshOptions::default() };
        let logins = ["git", "deploy"].map(|one| one.parse().unwrap()).to_vec();
        let part = SshPart::new(logins, options).unwrap();
        Order::of((id(), Timestamp(NOW.0 + 3600)), &part, (key(1).public_key().clone(), 17), NOW)
    };
    let principals = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    for good in [&["git"][..], &["deploy", "git"]] {
        let order = Order { principals: principals(good), ..of(true) };
        assert_eq!(signed(&order).await.unwrap().valid_principals(), good);
        let order = Order { principals: principals(good), ..of(false) };
        assert!(matches!(signed(&order).await, Err(CertificateError::Principals { .. })), "{good:?}");
    }
    let own = principal(id());
    for bad in [
        &[][..],
        &["*"],
        &["root"],
        &["git,root"],
        &["git", "root"],
        &["git", "git"],
        &["git", &own],
        &["Git"],
        &["git "],
    ] {
        let order = Order { principals: principals(bad), ..of(true) };
        assert!(matches!(signed(&order).await, Err(CertificateError::Principals { .. })), "{bad:?}");
    }
    assert_eq!(signed(&of(true)).await.unwrap().valid_principals(), [own]);
}
