//! Which keys get certificates, what stands in sshd's file of them, and what is put in place.

use super::*;
use elevate_protocol::time::Span;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, PrivateKey};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn own() -> HostId {
    HostId::from_random([1; 16])
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn line(seed: u8) -> String {
    key(seed).public_key().to_openssh().unwrap()
}

fn host_key(seed: u8) -> HostKey {
    HostKey::of_file(&line(seed)).unwrap()
}

fn certificate(ca: u8, of: u8, kind: CertType, names: &[&str]) -> String {
    numbered((ca, of), kind, names, (9, 1_799_999_940))
}

fn numbered(by: (u8, u8), kind: CertType, names: &[&str], about: (u64, u64)) -> String {
    of_host(own(), by, (kind, names), about)
}

fn of_host(
    host: HostId,
    (ca, of): (u8, u8),
    (kind, names): (CertType, &[&str]),
    (serial, from): (u64, u64),
) -> String {
    let until = 1_800_100_000;
    let mut builder =
        Builder::new(vec![7; 16], key(of).public_key().key_data().clone(), from, until).unwrap();
    builder.serial(serial).unwrap().cert_type(kind).unwrap().key_id(host.to_string()).unwrap();
    for name in names {
        builder.valid_principal(*name).unwrap();
    }
    builder.sign(&key(ca)).unwrap().to_openssh().unwrap()
}

fn place() -> (tempfile::TempDir, Paths) {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::below(place.path());
    for folder in [&paths.trust, &paths.run] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(&paths.host_ca, format!("{}\n", line(2))).unwrap();
    (place, paths)
}

#[test]
fn the_first_readable_key_of_each_kind_gets_a_line_and_no_private_half_is_opened() {
    let (place, paths) = place();
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("one.pub"), format!("{} root@web1\n", line(1))).unwrap();
    std::fs::write(at("two.pub"), line(3)).unwrap();
    std::fs::write(at("weak.pub"), "ssh-dss AAAA root@web1\n").unwrap();
    // What is there of a private half cannot even be opened as a file.
    std::fs::create_dir(at("one")).unwrap();
    let settings = format!(
        "port 22\nhostkey {}\nhostkey {}\nhostkey {}\nhostkey {}\n",
        at("weak"),
        at("missing"),
        at("one"),
        at("two.pub")
    );
    let found = keys(&paths, &settings);
    let file = paths.host_certificates.join("ssh_host_ed25519_key-cert.pub");
    assert_eq!(found, [(host_key(1), file.clone())]);
    let ours = format!("TrustedUserCAKeys /x\n{}", lines(&found));
    assert!(ours.ends_with(&format!("HostCertificate {}\n", file.display())));
    assert_eq!(without_lines(&paths, &ours), "TrustedUserCAKeys /x\n");
    let other = "HostCertificate /etc/ssh/site-cert.pub\n";
    assert_eq!(without_lines(&paths, other), other, "the site's own stay");
    assert_eq!(foreign(&paths, "hostcertificate /etc/ssh/s-cert.pub\n").next(), Some("/etc/ssh/s-cert.pub"));
    assert_eq!(foreign(&paths, &format!("hostcertificate {}\n", file.display())).next(), None);
}

/// THREATS E02, E19, E20: nothing is put in place that is not this key's, by the pinned CA, for this host.
#[test]
fn e19_only_a_certificate_of_this_host_by_the_pinned_ca_is_taken() {
    let (_place, paths) = place();
    let file = paths.host_certificates.join("ssh_host_ed25519_key-cert.pub");
    let shown = [Shown { key: host_key(1), place: file.clone(), proof: None }];
    // sshd is told of it later: there is none in this place.
    let put = |line: &str| match install(&paths, (&shown, &[line.to_owned()]), ((own(), "web1"), NOW)) {
        Ok(()) | Err(HostKeysError::Sshd(_)) => true,
        Err(_) => false,
    };
    for wrong in [
        certificate(3, 1, CertType::Host, &["web1"]),
        certificate(2, 4, CertType::Host, &["web1"]),
        certificate(2, 1, CertType::User, &["web1"]),
        certificate(2, 1, CertType::Host, &["web2"]),
        certificate(2, 1, CertType::Host, &["web2", "web1"]),
        certificate(2, 1, CertType::Host, &["*"]),
        of_host(HostId::from_random([2; 16]), (2, 1), (CertType::Host, &["web1"]), (9, 1_799_999_940)),
        line(1),
    ] {
        assert!(!put(&wrong), "{wrong}");
        assert!(!file.exists() && !paths.sshd_stale.exists(), "{wrong}");
    }
    let good = certificate(2, 1, CertType::Host, &["web1", "web1.example.org"]);
    assert!(put(&good));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{good}\n"));
}

