//! What is a name, a key and a certificate of a host, and what is not.

use super::*;
use ssh_key::certificate::Builder;
use ssh_key::private::{Ed25519Keypair, PrivateKey};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn host_key(seed: u8) -> HostKey {
    HostKey::of_file(&key(seed).public_key().to_openssh().unwrap()).unwrap()
}

/// A certificate of the key 1 by the CA of this seed.
fn certificate(ca: u8, kind: CertType, names: &[&str], until: u64) -> String {
    of_host(&host().to_string(), (ca, kind), names, until)
}

fn host() -> HostId {
    HostId::from_random([5; 16])
}

fn of_host(key_id: &str, (ca, kind): (u8, CertType), names: &[&str], until: u64) -> String {
    let mut builder =
        Builder::new(vec![7; 16], key(1).public_key().key_data().clone(), 1_799_999_940, until).unwrap();
    builder.serial(9).unwrap().cert_type(kind).unwrap().key_id(key_id).unwrap();
    for name in names {
        builder.valid_principal(*name).unwrap();
    }
    if names.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    builder.sign(&key(ca)).unwrap().to_openssh().unwrap()
}

#[test]
fn e19_a_name_is_what_ssh_looks_for_and_never_a_pattern() {
    for good in ["web1", "web1.example.org", "10.0.0.5", "fd00::5", "a_b", "1a", "_db"] {
        assert_eq!(good.parse::<HostName>().map(|name| name.to_string()).as_deref(), Ok(good));
    }
    let long = "a".repeat(64);
    for bad in [
        "",
        "*",
        "web*",
        "web?",
        "!web1",
        "web1,web2",
        "Web1",
        "web1.",
        ".web1",
        "-web1",
        "web1-",
        "web1:22",
        "[web1]",
        "10.0.0",
        "10.0.0.05",
        "10.0.0.0/8",
        "FD00::5",
        "fd00:0::5",
        "web 1",
        "web1\n",
        "w\u{e9}b",
        &long,
    ] {
        assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
    }
    let name = |text: &str| text.parse::<HostName>().unwrap();
    let own: Name = "web1".parse().unwrap();
    let names = HostNames::of(&own, &[name("web1.example.org"), name("web1")]).unwrap();
    assert_eq!(names.all(), [name("web1"), name("web1.example.org")]);
    assert_eq!(HostNames::try_from(vec![name("a1"), name("a1")]), Err(HostSshError::Names));
    assert_eq!(HostNames::try_from(vec![]), Err(HostSshError::Names));
    let many: Vec<HostName> = (0..HOST_NAMES_MAX).map(|nth| name(&format!("h{nth}"))).collect();
    assert_eq!(HostNames::of(&own, &many), Err(HostSshError::Names));
}

#[test]
fn e17_a_host_key_is_plain_and_strong() {
    let line = key(1).public_key().to_openssh().unwrap();
    assert_eq!(HostKey::of_file(&format!("{line} root@web1")).unwrap(), host_key(1));
    assert_eq!(HostKey::try_from(line.clone()), Ok(host_key(1)));
    assert_eq!(HostKey::try_from(format!("{line} root@web1")), Err(HostSshError::Kind));
    let one = certificate(2, CertType::Host, &["web1"], 1_800_000_060);
    assert!(matches!(HostKey::of_file(&one), Err(HostSshError::Key(PersonKeyError::Certificate))));
    let twice = vec![host_key(1), host_key(1)];
    assert_eq!(HostKeys::try_from(twice), Err(HostSshError::Keys));
    let sk = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gAAAABHNzaDo=";
    assert_eq!(HostKey::of_file(sk), Err(HostSshError::Kind));
}

#[test]
fn e02_a_certificate_of_a_host_is_of_its_key_by_a_known_ca_for_hosts_names_and_this_time() {
    let cas = [key(2).public_key().clone()];
    let prove = |line: &str, of: u8, at: i64| prove_host(line, &host_key(of), (&cas, Timestamp(at)));
    let good = certificate(2, CertType::Host, &["web1", "10.0.0.5"], 1_800_000_060);
    let proof = prove(&good, 1, NOW.0).unwrap();
    assert_eq!((proof.host, proof.serial, proof.valid_before), (host(), 9, Timestamp(1_800_000_060)));
    assert_eq!(proof.names.all().iter().map(HostName::as_str).collect::<Vec<_>>(), ["web1", "10.0.0.5"]);
    assert_eq!(prove(&good, 3, NOW.0), Err(HostProofError::Key));
    assert_eq!(prove(&good, 1, 1_800_000_060), Err(HostProofError::Signature), "expired");
    assert_eq!(prove(&good, 1, 1_799_999_939), Err(HostProofError::Signature), "not yet valid");
    assert_eq!(prove("ssh-ed25519-cert-v01@openssh.com AAAA", 1, NOW.0), Err(HostProofError::Form));
    let long = 1_800_000_000 + u64::from(HOST_LIFE.0) + 1;
    for (line, why) in [
        (certificate(3, CertType::Host, &["web1"], 1_800_000_060), HostProofError::Signature),
        (certificate(2, CertType::User, &["web1"], 1_800_000_060), HostProofError::Kind),
        (certificate(2, CertType::Host, &["*"], 1_800_000_060), HostProofError::Content),
        (certificate(2, CertType::Host, &["web1,web2"], 1_800_000_060), HostProofError::Content),
        (certificate(2, CertType::Host, &[], 1_800_000_060), HostProofError::Content),
        (certificate(2, CertType::Host, &["web1"], long), HostProofError::Content),
        (of_host("web1", (2, CertType::Host), &["web1"], 1_800_000_060), HostProofError::Content),
    ] {
        assert_eq!(prove(&line, 1, NOW.0), Err(why));
    }
}

#[test]
fn e20_a_host_whose_clock_is_behind_takes_the_longest_certificate() {
    let cas = [key(2).public_key().clone()];
    let longest = u64::try_from(NOW.after(HOST_LIFE).0).unwrap();
    for behind in [0, 1, 5, i64::from(BACKDATE.0)] {
        let here = (cas.as_slice(), Timestamp(NOW.0 - behind));
        let proof = prove_host(&certificate(2, CertType::Host, &["web1"], longest), &host_key(1), here);
        assert_eq!(proof.map(|proof| proof.valid_before), Ok(NOW.after(HOST_LIFE)), "{behind} s");
        let longer = certificate(2, CertType::Host, &["web1"], longest + 1);
        assert_eq!(prove_host(&longer, &host_key(1), here), Err(HostProofError::Content), "{behind} s");
    }
}
