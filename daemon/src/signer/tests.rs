//! Keys behind a real ssh-agent, and behind sockets that behave badly.

use std::io::Write;
use std::process::{Command, Stdio};

use elevate_protocol::signed::{GRANT_NAMESPACE, TrustedKeys};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::fixture::Agent;
use super::*;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

async fn good(signer: &Signer) -> SignedBody {
    let signed = signer.sign("a document\n".into(), GRANT_NAMESPACE).await.unwrap();
    let trusted = TrustedKeys::one(signer.public_key().clone()).unwrap();
    assert_eq!(signed.verify(&trusted, GRANT_NAMESPACE).unwrap(), "a document\n");
    signed
}

async fn refused(signer: &Signer) -> AgentError {
    match signer.sign("a document\n".into(), GRANT_NAMESPACE).await {
        Err(SignError::Agent { source, .. }) => source,
        other => panic!("{:?}", other.map(drop)),
    }
}

#[tokio::test]
async fn a_real_agent_signs_with_both_key_types_and_ssh_keygen_believes_it() {
    let agent = Agent::start();
    for kind in ["ed25519", "ecdsa"] {
        let public = agent.key(kind);
        let signer = Signer::agent(agent.socket(), public.clone());
        signer.probe().await.unwrap();
        let signed = good(&signer).await;
        let folder = agent.place.path();
        let signers = TrustedKeys::one(public).unwrap().to_signers().unwrap();
        std::fs::write(folder.join("signers"), signers).unwrap();
        std::fs::write(folder.join("sig"), &signed.signature).unwrap();
        let mut verify = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-f", "signers", "-I", "grants", "-n", GRANT_NAMESPACE, "-s", "sig"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        verify.stdin.take().unwrap().write_all(signed.body.as_bytes()).unwrap();
        assert!(verify.wait().unwrap().success(), "{kind}");
    }
}

/// A key that never leaves its token: softhsm2 through the agent, as a smart card or a network HSM would be.
#[tokio::test]
async fn a_key_of_a_pkcs11_token_signs_through_the_agent() {
    let place = tempfile::tempdir().unwrap();
    let tokens = place.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let config = place.path().join("softhsm2.conf");
    std::fs::write(&config, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env("SOFTHSM2_CONF", &config).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(
        "softhsm2-util",
        &["--init-token", "--free", "--label", "elevate", "--pin", "123456", "--so-pin", "123456"],
    );
    let make = ["--login", "--pin", "123456", "--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    run("pkcs11-tool", &[&["--module", SOFTHSM][..], &make[..], &["--label", "grant"][..]].concat());
    let shown = run("ssh-keygen", &["-D", SOFTHSM]);
    let public = PublicKey::from_openssh(shown.lines().next().unwrap()).unwrap();
    let agent = Agent::start_with(place);
    agent.with_secret(&["-s", SOFTHSM]);
    let signer = Signer::agent(agent.socket(), public);
    signer.probe().await.unwrap();
    good(&signer).await;
}

#[tokio::test]
async fn an_agent_that_is_locked_lost_its_key_or_is_gone_is_a_clear_error() {
    let mut agent = Agent::start();
    let signer = Signer::agent(agent.socket(), agent.key("ed25519"));
    good(&signer).await;
    agent.with_secret(&["-x"]);
    assert!(matches!(refused(&signer).await, AgentError::Refused));
    agent.with_secret(&["-X"]);
    good(&signer).await;
    assert!(agent.add(&["-D"]).status.success());
    assert!(matches!(refused(&signer).await, AgentError::Refused));
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert!(matches!(refused(&signer).await, AgentError::Stream(_)));
    std::fs::remove_file(agent.socket()).unwrap();
    assert!(matches!(refused(&signer).await, AgentError::Stream(_)));
}

/// Threat K07's other side: whoever listens at the socket gets nothing signed that is not the key's.
#[tokio::test]
async fn a_socket_that_says_nothing_too_much_or_another_keys_signature_is_refused_in_time() {
    let agent = Agent::start();
    let (ours, other) = (agent.key("ed25519"), agent.key("ecdsa"));
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("bad");
    let listener = UnixListener::bind(&socket).unwrap();
    let signer = Signer::agent(socket.clone(), ours.clone());
    let framed =
        |content: &[u8]| [u32::try_from(content.len()).unwrap().to_be_bytes().as_slice(), content].concat();
    let mut real = Vec::new();
    // Another key's signature, and the right key's over something else.
    for key in [&other, &ours] {
        let made = agent::sign(&agent.socket(), key, b"something else").await.unwrap();
        real.push(framed(&[&[14], framed(&Vec::<u8>::try_from(made).unwrap()).as_slice()].concat()));
    }
    let answers = [
        real.remove(0),
        real.remove(0),
        u32::MAX.to_be_bytes().to_vec(),
        framed(&[]),
        framed(&[14, 0, 0, 0, 9, 1]),
    ];
    let serving = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
        let (silent, _) = listener.accept().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        drop(silent);
    });
    let sign = || signer.sign("a document\n".into(), GRANT_NAMESPACE);
    for _ in 0..2 {
        let refused = sign().await;
        assert!(matches!(refused, Err(SignError::Wrong { .. })), "{:?}", refused.map(drop));
    }
    for _ in 0..3 {
        assert!(matches!(refused(&signer).await, AgentError::Nonsense));
    }
    let began = tokio::time::Instant::now();
    assert!(matches!(refused(&signer).await, AgentError::Slow));
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    serving.abort();
}
