//! Sinks against a real store, a real datagram socket and real programs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
pub(super) use std::sync::Arc;

use elevate_audit::{Kind, Subject};
use elevate_protocol::id::ClusterId;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::clock::Clock;
pub(super) use crate::store::Store;
use crate::store::Voice;

pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) async fn store(place: &Path) -> Arc<Store> {
    Arc::new(Store::open(place, Clock::system(), ClusterId::from_random([1; 16])).await.unwrap())
}

pub(super) async fn record(store: &Store, count: usize) {
    for _ in 0..count {
        let mut tx = store.write().await.unwrap();
        tx.record(Voice::DAEMON.did(Subject::default(), Kind::RequestLapsed {})).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// All in one transaction.
pub(super) async fn record_at_once(store: &Store, count: usize) {
    let mut tx = store.write().await.unwrap();
    for _ in 0..count {
        tx.record(Voice::DAEMON.did(Subject::default(), Kind::RequestLapsed {})).await.unwrap();
    }
    tx.commit().await.unwrap();
}

pub(super) async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.expect("it happens");
}

pub(super) fn collector(store: &Arc<Store>, board: &Board, to: &str) -> JoinHandle<()> {
    let settings = Collector { name: "test".parse().unwrap(), to: to.parse().unwrap(), from: Begin::First };
    let reader = EventReader::new(Arc::clone(store));
    tokio::spawn(to_collector(reader, board.clone(), settings, "web1".into()))
}

fn syslog(store: &Arc<Store>, socket: &Path) -> JoinHandle<()> {
    collector(store, &Board::default(), &format!("unix:{}", socket.display()))
}

async fn received(socket: &UnixDatagram) -> String {
    let mut message = vec![0; 16 * 1024];
    let read = timeout(SOON, socket.recv(&mut message)).await.expect("a message").unwrap();
    String::from_utf8(message[..read].to_vec()).unwrap()
}

pub(super) async fn until_cursor(store: &Arc<Store>, sink: &str, next: u64) {
    let reader = EventReader::new(Arc::clone(store));
    let waiting = async {
        while reader.cursor(sink).await.unwrap() < next {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.expect("the place in the log");
}

#[tokio::test]
async fn every_event_reaches_syslog_in_order_over_restarts_of_both() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let store = store(place.path()).await;
    record(&store, 3).await;
    // Nobody listens yet: the events wait.
    let sink = syslog(&store, &path);
    let collector = UnixDatagram::bind(&path).unwrap();
    for seq in 0..3 {
        let line = received(&collector).await;
        assert!(
            line.contains(&format!("seq=\"{seq}\"")) && line.contains("code=\"request.lapsed\""),
            "{line}"
        );
        assert!(line.starts_with('<') && line.contains(" web1 elevated "), "{line}");
    }
    // The collector goes and comes back; then the sink does.
    drop(collector);
    std::fs::remove_file(&path).unwrap();
    record(&store, 1).await;
    let collector = UnixDatagram::bind(&path).unwrap();
    assert!(received(&collector).await.contains("seq=\"3\""));
    until_cursor(&store, "syslog.test", 4).await;
    sink.abort();
    record(&store, 2).await;
    let _sink = syslog(&store, &path);
    assert!(received(&collector).await.contains("seq=\"4\""));
    assert!(received(&collector).await.contains("seq=\"5\""));
}

fn program(place: &Path, text: &str) -> Notify {
    let path = place.join("hook");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    Notify { exec: vec![path.display().to_string(), place.join("out").display().to_string()] }
}

fn notify(store: &Arc<Store>, settings: &Notify) -> JoinHandle<()> {
    tokio::spawn(to_program(EventReader::new(Arc::clone(store)), Board::default(), settings.clone()))
}

fn seqs(place: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(place.join("out")).unwrap();
    let seq = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    text.lines().map(seq).collect()
}

#[tokio::test]
async fn a_program_gets_each_event_once_from_its_first_start_on() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 2).await;
    let settings = program(place.path(), "#!/bin/sh\nexec cat >> \"$1\"\n");
    let first = notify(&store, &settings);
    until_cursor(&store, "notify", 2).await;
    assert!(!place.path().join("out").exists(), "what was before is not told");
    record(&store, 2).await;
    until_cursor(&store, "notify", 4).await;
    first.abort();
    // What happens while the daemon is down is told afterwards.
    record(&store, 2).await;
    let _second = notify(&store, &settings);
    until_cursor(&store, "notify", 6).await;
    assert_eq!(seqs(place.path()), [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_run_that_fails_is_repeated_and_nothing_is_lost_or_told_out_of_order() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 1).await;
    // Says that it was started; fails for as long as `broken` is there.
    let text = "#!/bin/sh\necho >> \"$1.tries\"\n[ -e \"$1.broken\" ] && exit 3\nexec cat >> \"$1\"\n";
    let settings = program(place.path(), text);
    let (broken, tries) = (place.path().join("out.broken"), place.path().join("out.tries"));
    std::fs::write(&broken, "").unwrap();
    let tried = |many: usize| std::fs::read(&tries).is_ok_and(|bytes| bytes.len() >= many);
    let first = notify(&store, &settings);
    until_cursor(&store, "notify", 1).await;
    record(&store, 3).await;
    until(|| tried(3)).await;
    assert_eq!(
        store.read().await.unwrap().cursor("notify").await.unwrap(),
        1,
        "no place is given for a failure"
    );
    // A daemon that is started again has lost none of them, and a program that is away is one that fails.
    first.abort();
    let hook = place.path().join("hook");
    std::fs::rename(&hook, place.path().join("away")).unwrap();
    let _second = notify(&store, &settings);
    std::fs::remove_file(&broken).unwrap();
    std::fs::rename(place.path().join("away"), &hook).unwrap();
    until_cursor(&store, "notify", 4).await;
    assert_eq!(seqs(place.path()), [1, 2, 3]);
}

#[tokio::test]
async fn an_event_that_the_program_will_never_take_is_given_up_by_the_program_alone() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 1).await;
    let text = "#!/bin/sh\nread -r line\ncase $line in *'\"seq\":2}'*) exit 65 ;; esac\nprintf '%s\\n' \"$line\" >> \"$1\"\n";
    let settings = program(place.path(), text);
    let _sink = notify(&store, &settings);
    until_cursor(&store, "notify", 1).await;
    record(&store, 3).await;
    until_cursor(&store, "notify", 4).await;
    assert_eq!(seqs(place.path()), [1, 3]);
}

#[tokio::test]
async fn a_program_gets_no_environment_of_the_daemon_and_no_shell() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path()).await;
    record(&store, 1).await;
    let mut settings =
        program(place.path(), "#!/bin/sh\n/usr/bin/env | sort > \"$1\"\necho \"$2\" >> \"$1\"\n");
    settings.exec.push("$(id); `id`".into());
    let _sink = notify(&store, &settings);
    until_cursor(&store, "notify", 1).await;
    record(&store, 1).await;
    until_cursor(&store, "notify", 2).await;
    let told = std::fs::read_to_string(place.path().join("out")).unwrap();
    let names: Vec<&str> =
        told.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(
        names.iter().all(|name| ["LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)),
        "{told}"
    );
    assert!(told.ends_with("$(id); `id`\n"), "{told}");
}
