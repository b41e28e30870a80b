//! What the key of hosts signs, and what it never sees.

use ssh_key::private::{Ed25519Keypair, PrivateKey};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn host_key(seed: u8) -> HostKey {
    HostKey::of_file(&key(seed).public_key().to_openssh().unwrap()).unwrap()
}

fn order() -> HostOrder {
    let names = HostNames::of(&"web1".parse().unwrap(), &["10.0.0.5".parse().unwrap()]).unwrap();
    HostOrder::of(HostId::from_random([1; 16]), names, (host_key(1), 7), NOW)
}

#[tokio::test]
async fn a_host_certificate_says_what_the_host_is_and_nothing_else() {
    let made = sign(&Signer::here(key(9)), &order(), ([3; NONCE], NOW)).await.unwrap();
    let line = made.to_openssh().unwrap();
    let proof = host_ssh::prove_host(&line, &host_key(1), (&[key(9).public_key().clone()], NOW)).unwrap();
    assert_eq!((proof.serial, proof.valid_before), (7, NOW.after(HOST_LIFE)));
    assert_eq!(proof.names, order().names);
    assert_eq!(made.key_id(), HostId::from_random([1; 16]).to_string());
}

/// THREATS E01, E02, E17, E19: the signer looks at everything once more.
#[tokio::test]
async fn e19_the_signer_refuses_what_is_no_host_certificate() {
    let change = |change: &dyn Fn(&mut HostOrder)| {
        let mut order = order();
        change(&mut order);
        order
    };
    let refused = async |order: HostOrder| {
        sign(&Signer::here(key(9)), &order, ([3; NONCE], NOW)).await.unwrap_err().to_string()
    };
    for (wrong, why) in [
        (change(&|order| order.kind = CertType::User), "only certificates for hosts"),
        (change(&|order| order.serial = 0), "has a serial"),
        (change(&|order| order.key = host_key(9)), "gets none"),
        (change(&|order| order.key_id = "web1".to_owned()), "key id"),
        (change(&|order| order.principals.clear()), "names its host"),
        (change(&|order| order.principals = vec!["*".to_owned()]), "names its host"),
        (change(&|order| order.principals.push("web2".to_owned())), "names its host"),
        (change(&|order| order.principals = vec!["web1,web2".to_owned()]), "names its host"),
        (change(&|order| order.valid_before = NOW.after(HOST_LIFE).after(Span(1))), "is valid from"),
        (change(&|order| order.valid_after = NOW.before(Span::HOUR)), "is valid from"),
        (change(&|order| order.valid_before = NOW), "is valid from"),
    ] {
        let said = refused(wrong).await;
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_host_gets_no_flood_of_certificates() {
    let ca = HostCa::new(Ca::new(vec![(1, Signer::here(key(9)))], 1));
    let (host, names) = (HostId::from_random([1; 16]), order().names);
    for _ in 0..EACH_HOUR {
        ca.certify((host, &names), host_key(1), (Which::Newest, NOW)).await.unwrap();
    }
    let more = ca.certify((host, &names), host_key(1), (Which::Newest, NOW)).await;
    assert!(matches!(more, Err(HostCertificateError::Often)));
    let other = HostId::from_random([2; 16]);
    ca.certify((other, &names), host_key(1), (Which::Newest, NOW)).await.unwrap();
    let later = NOW.after(Span::HOUR);
    ca.certify((host, &names), host_key(1), (Which::Newest, later)).await.unwrap();
}