#[test]
fn another_certificate_is_wanted_for_other_names_another_ca_and_after_a_week() {
    let names = |list: &[&str]| {
        HostNames::try_from(list.iter().map(|name| name.parse().unwrap()).collect::<Vec<HostName>>()).unwrap()
    };
    let ca = |seed: u8| line(seed).parse::<Ca>().unwrap();
    let text = certificate(2, 1, CertType::Host, &["web1"]);
    let proof = prove_host(&text, &host_key(1), (&[key(2).public_key().clone()], NOW)).unwrap();
    let shown = Shown { key: host_key(1), place: PathBuf::from("/x"), proof: Some(proof) };
    let wanted = (names(&["web1"]), ca(2));
    assert!(!shown.wants(&wanted, NOW));
    assert!(!shown.wants(&wanted, Timestamp(1_799_999_940).after(HOST_RENEWAL).before(Span(1))));
    assert!(shown.wants(&wanted, Timestamp(1_799_999_940).after(HOST_RENEWAL)));
    assert!(shown.wants(&wanted, Timestamp(1_799_999_939)), "by a clock that was set back");
    assert!(shown.wants(&(names(&["web1", "web"]), ca(2)), NOW));
    assert!(shown.wants(&(names(&["web1"]), ca(3)), NOW));
    assert!(Shown { proof: None, ..shown }.wants(&wanted, NOW));
}

#[test]
fn one_that_says_the_same_or_is_older_is_not_put_in_the_place_of_a_valid_one() {
    let (_place, paths) = place();
    let file = paths.host_certificates.join("ssh_host_ed25519_key-cert.pub");
    let shown = [Shown { key: host_key(1), place: file.clone(), proof: None }];
    let one =
        |names: &[&str], serial: u64, from: u64| numbered((2, 1), CertType::Host, names, (serial, from));
    let taken = |line: String| {
        drop(install(&paths, (&shown, std::slice::from_ref(&line)), ((own(), "web1"), NOW)));
        std::fs::read_to_string(&file).unwrap() == format!("{line}\n")
    };
    let first = 1_799_999_900;
    assert!(taken(one(&["web1"], 9, first)));
    assert!(!taken(one(&["web1"], 10, first)), "another serial and nothing else");
    assert!(!taken(one(&["web1", "db1"], 8, first - 1)), "one of before");
    assert!(taken(one(&["web1", "db1"], 11, first)), "other names");
    assert!(taken(one(&["web1", "db1"], 12, first + 1)), "a newer one");
    std::fs::write(&file, "").unwrap();
    assert!(taken(one(&["web1"], 7, first - 9)), "one that proves nothing");
}

/// The daemon's word on a host of before is that people's ssh refuses it: what was signed for one is not gone on with.
#[test]
fn e19_what_was_signed_for_the_host_of_before_gives_way_at_once() {
    let (_place, paths) = place();
    let shown = [Shown {
        key: host_key(1),
        place: paths.host_certificates.join("ssh_host_ed25519_key-cert.pub"),
        proof: None,
    }];
    std::fs::create_dir_all(&paths.host_certificates).unwrap();
    let from = 1_799_999_940;
    let before = of_host(HostId::from_random([2; 16]), (2, 1), (CertType::Host, &["web1"]), (9, from));
    std::fs::write(&shown[0].place, format!("{before}\n")).unwrap();
    // The clock of the daemon was set back meanwhile: it looks older, and says the same.
    let now = numbered((2, 1), CertType::Host, &["web1"], (10, from - 60));
    drop(install(&paths, (&shown, std::slice::from_ref(&now)), ((own(), "web1"), NOW)));
    assert_eq!(std::fs::read_to_string(&shown[0].place).unwrap(), format!("{now}\n"));
}
