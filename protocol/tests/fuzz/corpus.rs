//! The part of the corpus that nobody can write by hand: signed grants, certificates, frames, paste strings.
//!
//! In: fixed keys and values. Out: files of `fuzz/corpus`, written when `CORPUS` is set, else compared.

use std::path::Path;

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, End, EndCause, Extend, FORMAT, Grant};
use elevate_protocol::frame::encode;
use elevate_protocol::id::{ActivationId, ClusterId, HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::pam::{FromChild, ToChild};
use elevate_protocol::message::person::{Ask, Reply, RequestAsk, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::paste::{Paste, PasteKind};
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::ssh_login::{Means, means};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::Serialize;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

const NOW: Timestamp = Timestamp(1_795_291_200);

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn signed(seq: u64, act: Act, key: &PrivateKey) -> SignedBody {
    let (cluster, host) = (ClusterId::from_random([2; 16]), HostId::from_random([1; 16]));
    let document = Document { format: FORMAT, cluster, host, epoch: 1, seq, act };
    SignedBody::sign(document.to_line().unwrap(), key, GRANT_NAMESPACE).unwrap()
}

fn grant() -> Grant {
    let sudo = r#"{"as":"root","run":[["/usr/bin/systemctl","restart","nginx.service"],["/usr/bin/id"]],"edit":["/etc/motd"]}"#;
    Grant {
        id: ActivationId::from_random([5; 16]),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid: 2000,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: NOW.before(Span::MINUTE),
        not_after: NOW.after(Span::HOUR),
        duration: Span::HOUR,
        warn: vec![Span(600)],
        sudo: Some(serde_json::from_str(sudo).unwrap()),
        ssh: None,
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec!["sudo".into()],
    }
}

fn grants() -> Vec<(&'static str, String)> {
    let id = grant().id;
    let one = signed(1, Act::Grant(Box::new(grant())), &key(7));
    let extend =
        signed(2, Act::Extend(Extend { id, revision: 2, not_after: NOW.after(Span(7200)) }), &key(7));
    let end = signed(3, Act::End(End { id, revision: 3, cause: EndCause::Revoked }), &key(7));
    let foreign = signed(1, Act::Grant(Box::new(grant())), &key(8));
    let whole = SignedGrant::new(one.clone()).with(extend).with(end.clone());
    let keys = TrustedKeys::one(key(7).public_key().clone()).unwrap();
    assert!(
        whole.verify(&keys, &HostId::from_random([1; 16])).is_ok(),
        "the corpus has a grant that verifies"
    );
    vec![
        ("grant_signers", keys.to_signers().unwrap()),
        ("grant/whole", whole.to_text()),
        ("grant/one", SignedGrant::new(one.clone()).to_text()),
        ("grant/gap", SignedGrant::new(one).with(end).to_text()),
        ("grant/foreign", SignedGrant::new(foreign).to_text()),
    ]
}

fn framed(cut: u8, message: &impl Serialize) -> Vec<u8> {
    [vec![cut], encode(message).unwrap()].concat()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let request = RequestAsk {
        role: "web-ops".parse().unwrap(),
        hosts: vec!["web1".parse().unwrap()],
        duration: Some(Span::HOUR),
        reason: Some(UntrustedText::lossy("INC-4211 nginx hangs")),
        ticket: None,
        wait: true,
        dry_run: false,
        amends: None,
    };
    let refusal = Refusal::new(Code::NotEligible, "alice is not eligible for dba").hint("elevate list");
    let code = Say::Answer { challenge: Nonce::from_random([3; 16]), code: Secret::new("492039".into()) };
    let verdict =
        ToChild::Verdict { accepted: false, tries: 2, message: Some(UntrustedText::lossy("wrong code")) };
    vec![
        ("frame/hello", framed(3, &Say::Hello { versions: Versions::OURS })),
        ("frame/request", framed(255, &Say::Ask(Ask::Request(request)))),
        ("frame/answer", framed(1, &code)),
        ("frame/refused", framed(40, &Reply::Refused(refusal))),
        ("frame/ready", framed(7, &FromChild::Ready)),
        ("frame/verdict", framed(9, &verdict)),
        ("frame/signed", framed(64, &signed(1, Act::Grant(Box::new(grant())), &key(7)))),
        ("frame/empty", vec![1, 0, 0, 0, 0]),
        ("frame/long", vec![9, 255, 255, 255, 255, b'{']),
    ]
}

fn pastes() -> Vec<(&'static str, String)> {
    let fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    let paste = |kind, token: Option<&str>| {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let paste = Paste { kind, address: "vault1:7022".into(), fingerprint: fingerprint.into(), token };
        let line = paste.to_line().expose().to_owned();
        assert!(line.parse::<Paste>().is_ok(), "the corpus has strings that are taken");
        line
    };
    let token = Nonce::from_random([3; 16]).to_string();
    let token = Some(token.as_str());
    vec![
        ("paste/host", paste(PasteKind::Host, token)),
        ("paste/person", paste(PasteKind::Person, token)),
        ("paste/daemon", paste(PasteKind::Daemon, None)),
    ]
}

/// A certificate of the CA of this seed.
fn certificate(ca: u8, kind: CertType, (key_id, principal): (&str, &str)) -> String {
    let (from, until) = (1_800_000_000, 1_800_000_900);
    let mut builder = Builder::new(vec![7; 32], key(1).public_key().key_data().clone(), from, until).unwrap();
    builder.serial(9).unwrap().cert_type(kind).unwrap().key_id(key_id).unwrap();
    builder.valid_principal(principal).unwrap();
    for extension in ["permit-port-forwarding", "permit-pty"] {
        builder.extension(extension, "").unwrap();
    }
    builder.sign(&key(ca)).unwrap().to_openssh().unwrap()
}

fn logins() -> Vec<(&'static str, String)> {
    let of = |ca, kind, number: u8| {
        let id = ActivationId::from_random([number; 16]).to_string();
        format!("publickey {}\n", certificate(ca, kind, (&id, &format!("elevate:{id}"))))
    };
    let (ours, second) = (of(2, CertType::User, 1), of(2, CertType::User, 2));
    let plain = format!("publickey {}\n", key(1).public_key().to_openssh().unwrap());
    let theirs = format!("publickey {}\n", certificate(3, CertType::User, ("bob", "bob")));
    assert!(matches!(means(ours.as_bytes()), Means::Ours(_)), "the corpus has a login of ours");
    vec![
        ("ssh_login_ca", key(2).public_key().to_openssh().unwrap()),
        ("ssh_login/several", format!("{plain}{theirs}{ours}keyboard-interactive\n")),
        ("ssh_login/two", format!("{ours}{second}")),
        ("ssh_login/ours", ours),
        ("ssh_login/second", second),
        ("ssh_login/plain", plain),
        ("ssh_login/theirs", theirs),
        ("ssh_login/password", "keyboard-interactive\npassword\n".to_owned()),
        ("ssh_login/forged", of(3, CertType::User, 1)),
        ("ssh_login/host", of(2, CertType::Host, 1)),
    ]
}

pub(crate) fn hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let texts =
        grants().into_iter().chain(pastes()).chain(logins()).map(|(name, text)| (name, text.into_bytes()));
    for (name, bytes) in texts.chain(frames()) {
        let file = folder.join(name);
        if std::env::var_os("CORPUS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}");
    }
}
