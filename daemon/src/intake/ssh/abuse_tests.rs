//! Peers that stall, flood, break frames, ask for a shell: threats H09, B06, B07. Others are served meanwhile.

use super::fixture::*;
use super::*;
use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::message::{SUBSYSTEM_ENROL, SUBSYSTEM_PERSON};
use russh::ChannelMsg;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(300);

async fn served(fixture: &Fixture) {
    let handle = fixture.alice().await;
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.expect("a person is served");
    talk.say(&Say::Hello { versions: Versions::OURS }).await;
    assert!(matches!(talk.hear().await, Some(Reply::Hello { .. })));
}

/// Reads until the other side closes; an error is a close as well.
async fn until_closed(stream: &mut TcpStream) {
    let mut piece = [0u8; 1024];
    let reading = async { while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {} };
    timeout(SOON, reading).await.expect("still open");
}

#[tokio::test]
async fn h09_connections_that_do_not_authenticate_are_closed_at_the_deadline() {
    let fixture = Fixture::with(Patience { login: SHORT, ..patience() }, Limits::default(), &[]).await;
    let mut silent = TcpStream::connect(fixture.address).await.unwrap();
    let mut banner = TcpStream::connect(fixture.address).await.unwrap();
    banner.write_all(b"SSH-2.0-slow\r\n").await.unwrap();
    let mut dripping = TcpStream::connect(fixture.address).await.unwrap();
    let handshaken = fixture.connect().await;
    until_closed(&mut silent).await;
    until_closed(&mut banner).await;
    dripping.write_all(b"S").await.unwrap();
    until_closed(&mut dripping).await;
    closed(&handshaken).await;
    served(&fixture).await;
}

#[tokio::test]
async fn h09_a_giant_first_packet_is_not_waited_for() {
    let fixture = Fixture::start().await;
    let mut giant = TcpStream::connect(fixture.address).await.unwrap();
    giant.write_all(b"SSH-2.0-x\r\n\xff\xff\xff\xff\x00\x14").await.unwrap();
    until_closed(&mut giant).await;
    served(&fixture).await;
}

#[tokio::test]
async fn h09_one_source_has_few_unauthenticated_connections_and_gets_them_back() {
    let limits = Limits { unauthenticated_per_source: 3, ..Limits::default() };
    let fixture = Fixture::with(patience(), limits, &[]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        let mut first = [0u8; 4];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"SSH-");
        held.push(stream);
    }
    for _ in 0..20 {
        let mut refused = TcpStream::connect(fixture.address).await.unwrap();
        let mut first = [0u8; 4];
        assert!(refused.read_exact(&mut first).await.is_err(), "a fourth one was greeted");
    }
    drop(held);
    let again = async {
        loop {
            let mut stream = TcpStream::connect(fixture.address).await.unwrap();
            let mut first = [0u8; 4];
            if stream.read_exact(&mut first).await.is_ok() {
                return;
            }
        }
    };
    timeout(SOON, again).await.expect("the seats come back");
    served(&fixture).await;
}

#[tokio::test]
async fn h09_authenticated_connections_take_no_seat_of_the_others() {
    let limits = Limits { unauthenticated_per_source: 1, connections_per_person: 3, ..Limits::default() };
    let fixture = Fixture::with(patience(), limits, &[]).await;
    let held = [fixture.alice().await, fixture.alice().await, fixture.alice().await];
    // B07: a person has a limited number as well.
    let mut fourth = fixture.connect().await;
    assert!(!login(&mut fourth, "alice", key(ALICE)).await);
    drop(fourth);
    for handle in &held {
        assert!(open(handle, SUBSYSTEM_PERSON).await.is_some());
    }
}

