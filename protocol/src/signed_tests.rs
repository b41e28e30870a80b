use super::*;
use crate::digest::Digest;
use crate::document::{End, Extend};
use crate::id::{ActivationId, ClusterId};
use crate::sudo::SudoPart;
use crate::time::Span;
use ssh_key::private::Ed25519Keypair;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn keys(seed: u8) -> TrustedKeys {
    TrustedKeys::one(key(seed).public_key().clone()).unwrap()
}

fn host(n: u8) -> HostId {
    HostId::from_random([n; 16])
}

fn document(act: Act) -> Document {
    Document {
        format: FORMAT,
        cluster: ClusterId::from_random([9; 16]),
        host: host(1),
        epoch: 1,
        seq: 1,
        act,
    }
}

fn grant() -> Grant {
    Grant {
        id: ActivationId::from_random([7; 16]),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid: 2000,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: Timestamp(940),
        not_after: Timestamp(4600),
        duration: Span::HOUR,
        warn: vec![],
        sudo: Some(SudoPart::everything("root".parse().unwrap())),
        ssh: None,
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec!["sudo".into()],
    }
}

fn sign(act: Act) -> SignedBody {
    SignedBody::sign(document(act).to_line().unwrap(), &key(1), GRANT_NAMESPACE).unwrap()
}

fn extend(revision: u32, not_after: i64) -> SignedBody {
    sign(Act::Extend(Extend { id: grant().id, revision, not_after: Timestamp(not_after) }))
}

fn end(revision: u32) -> SignedBody {
    sign(Act::End(End { id: grant().id, revision, cause: EndCause::Dropped }))
}

fn issued() -> SignedGrant {
    SignedGrant::new(sign(Act::Grant(Box::new(grant()))))
}

#[test]
fn a_grant_is_live_from_not_before_until_the_second_before_not_after() {
    let verified = issued().verify(&keys(1), &host(1)).unwrap();
    assert_eq!(verified.live(Timestamp(939)).unwrap_err(), NotLive::NotYet);
    assert_eq!(verified.live(Timestamp(940)).unwrap().grant().uid, 2000);
    assert!(verified.live(Timestamp(4599)).is_ok());
    assert_eq!(verified.live(Timestamp(4600)).unwrap_err(), NotLive::Expired);
}

#[test]
fn c10_a_grant_of_another_host_is_refused() {
    let error = issued().verify(&keys(1), &host(2)).unwrap_err();
    assert_eq!(error, VerifyError::WrongHost { named: host(1) });
}

#[test]
fn c15_every_changed_byte_of_a_signed_grant_is_refused() {
    let text = issued().to_text();
    for index in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[index] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let opened = SignedGrant::from_text(&changed).and_then(|grant| grant.verify(&keys(1), &host(1)));
        assert!(opened.is_err(), "byte {index} of {}", text.len());
    }
    for cut in 0..text.len() {
        let opened = SignedGrant::from_text(&text[..cut]).and_then(|grant| grant.verify(&keys(1), &host(1)));
        assert!(opened.is_err(), "cut at {cut}");
    }
}

#[test]
fn c15_other_keys_namespaces_and_trailing_data_are_refused() {
    assert_eq!(issued().verify(&keys(2), &host(1)).unwrap_err(), VerifyError::NotTrusted);
    let line = document(Act::Grant(Box::new(grant()))).to_line().unwrap();
    let elsewhere = SignedBody::sign(line.clone(), &key(1), VOUCH_NAMESPACE).unwrap();
    assert_eq!(verify_document(&elsewhere, &keys(1), &host(1)), Err(VerifyError::NotTrusted));
    let mut twice = sign(Act::Grant(Box::new(grant())));
    twice.signature = twice.signature.repeat(2);
    assert_eq!(verify_document(&twice, &keys(1), &host(1)), Err(VerifyError::Signature));
    let mut crlf = sign(Act::Grant(Box::new(grant())));
    crlf.signature = crlf.signature.replace('\n', "\r\n");
    assert_eq!(verify_document(&crlf, &keys(1), &host(1)), Err(VerifyError::Signature));
    let mut two_lines = line;
    two_lines.push_str("{}\n");
    let two_lines = SignedBody::sign(two_lines, &key(1), GRANT_NAMESPACE).unwrap();
    assert_eq!(verify_document(&two_lines, &keys(1), &host(1)), Err(VerifyError::Form));
}

