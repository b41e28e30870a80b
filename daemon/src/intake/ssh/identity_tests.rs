//! Who may come in, and to what: threat H05. Real client, real listener, real core.

use super::fixture::*;
use super::*;
use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::{SUBSYSTEM_AGENT, SUBSYSTEM_ENROL, SUBSYSTEM_PERSON};
use russh::client;
use russh::keys::PrivateKeyWithHashAlg;
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use ssh_key::{HashAlg, Signature};
use std::process::Command;

async fn whoami(talk: &mut Talk) -> Reply {
    talk.say(&Say::Hello { versions: Versions::OURS }).await;
    assert!(matches!(talk.hear().await, Some(Reply::Hello { version: 1 })));
    talk.say(&Say::Ask(Ask::Whoami)).await;
    talk.hear().await.unwrap()
}

/// As `elevate status --watch` does it: one connection, one conversation after the other.
#[tokio::test]
async fn a_connection_has_as_many_conversations_as_it_likes_one_after_the_other() {
    let fixture = Fixture::start().await;
    let handle = fixture.alice().await;
    for number in 0..40 {
        let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap_or_else(|| panic!("{number}"));
        assert!(matches!(whoami(&mut talk).await, Reply::Done(_)));
        if number % 2 == 0 {
            // What is no ask: the daemon closes, and then this side.
            talk.say(&Say::Hello { versions: Versions::OURS }).await;
            while talk.hear::<Reply>().await.is_some() {}
        }
    }
}

#[tokio::test]
async fn h05_the_key_says_who_it_is_and_the_user_name_nothing() {
    let fixture = Fixture::start().await;
    for user in ["alice", "bob", "root", ""] {
        let mut handle = fixture.connect().await;
        assert!(login(&mut handle, user, key(ALICE)).await, "{user}");
        let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
        let reply = whoami(&mut talk).await;
        let Reply::Done(Outcome::Account(account)) = reply else { panic!("{reply:?}") };
        assert_eq!(account.person.as_str(), "alice");
        assert!(open(&handle, SUBSYSTEM_AGENT).await.is_none());
        assert!(open(&handle, SUBSYSTEM_ENROL).await.is_none());
        assert!(open(&handle, "sftp").await.is_none());
    }
}

/// Signs with another key than it offers, or not at all.
struct Forger(Option<PrivateKey>);

#[derive(Debug)]
struct NotSigned;

