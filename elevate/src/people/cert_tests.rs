//! Which files `elevate cert` writes, and which it never does.

use std::os::unix::fs::PermissionsExt;

use elevate_protocol::time::Timestamp;

use super::*;

fn words(output: &Path, key: Option<&Path>) -> Cert {
    Cert {
        which: None,
        output: output.to_owned(),
        key: key.map(Path::to_owned),
        host: None,
        login: None,
        agentless: false,
    }
}

/// A certificate of a key, as the daemon would send it.
fn view(key: &PublicKey) -> CertificateView {
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let mut builder = ssh_key::certificate::Builder::new([1; 32], key.key_data().clone(), 10, 20).unwrap();
    builder.valid_principal("elevate:x").unwrap();
    CertificateView {
        certificate: builder.sign(&ca).unwrap().to_openssh().unwrap(),
        id: elevate_protocol::id::ActivationId::from_random([1; 16]),
        short: "7K2M".into(),
        role: "db".parse().unwrap(),
        hosts: vec!["db1".parse().unwrap()],
        host: None,
        logins: vec!["postgres".parse().unwrap()],
        serial: 1,
        fingerprint: String::new(),
        principals: vec![],
        valid_after: Timestamp(10),
        valid_before: Timestamp(20),
        ends_at: Timestamp(20),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_fresh_key_is_private_is_kept_and_gets_the_next_certificate_too() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("db");
    let plan = Plan::new(&words(&file, None)).unwrap();
    assert!(!file.exists(), "nothing is written before there is a certificate");
    plan.write(&view(&plan.public)).unwrap();
    let certificate = place.path().join("db-cert.pub");
    assert_eq!((mode(&file), mode(&certificate) & 0o600), (0o600, 0o600));
    let before = std::fs::read(&file).unwrap();
    let again = Plan::new(&words(&file, None)).unwrap();
    assert!(again.fresh.is_none() && again.public.key_data() == plan.public.key_data());
    again.write(&view(&again.public)).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let read = Certificate::read_file(&certificate).unwrap();
    assert_eq!(read.public_key(), plan.public.key_data());
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, 2, "nothing half written stays");
}

#[test]
fn what_is_there_and_no_private_key_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("notes");
    std::fs::write(&file, "not a key\n").unwrap();
    let message = |plan: Result<Plan, Failure>| plan.err().unwrap().refusal().message;
    assert!(message(Plan::new(&words(&file, None))).contains("is no private key"));
    let fresh = place.path().join("db");
    let plan = Plan::new(&words(&fresh, None)).unwrap();
    // Made by somebody else between the question and the answer.
    std::fs::write(&fresh, "x").unwrap();
    assert!(plan.write(&view(&plan.public)).err().unwrap().refusal().message.contains("cannot write"));
    assert_eq!(std::fs::read(&fresh).unwrap(), b"x");
    let open = place.path().join("open");
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32])).to_openssh(LineEnding::LF).unwrap();
    std::fs::write(&open, key.as_bytes()).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(message(Plan::new(&words(&open, None))).contains("others can read"));
}

#[test]
fn a_key_of_ones_own_is_read_and_only_its_certificate_written() {
    let place = tempfile::tempdir().unwrap();
    let own = place.path().join("id.pub");
    let public = PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32])).public_key().clone();
    std::fs::write(&own, format!("{} alice@laptop\n", public.to_openssh().unwrap())).unwrap();
    let file = place.path().join("db-cert.pub");
    let plan = Plan::new(&words(&file, Some(&own))).unwrap();
    plan.write(&view(&plan.public)).unwrap();
    assert_eq!(Certificate::read_file(&file).unwrap().public_key(), public.key_data());
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    let other = PrivateKey::from(Ed25519Keypair::from_seed(&[6; 32])).public_key().clone();
    assert_eq!(fits(&view(&other), &plan.public).err().unwrap().refusal().code, Code::Integrity);
    // A certificate in the place of a key.
    let refused = Plan::new(&words(&file, Some(&file))).err().unwrap().refusal();
    assert!(refused.code == Code::Usage && refused.message.contains("this is a certificate"), "{refused:?}");
}