#[test]
fn an_unknown_critical_field_is_refused_and_an_unknown_other_field_ignored() {
    let mut later = grant();
    later.critical.push("weather".into());
    let signed = sign(Act::Grant(Box::new(later)));
    let error = verify_document(&signed, &keys(1), &host(1)).unwrap_err();
    assert_eq!(error, VerifyError::Critical { name: "weather".into() });
    let line = document(Act::Grant(Box::new(grant()))).to_line().unwrap().replacen(
        "\"uid\"",
        "\"new\":{\"x\":1},\"uid\"",
        1,
    );
    let signed = SignedBody::sign(line, &key(1), GRANT_NAMESPACE).unwrap();
    assert!(verify_document(&signed, &keys(1), &host(1)).is_ok());
    let line = document(Act::Grant(Box::new(grant()))).to_line().unwrap().replacen(
        "\"uid\":2000",
        "\"uid\":2000,\"uid\":0",
        1,
    );
    let signed = SignedBody::sign(line, &key(1), GRANT_NAMESPACE).unwrap();
    assert!(matches!(verify_document(&signed, &keys(1), &host(1)), Err(VerifyError::Parse { .. })));
}

#[test]
fn extensions_and_ends_follow_their_grant() {
    let verified = issued().with(extend(2, 5000)).with(extend(3, 6000)).verify(&keys(1), &host(1)).unwrap();
    assert_eq!((verified.not_after(), verified.revision()), (Timestamp(6000), 3));
    assert!(verified.live(Timestamp(5999)).is_ok());
    let ended = issued().with(extend(2, 5000)).with(end(3)).verify(&keys(1), &host(1)).unwrap();
    assert_eq!(ended.live(Timestamp(1000)).unwrap_err(), NotLive::Ended(EndCause::Dropped));
    for broken in [
        issued().with(extend(3, 5000)),
        issued().with(extend(2, 4000)),
        issued().with(end(2)).with(extend(3, 5000)),
        issued().with(sign(Act::Grant(Box::new(grant())))),
        SignedGrant::new(end(1)),
    ] {
        assert_eq!(broken.verify(&keys(1), &host(1)), Err(VerifyError::Chain));
    }
    let text = issued().with(extend(2, 5000)).to_text();
    assert_eq!(SignedGrant::from_text(&text).unwrap().to_text(), text);
}

#[test]
fn signers_files_are_read_strictly() {
    let text = keys(1).to_signers().unwrap();
    assert!(issued().verify(&TrustedKeys::from_signers(&text).unwrap(), &host(1)).is_ok());
    assert_eq!(TrustedKeys::from_signers("").unwrap_err(), VerifyError::Signers { line: 1 });
    let other = text.replace("grants ", "* ");
    assert_eq!(TrustedKeys::from_signers(&other).unwrap_err(), VerifyError::Signers { line: 1 });
    let authority = text.replace("namespaces", "cert-authority,namespaces");
    assert_eq!(TrustedKeys::from_signers(&authority).unwrap_err(), VerifyError::Signers { line: 1 });
}

/// ssh-keygen(1) "-Y verify": anybody can check a grant by hand.
#[test]
fn ssh_keygen_verifies_a_grant_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let signed = sign(Act::Grant(Box::new(grant())));
    std::fs::write(dir.path().join("signers"), keys(1).to_signers().unwrap()).unwrap();
    std::fs::write(dir.path().join("GRANT.sig"), &signed.signature).unwrap();
    std::fs::write(dir.path().join("GRANT.json"), &signed.body).unwrap();
    let run = |body: &str| {
        std::process::Command::new("ssh-keygen")
            .current_dir(dir.path())
            .args(["-Y", "verify", "-f", "signers", "-I", "grants", "-n", GRANT_NAMESPACE, "-s", "GRANT.sig"])
            .stdin(std::fs::File::open(dir.path().join(body)).unwrap())
            .output()
            .unwrap()
    };
    assert!(run("GRANT.json").status.success(), "{:?}", run("GRANT.json"));
    assert!(!run("signers").status.success());
}

#[test]
fn a_grant_of_nothing_is_refused_and_of_one_part_is_not() {
    let of = |grant: Grant| SignedGrant::new(sign(Act::Grant(Box::new(grant)))).verify(&keys(1), &host(1));
    let nothing = Grant { sudo: None, critical: vec![], ..grant() };
    assert_eq!(of(nothing.clone()).unwrap_err(), VerifyError::Nothing);
    let part = serde_json::from_str(r#"{"logins":["postgres"]}"#).unwrap();
    let login = Grant { ssh: Some(part), ..nothing };
    assert_eq!(of(login.clone()).unwrap().grant(), &login);
    let critical = Grant { critical: vec!["ssh".into()], ..login };
    assert!(of(critical).is_ok());
}
