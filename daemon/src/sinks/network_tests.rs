//! UDP and TCP sinks against real sockets: stalls, restarts, resets, and what the board says meanwhile.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::tests::*;
use super::*;

/// Numbers of the events in octet-counted frames; an unfinished frame at the end is left out.
fn seqs(bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let (length, after) = rest.split_at(space);
        let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
        let Some((message, next)) = after[1..].split_at_checked(length) else { break };
        found.push(seq_of(std::str::from_utf8(message).unwrap()));
        rest = next;
    }
    found
}

fn seq_of(message: &str) -> u64 {
    message.split_once("seq=\"").unwrap().1.split_once('"').unwrap().0.parse().unwrap()
}

/// A collector that takes connections to their end, one after the other.
async fn whole(listener: &TcpListener) -> Vec<u64> {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("a connection").unwrap();
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("an end").unwrap();
    seqs(&bytes)
}

fn condition(board: &Board) -> Condition {
    board.list().remove("syslog.test").unwrap_or_default()
}

async fn listener(address: &str) -> TcpListener {
    TcpListener::bind(address).await.unwrap()
}

#[tokio::test]
async fn tcp_frames_are_counted_and_the_place_moves_when_the_collector_has_read_and_closed() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 3).await;
    let port = listener("127.0.0.1:0").await;
    let (board, address) = (Board::default(), port.local_addr().unwrap());
    let _sink = collector(&store, &board, &format!("tcp:{address}"));
    let (mut stream, _) = timeout(SOON, port.accept()).await.unwrap().unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let mut read = 0;
    while seqs(&bytes[..read]).len() < 3 {
        read += timeout(SOON, stream.read(&mut bytes[read..])).await.unwrap().unwrap();
    }
    // It closed its half; everything is read, but we have not closed ours: nothing is known yet.
    assert_eq!(timeout(SOON, stream.read(&mut bytes[read..])).await.unwrap().unwrap(), 0);
    let reader = EventReader::new(Arc::clone(&store));
    assert_eq!(reader.cursor("syslog.test").await.unwrap(), 0);
    drop(stream);
    until_cursor(&store, "syslog.test", 3).await;
    record(&store, 2).await;
    assert_eq!(whole(&port).await, [3, 4]);
    until_cursor(&store, "syslog.test", 5).await;
    assert!(condition(&board).last_error.is_none());
}

/// Threat I18. A receiver that dies with unread bytes has taken nothing; they are sent again, with some before them.
#[tokio::test]
async fn i18_a_collector_that_dies_with_something_unread_gets_it_again() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    let port = listener("127.0.0.1:0").await;
    let (board, address) = (Board::default(), port.local_addr().unwrap());
    record(&store, 4).await;
    let _sink = collector(&store, &board, &format!("tcp:{address}"));
    assert_eq!(whole(&port).await, [0, 1, 2, 3]);
    until_cursor(&store, "syslog.test", 4).await;
    record(&store, 3).await;
    let (stream, _) = timeout(SOON, port.accept()).await.unwrap().unwrap();
    timeout(SOON, stream.readable()).await.unwrap().unwrap();
    // The kernel acknowledged the bytes; nobody read them.
    drop(stream);
    let again = whole(&port).await;
    assert_eq!(again, [0, 1, 2, 3, 4, 5, 6], "in order, from before the last known place on");
    until_cursor(&store, "syslog.test", 7).await;
    assert!(condition(&board).last_error.is_some());
}

/// Threat I08: a window of zero. Another sink and the store go on; what waits, waits in the log.
#[tokio::test]
async fn i08_a_collector_that_reads_nothing_holds_up_nobody_and_gets_everything_later() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.listen(8).unwrap();
    let local = place.path().join("log");
    let other = tokio::net::UnixDatagram::bind(&local).unwrap();
    let board = Board::default();
    let _stalled = collector(&store, &board, &format!("tcp:{}", port.local_addr().unwrap()));
    let settings = Collector { name: "other".parse().unwrap(), to: Target::Unix(local), from: Begin::First };
    let reader = EventReader::new(Arc::clone(&store));
    let _works = tokio::spawn(to_collector(reader, board.clone(), settings, "web1".into()));
    // More than the buffers of both sides take.
    let (count, mut got) = (6000, 0);
    let filling = tokio::spawn({
        let store = Arc::clone(&store);
        async move { record_at_once(&store, count).await }
    });
    let mut message = vec![0; 16 * 1024];
    while got < count {
        timeout(SOON, other.recv(&mut message)).await.expect("the other sink goes on").unwrap();
        got += 1;
    }
    filling.await.unwrap();
    let reader = EventReader::new(Arc::clone(&store));
    assert_eq!(reader.cursor("syslog.test").await.unwrap(), 0, "nothing is known to have arrived");
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let order = whole(&port).await;
        assert!(order.is_sorted(), "in order on each connection");
        seen.extend(order);
    }
    until_cursor(&store, "syslog.test", u64::try_from(count).unwrap()).await;
}

#[tokio::test]
async fn i18_a_collector_that_was_away_is_told_everything_and_the_board_says_so() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    let port = listener("127.0.0.1:0").await;
    let address = port.local_addr().unwrap();
    drop(port);
    let board = Board::default();
    record(&store, 2).await;
    let _sink = collector(&store, &board, &format!("tcp:{address}"));
    until(|| condition(&board).failing_since.is_some()).await;
    assert!(condition(&board).last_error.as_ref().unwrap().1.raw().contains("refused"));
    record(&store, 2).await;
    let port = listener(&address.to_string()).await;
    assert_eq!(whole(&port).await, [0, 1, 2, 3]);
    until_cursor(&store, "syslog.test", 4).await;
    until(|| condition(&board).failing_since.is_none()).await;
    assert!(condition(&board).last_error.is_some(), "the last failure stays to be read");
}

#[tokio::test]
async fn udp_goes_back_when_the_machine_says_that_nobody_listens() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    let board = Board::default();
    record(&store, 2).await;
    let _sink = collector(&store, &board, &format!("udp:{address}"));
    let mut message = vec![0; 4096];
    for seq in 0..2 {
        let length = timeout(SOON, first.recv(&mut message)).await.unwrap().unwrap();
        assert_eq!(seq_of(std::str::from_utf8(&message[..length]).unwrap()), seq);
    }
    until_cursor(&store, "syslog.test", 2).await;
    drop(first);
    record(&store, 3).await;
    until(|| condition(&board).failing_since.is_some()).await;
    let second = UdpSocket::bind(address).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&4) {
        let length = timeout(SOON, second.recv(&mut message)).await.unwrap().unwrap();
        assert!(length <= elevate_audit::DATAGRAM_MAX);
        seen.push(seq_of(std::str::from_utf8(&message[..length]).unwrap()));
    }
    assert!(seen.ends_with(&[2, 3, 4]), "{seen:?}");
    until_cursor(&store, "syslog.test", 5).await;
}

/// Whoever closes at once after connecting, again and again, is not asked in a hurry.
#[tokio::test]
async fn a_collector_that_only_hangs_up_is_tried_again_with_pauses() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 1).await;
    let port = listener("127.0.0.1:0").await;
    let _sink = collector(&store, &Board::default(), &format!("tcp:{}", port.local_addr().unwrap()));
    let reset = |stream: TcpStream| drop(stream.set_zero_linger());
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let (stream, _) = timeout(SOON, port.accept()).await.unwrap().unwrap();
        reset(stream);
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(600), "0.2 s and 0.4 s between them");
    assert_eq!(whole(&port).await, [0]);
    until_cursor(&store, "syslog.test", 1).await;
}