impl From<russh::SendError> for NotSigned {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

impl russh::Signer for Forger {
    type Error = NotSigned;
    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, NotSigned> {
        let Some(other) = &self.0 else { return Err(NotSigned) };
        let signature: Signature = other.try_sign(&data).unwrap();
        let mut bytes = Vec::new();
        signature.encode(&mut bytes).unwrap();
        bytes.encode(&mut data).unwrap();
        Ok(data)
    }
}

#[tokio::test]
async fn h05_an_offer_or_a_signature_by_another_key_is_no_authentication() {
    let fixture = Fixture::start().await;
    let offered = key(ALICE).public_key().clone();
    for mut forger in [Forger(None), Forger(Some(key(NOBODY)))] {
        let mut handle = fixture.connect().await;
        let result = handle.authenticate_publickey_with("alice", offered.clone(), None, &mut forger).await;
        assert!(!result.is_ok_and(|result| result.success()));
        let channel = timeout(Duration::from_millis(300), handle.channel_open_session()).await;
        assert!(!matches!(channel, Ok(Ok(_))), "a channel without authentication");
    }
    // The very same way with the right key works: the test would see a difference.
    let mut handle = fixture.connect().await;
    let mut honest = Forger(Some(key(ALICE)));
    assert!(handle.authenticate_publickey_with("alice", offered, None, &mut honest).await.unwrap().success());
}

async fn reaches(fixture: &Fixture, user: &str, seed: u8, subsystem: &str) -> bool {
    let mut handle = fixture.connect().await;
    login(&mut handle, user, key(seed)).await && open(&handle, subsystem).await.is_some()
}

#[tokio::test]
async fn h05_a_key_that_nobody_holds_can_enrol_and_nothing_else() {
    let fixture = Fixture::start().await;
    for user in ["alice", "root", SUBSYSTEM_PERSON, SUBSYSTEM_AGENT] {
        assert!(!login(&mut fixture.connect().await, user, key(NOBODY)).await, "{user}");
    }
    assert!(reaches(&fixture, SUBSYSTEM_ENROL, NOBODY, SUBSYSTEM_ENROL).await);
    assert!(!reaches(&fixture, SUBSYSTEM_ENROL, NOBODY, SUBSYSTEM_PERSON).await);
    assert!(!reaches(&fixture, SUBSYSTEM_ENROL, NOBODY, SUBSYSTEM_AGENT).await);
    // The name is a door, not a key: behind it alice is nobody either.
    assert!(!reaches(&fixture, SUBSYSTEM_ENROL, ALICE, SUBSYSTEM_PERSON).await);
}

#[tokio::test]
async fn h05_another_key_on_the_same_connection_after_a_refused_one_is_judged_on_its_own() {
    let fixture = Fixture::start().await;
    let mut handle = fixture.connect().await;
    assert!(!login(&mut handle, "alice", key(NOBODY)).await);
    assert!(login(&mut handle, "mallory", key(ALICE)).await);
    assert!(open(&handle, SUBSYSTEM_PERSON).await.is_some());
}

#[tokio::test]
async fn h05_no_other_method_lets_anybody_in() {
    let fixture = Fixture::start().await;
    let mut handle = fixture.connect().await;
    assert!(!handle.authenticate_none("alice").await.unwrap().success());
    assert!(!handle.authenticate_password("alice", "alice").await.unwrap().success());
    let asked = handle.authenticate_keyboard_interactive_start("alice", None).await.unwrap();
    assert!(matches!(asked, client::KeyboardInteractiveAuthResponse::Failure { .. }), "{asked:?}");
}

fn keygen(place: &std::path::Path, arguments: &[&str]) {
    let done = Command::new("ssh-keygen").current_dir(place).args(["-q", "-N", ""]).args(arguments).output();
    let done = done.expect("ssh-keygen is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn load(path: std::path::PathBuf) -> PrivateKey {
    PrivateKey::from_openssh(std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn h05_rsa_needs_3072_bits_and_never_sha1() {
    let place = tempfile::tempdir().unwrap();
    keygen(place.path(), &["-t", "rsa", "-b", "3072", "-f", "long"]);
    keygen(place.path(), &["-t", "rsa", "-b", "2048", "-f", "short"]);
    let (long, short) = (load(place.path().join("long")), load(place.path().join("short")));
    let public = |key: &PrivateKey| key.public_key().to_openssh().unwrap();
    let fixture = Fixture::with(patience(), Limits::default(), &[public(&long)]).await;
    let tries = [
        ("alice", &long, Some(HashAlg::Sha512), true),
        ("alice", &long, Some(HashAlg::Sha256), true),
        ("alice", &long, None, false),
        (SUBSYSTEM_ENROL, &long, Some(HashAlg::Sha512), true),
        (SUBSYSTEM_ENROL, &long, None, false),
        (SUBSYSTEM_ENROL, &short, Some(HashAlg::Sha512), false),
    ];
    for (user, key, hash, wanted) in tries {
        let mut handle = fixture.connect().await;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), hash);
        let result = handle.authenticate_publickey(user, key).await.unwrap();
        assert_eq!(result.success(), wanted, "{user} {hash:?}");
    }
}

#[tokio::test]
async fn h05_a_certificate_over_a_known_key_is_refused() {
    let place = tempfile::tempdir().unwrap();
    keygen(place.path(), &["-t", "ed25519", "-f", "ca"]);
    let alice = key(ALICE);
    std::fs::write(place.path().join("alice.pub"), alice.public_key().to_openssh().unwrap()).unwrap();
    keygen(place.path(), &["-s", "ca", "-I", "alice", "-n", "alice", "alice.pub"]);
    let text = std::fs::read_to_string(place.path().join("alice-cert.pub")).unwrap();
    let certificate = ssh_key::Certificate::from_openssh(&text).unwrap();
    let fixture = Fixture::start().await;
    let mut handle = fixture.connect().await;
    let result = handle.authenticate_openssh_cert("alice", Arc::new(alice), certificate).await.unwrap();
    assert!(!result.success());
}

#[tokio::test]
async fn h05_attempts_of_one_connection_are_limited() {
    let fixture = Fixture::start().await;
    let mut handle = fixture.connect().await;
    let mut tried = 0u32;
    while !handle.is_closed() && tried < 100 {
        tried += 1;
        if login(&mut handle, "alice", key(NOBODY)).await {
            panic!("let in");
        }
    }
    assert!(tried <= 30, "{tried} attempts");
}

#[tokio::test]
async fn what_only_an_agent_says_is_refused_from_a_person() {
    let fixture = Fixture::start().await;
    let handle = fixture.alice().await;
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    talk.say(&Say::Ask(Ask::Whoami)).await;
    match talk.hear().await {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.code, Code::Usage),
        other => panic!("{other:?}"),
    }
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    talk.say(&Say::Hello { versions: Versions { lowest: 7, highest: 9 } }).await;
    match talk.hear().await {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.code, Code::Version),
        other => panic!("{other:?}"),
    }
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    talk.say(&Say::Hello { versions: Versions::OURS }).await;
    talk.say(&Say::Input { text: elevate_protocol::secret::Secret::new("1".into()) }).await;
    assert!(matches!(talk.hear().await, Some(Reply::Hello { .. })));
    match talk.hear().await {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.code, Code::WrongDoor),
        other => panic!("{other:?}"),
    }
}
