//! Tests of the client against a real SSH server with this or that host key (threat H06).

use super::*;
use russh::server::{self, Auth, ChannelOpenHandle, Session};
use ssh_key::private::Ed25519Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Echo;

impl server::Handler for Echo {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        _key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(if user == "known" { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: russh::Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(channel.into_stream());
            drop(tokio::io::copy(&mut reader, &mut writer).await);
        });
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: russh::ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name == "elevate-agent" {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

async fn serve(host_key: PrivateKey, kex: Option<&'static [kex::Name]>) -> Daemon {
    let fingerprint = key(1).public_key().fingerprint(HashAlg::Sha256).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut config =
        server::Config { keys: vec![host_key], auth_rejection_time: Duration::ZERO, ..Default::default() };
    if let Some(kex) = kex {
        config.preferred.kex = Cow::Borrowed(kex);
    }
    let config = Arc::new(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let running = server::run_stream(config.clone(), stream, Echo).await;
            if let Ok(running) = running {
                tokio::spawn(running);
            }
        }
    });
    Daemon { address, fingerprint }
}

#[tokio::test]
async fn the_pinned_key_is_accepted_and_bytes_go_through_the_subsystem() {
    let daemon = serve(key(1), None).await;
    let connection = connect(&daemon, "known", key(9)).await.unwrap();
    let mut stream = connection.open("elevate-agent").await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    let mut back = [0u8; 14];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"there and back");
    assert!(matches!(connection.open("sftp").await, Err(SshError::Subsystem("sftp"))));
    connection.close().await;
}

#[tokio::test]
async fn h06_another_host_key_is_refused_before_anything_is_said() {
    let daemon = serve(key(2), None).await;
    let found = key(2).public_key().fingerprint(HashAlg::Sha256).to_string();
    match connect(&daemon, "known", key(9)).await.err() {
        Some(SshError::HostKey { found: shown }) => assert_eq!(shown, found),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn h06_a_daemon_without_strict_key_exchange_is_refused() {
    let daemon = serve(key(1), Some(&[kex::CURVE25519])).await;
    let refused = connect(&daemon, "known", key(9)).await.err();
    assert!(matches!(refused, Some(SshError::NotStrict)), "{refused:?}");
}

#[tokio::test]
async fn h06_weaker_key_exchange_is_not_spoken() {
    let daemon =
        serve(key(1), Some(&[kex::DH_G14_SHA256, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER])).await;
    let refused = connect(&daemon, "known", key(9)).await.err();
    assert!(matches!(refused, Some(SshError::Protocol(_))), "{refused:?}");
}

#[tokio::test]
async fn a_link_key_that_the_daemon_does_not_know_is_told_so() {
    let daemon = serve(key(1), None).await;
    assert!(matches!(connect(&daemon, "other", key(9)).await.err(), Some(SshError::NotKnown)));
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let daemon = Daemon { address: address.clone(), fingerprint: String::new() };
    match connect(&daemon, "known", key(9)).await.err() {
        Some(SshError::Unreachable { address: named, .. }) => assert_eq!(named, address),
        other => panic!("{other:?}"),
    }
}