#[tokio::test]
async fn h09_who_says_to_be_new_keeps_the_seat_of_the_unauthenticated() {
    let limits = Limits { unauthenticated_per_source: 2, ..Limits::default() };
    let fixture = Fixture::with(patience(), limits, &[]).await;
    let mut held = Vec::new();
    for seed in [NOBODY, NOBODY - 1] {
        let mut handle = fixture.connect().await;
        assert!(login(&mut handle, SUBSYSTEM_ENROL, key(seed)).await, "anybody may ask to enrol");
        assert!(open(&handle, SUBSYSTEM_ENROL).await.is_some());
        held.push(handle);
    }
    let mut third = TcpStream::connect(fixture.address).await.unwrap();
    let mut first = [0u8; 4];
    assert!(third.read_exact(&mut first).await.is_err(), "a third one was greeted");
    drop(held);
    let again = async {
        while TcpStream::connect(fixture.address).await.unwrap().read_exact(&mut first).await.is_err() {}
    };
    timeout(SOON, again).await.expect("the seats come back");
}

#[tokio::test]
async fn b06_broken_frames_end_the_connection_and_others_are_served() {
    let fixture = Fixture::with(Patience { frame: SHORT, ..patience() }, Limits::default(), &[]).await;
    let deep = "[".repeat(100_000);
    let framed = |body: &[u8]| {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    };
    let abuses: Vec<Vec<u8>> = vec![
        vec![0, 0, 0, 0],
        vec![0xff; 4],
        framed(deep.as_bytes()),
        framed(b"{\"hello\":{\"versions\":{\"lowest\":1,\"lowest\":1,\"highest\":1}}}"),
        framed(b"{\"hello\":{\"versions\":{\"lowest\":NaN,\"highest\":1}}}"),
        framed(b"{\"shutdown\":{}}"),
        framed(&[0xff, 0xfe]),
        vec![0, 0, 1, 0, b'{'],
    ];
    for abuse in abuses {
        let handle = fixture.alice().await;
        let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
        talk.stream.write_all(&abuse).await.unwrap();
        closed(&handle).await;
    }
    served(&fixture).await;
}

#[tokio::test]
async fn b06_ten_megabytes_and_many_tiny_frames_are_not_collected() {
    let fixture = Fixture::start().await;
    let handle = fixture.alice().await;
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    let mut long = (10u32 << 20).to_be_bytes().to_vec();
    long.resize(4096, b'x');
    talk.stream.write_all(&long).await.unwrap();
    closed(&handle).await;
    let handle = fixture.alice().await;
    let mut talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    talk.say(&Say::Hello { versions: Versions::OURS }).await;
    let tiny = elevate_protocol::frame::encode(&Say::Leave).unwrap().repeat(1000);
    let (mut reader, mut writer) = tokio::io::split(talk.stream);
    let flood = async {
        while writer.write_all(&tiny).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let mut piece = [0u8; 1024];
    let ended = async { while reader.read(&mut piece).await.is_ok_and(|read| read > 0) {} };
    let over = async {
        tokio::select! { () = flood => {}, () = ended => {} }
    };
    timeout(SOON, over).await.expect("a flood is not read for ever");
    served(&fixture).await;
}

#[tokio::test]
async fn channels_are_limited_and_a_connection_without_any_ends() {
    let fixture = Fixture::with(Patience { idle: SHORT, ..patience() }, Limits::default(), &[]).await;
    let handle = fixture.alice().await;
    let mut talks = Vec::new();
    for _ in 0..16 {
        talks.push(open(&handle, SUBSYSTEM_PERSON).await.expect("sixteen conversations"));
    }
    assert!(open(&handle, SUBSYSTEM_PERSON).await.is_none());
    let mut new = fixture.connect().await;
    assert!(login(&mut new, SUBSYSTEM_ENROL, key(NOBODY)).await);
    let enrolling = open(&new, SUBSYSTEM_ENROL).await.unwrap();
    assert!(open(&new, SUBSYSTEM_ENROL).await.is_none());
    drop((talks, enrolling));
    closed(&handle).await;
    closed(&new).await;
}

#[tokio::test]
async fn r08_a_person_has_so_many_conversations_over_all_connections_and_gets_them_back() {
    let fixture = Fixture::start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let handle = fixture.alice().await;
        let mut talks = Vec::new();
        for _ in 0..16 {
            talks.push(open(&handle, SUBSYSTEM_PERSON).await.expect("four times sixteen conversations"));
        }
        held.push((handle, talks));
    }
    let another = fixture.alice().await;
    assert!(open(&another, SUBSYSTEM_PERSON).await.is_none(), "one more");
    drop(held.pop());
    let again = async { while open(&another, SUBSYSTEM_PERSON).await.is_none() {} };
    timeout(SOON, again).await.expect("the seats come back");
}

