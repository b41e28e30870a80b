//! The local socket: who is told what.

use elevate_protocol::frame::{Decoder, encode};
use elevate_protocol::id::Nonce;
use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Ask, Reply, Say};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::admin::{self, AdminError, one};
use super::ssh::fixture::{Fixture, SOON, patience};

async fn hear(stream: &mut UnixStream) -> Reply {
    next(stream, &mut Decoder::default()).await
}

/// Several replies may come at once.
async fn next(stream: &mut UnixStream, decoder: &mut Decoder) -> Reply {
    let mut piece = [0u8; 4096];
    loop {
        if let Some(reply) = decoder.next_message().unwrap() {
            return reply;
        }
        let read = timeout(SOON, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "closed without a word");
        decoder.feed(&piece[..read]);
    }
}

#[tokio::test]
async fn the_daemons_own_account_is_let_in_by_what_the_kernel_says() {
    let fixture = Fixture::start().await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("admin.sock");
    let listener = admin::bind(&path).unwrap();
    tokio::spawn(admin::serve(listener, fixture.core.clone(), patience()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&encode(&Say::Hello { versions: Versions::OURS }).unwrap()).await.unwrap();
    assert!(matches!(hear(&mut stream).await, Reply::Hello { version: 1 }));
}

#[tokio::test]
async fn another_account_is_refused_and_told_why() {
    let fixture = Fixture::start().await;
    let (mut peer, ours) = UnixStream::pair().unwrap();
    one(fixture.core.clone(), ours, (2000, 990), patience()).await.unwrap();
    let reply = hear(&mut peer).await;
    let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert_eq!(refusal.code, Code::WrongDoor);
    assert!(refusal.message.contains("not for uid 2000"), "{}", refusal.message);
}

#[tokio::test]
async fn an_old_socket_is_replaced_and_anything_else_is_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("admin.sock");
    drop(admin::bind(&path).unwrap());
    drop(admin::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(admin::bind(&path), Err(AdminError::Occupied { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn who_was_answered_may_ask_again_on_the_same_stream() {
    let fixture = Fixture::start().await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("admin.sock");
    let listener = admin::bind(&path).unwrap();
    tokio::spawn(admin::serve(listener, fixture.core.clone(), patience()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let mut decoder = Decoder::default();
    let say = |say: &Say| encode(say).unwrap();
    // Behind hello at once, without its answer.
    let first = [say(&Say::Hello { versions: Versions::OURS }), say(&Say::Ask(Ask::Eligible))].concat();
    stream.write_all(&first).await.unwrap();
    assert!(matches!(next(&mut stream, &mut decoder).await, Reply::Hello { version: 1 }));
    // Root is no person: refused, and the stream stays.
    for _ in 0..3 {
        assert!(
            matches!(next(&mut stream, &mut decoder).await, Reply::Refused(refusal) if refusal.code == Code::WrongDoor)
        );
        // An answer to what was asked before is nobody's.
        let late = Say::Answer { challenge: Nonce::from_random([3; 16]), code: Secret::new("492039".into()) };
        stream.write_all(&[say(&late), say(&Say::Ask(Ask::Whoami))].concat()).await.unwrap();
    }
    next(&mut stream, &mut decoder).await;
    // What is no ask is the end of it.
    stream.write_all(&say(&Say::Hello { versions: Versions::OURS })).await.unwrap();
    assert!(
        matches!(next(&mut stream, &mut decoder).await, Reply::Refused(refusal) if refusal.code == Code::Usage)
    );
    assert_eq!(timeout(SOON, stream.read(&mut [0; 16])).await.unwrap().unwrap(), 0, "closed");
}