#[tokio::test]
async fn nothing_but_subsystems_is_given() {
    let fixture = Fixture::start().await;
    let handle = fixture.alice().await;
    let refused = async |mut channel: russh::Channel<russh::client::Msg>| loop {
        match timeout(SOON, channel.wait()).await.expect("an answer") {
            Some(ChannelMsg::Failure) => return true,
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(ChannelMsg::Success) | None => return false,
            Some(_) => {}
        }
    };
    let session = async || handle.channel_open_session().await.unwrap();
    let channel = session().await;
    channel.exec(true, "id").await.unwrap();
    assert!(refused(channel).await);
    let channel = session().await;
    channel.request_shell(true).await.unwrap();
    assert!(refused(channel).await);
    let channel = session().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    assert!(refused(channel).await);
    let channel = session().await;
    channel.set_env(true, "LD_PRELOAD", "/tmp/x.so").await.unwrap();
    assert!(refused(channel).await);
    let channel = session().await;
    channel.request_x11(true, true, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
    assert!(refused(channel).await);
    assert!(handle.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_err());
    assert!(handle.channel_open_direct_streamlocal("/run/elevated/admin.sock").await.is_err());
    assert!(handle.tcpip_forward("127.0.0.1", 0).await.is_err());
    served(&fixture).await;
}

#[tokio::test]
async fn the_real_ssh_gets_in_with_the_key_and_gets_no_command_and_no_tunnel() {
    let fixture = Fixture::start().await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    let text = key(ALICE).to_openssh(ssh_key::LineEnding::LF).unwrap();
    keys_file(&path, &text);
    let port = fixture.address.port().to_string();
    let ssh = move |extra: &'static [&'static str], command: &'static [&'static str]| {
        let (path, port) = (path.clone(), port.clone());
        tokio::task::spawn_blocking(move || {
            Command::new("ssh")
                .args(["-F", "none", "-v", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
                .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
                .args(["-o", "ConnectTimeout=10", "-p", &port, "-i"])
                .arg(&path)
                .args(extra)
                .arg("alice@127.0.0.1")
                .args(command)
                .output()
                .expect("ssh is installed")
        })
    };
    for (extra, command) in [
        (&[][..], &["true"][..]),
        (&["-tt"][..], &[][..]),
        (&["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"][..], &[][..]),
        (&["-s"][..], &["sftp"][..]),
    ] {
        let done = timeout(SOON, ssh(extra, command)).await.expect("ssh ends").unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(told.contains("Authenticated to 127.0.0.1"), "{told}");
        assert!(!done.status.success(), "{extra:?} {command:?}: {told}");
        assert!(
            told.contains("kex: algorithm: curve25519-sha256") || told.contains("mlkem768x25519"),
            "{told}"
        );
        assert!(told.contains("compression: none"), "{told}");
    }
}

fn keys_file(path: &std::path::Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_daemon_that_stops_says_goodbye_to_everybody() {
    let fixture = Fixture::start().await;
    let handle = fixture.alice().await;
    let _talk = open(&handle, SUBSYSTEM_PERSON).await.unwrap();
    fixture.stop.send_replace(true);
    closed(&handle).await;
    timeout(SOON, fixture.stop.closed()).await.expect("every task of the listener ended");
    assert!(TcpStream::connect(fixture.address).await.is_err());
}
