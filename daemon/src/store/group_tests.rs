//! Changes that share a commit: each whole or not at all, all of them with one fate.

use std::path::Path;

use elevate_protocol::id::ClusterId;
use sqlx::Row as _;
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::clock::Clock;
use crate::store::Store;

async fn store(folder: &Path) -> Store {
    Store::open(folder, Clock::manual(1_800_000_000), ClusterId::from_random([1; 16])).await.unwrap()
}

async fn put(change: &mut Change, name: &str) {
    sqlx::query("INSERT INTO meta (name, value) VALUES ($1, '')")
        .bind(name.to_owned())
        .execute(on(change).await)
        .await
        .unwrap();
}

/// The connection, once the change has begun on it.
async fn on(change: &mut Change) -> &mut AnyConnection {
    change.group.run(Later::default()).await.unwrap();
    &mut change.group.connection
}

async fn names(store: &Store) -> Vec<String> {
    let mut tx = store.read().await.unwrap();
    let rows = sqlx::query("SELECT name FROM meta WHERE name LIKE 'x%' ORDER BY name");
    rows.fetch_all(tx.ready().await.unwrap()).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// A change that waits, and is committed or dropped when its turn comes; the fate that it had.
fn waiting(writer: &Writer, name: &'static str, commit: bool) -> JoinHandle<(Fate, Option<bool>)> {
    let writer = writer.clone();
    tokio::spawn(async move {
        let mut change = writer.begin().await.unwrap();
        put(&mut change, name).await;
        let fate = Arc::clone(&change.fate);
        let done =
            if commit { Some(change.commit(Log::default(), Later::default()).await.is_ok()) } else { None };
        (fate, done)
    })
}

async fn until_waiting(writer: &Writer, number: usize) {
    while writer.waiting.load(Ordering::SeqCst) < number {
        yield_now().await;
    }
}

#[tokio::test]
async fn changes_that_wait_share_one_commit_and_a_dropped_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut first = store.writer.begin().await.unwrap();
    put(&mut first, "x1").await;
    let second = waiting(&store.writer, "x2", true);
    until_waiting(&store.writer, 1).await;
    let dropped = waiting(&store.writer, "x3", false);
    until_waiting(&store.writer, 2).await;
    let last = waiting(&store.writer, "x4", true);
    until_waiting(&store.writer, 3).await;
    assert!(names(&store).await.is_empty(), "nothing is there before the commit");
    let fate = Arc::clone(&first.fate);
    first.commit(Log::default(), Later::default()).await.unwrap();
    for (task, done) in [(second, Some(true)), (dropped, None), (last, Some(true))] {
        let (other, committed) = task.await.unwrap();
        assert!(Arc::ptr_eq(&fate, &other), "one group");
        assert_eq!(committed, done);
    }
    assert_eq!(names(&store).await, ["x1", "x2", "x4"]);
}

#[tokio::test]
async fn a_commit_that_fails_fails_for_all_of_its_group_and_for_nobody_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut first = store.writer.begin().await.unwrap();
    // A reference to nothing, looked at by the commit only.
    for statement in [
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO accounts (host, login, uid) VALUES ('nobody', 'alice', 2000)",
    ] {
        sqlx::query(statement).execute(on(&mut first).await).await.unwrap();
    }
    let second = waiting(&store.writer, "x2", true);
    until_waiting(&store.writer, 1).await;
    assert!(first.commit(Log::default(), Later::default()).await.is_err());
    assert_eq!(second.await.unwrap().1, Some(false));
    assert!(names(&store).await.is_empty());
    let (_, done) = waiting(&store.writer, "x5", true).await.unwrap();
    assert_eq!((done, names(&store).await), (Some(true), vec!["x5".to_owned()]));
}

/// What SQLite does by itself when the disk is full while a change is made.
#[tokio::test]
async fn r05_who_shared_a_group_that_found_no_room_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut first = store.writer.begin().await.unwrap();
    put(&mut first, "x1").await;
    let writer = store.writer.clone();
    let second = tokio::spawn(async move {
        let mut change = writer.begin().await.unwrap();
        sqlx::query("ROLLBACK").execute(on(&mut change).await).await.unwrap();
    });
    until_waiting(&store.writer, 1).await;
    let told = first.commit(Log::default(), Later::default()).await;
    assert!(matches!(told, Err(StoreError::Group { full: true })), "{told:?}");
    second.await.unwrap();
    assert!(names(&store).await.is_empty());
}

#[tokio::test]
async fn the_first_of_a_group_that_is_dropped_leaves_nothing_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut dropped = store.writer.begin().await.unwrap();
    put(&mut dropped, "x1").await;
    let before = Arc::clone(&dropped.fate);
    drop(dropped);
    let (fate, done) = waiting(&store.writer, "x2", true).await.unwrap();
    assert!(done == Some(true) && !Arc::ptr_eq(&before, &fate));
    assert_eq!(names(&store).await, ["x2"]);
}

#[tokio::test]
async fn a_commit_whose_caller_has_gone_is_done_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut change = store.writer.begin().await.unwrap();
    put(&mut change, "x1").await;
    tokio::select! {
        biased;
        _ = change.commit(Log::default(), Later::default()) => panic!("not at the first look"),
        () = std::future::ready(()) => {}
    }
    let (_, done) = waiting(&store.writer, "x2", true).await.unwrap();
    assert_eq!((done, names(&store).await), (Some(true), vec!["x1".to_owned(), "x2".to_owned()]));
}

#[tokio::test]
async fn a_waiting_change_that_is_given_up_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut first = store.writer.begin().await.unwrap();
    put(&mut first, "x1").await;
    let second = waiting(&store.writer, "x2", true);
    until_waiting(&store.writer, 1).await;
    second.abort();
    assert!(second.await.is_err());
    first.commit(Log::default(), Later::default()).await.unwrap();
    assert_eq!(names(&store).await, ["x1"]);
}

fn kept_back(name: &str) -> Later {
    let mut later = Later::default();
    later.add("INSERT INTO meta (name, value) VALUES ($1, '')", [name.into()]);
    later
}

#[tokio::test]
async fn what_a_change_kept_back_is_in_its_commit_or_takes_this_change_alone_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let first = store.writer.begin().await.unwrap();
    let writer = store.writer.clone();
    // The second change of the group: its last statement fails, its first did not.
    let second = tokio::spawn(async move {
        let change = writer.begin().await.unwrap();
        let mut later = kept_back("x2");
        later.add("INSERT INTO meta (name, value) VALUES ($1, '')", ["x1".into()]);
        change.commit(Log::default(), later).await.is_ok()
    });
    until_waiting(&store.writer, 1).await;
    let third = waiting(&store.writer, "x3", true);
    until_waiting(&store.writer, 2).await;
    first.commit(Log::default(), kept_back("x1")).await.unwrap();
    assert_eq!((second.await.unwrap(), third.await.unwrap().1), (false, Some(true)));
    assert_eq!(names(&store).await, ["x1", "x3"]);
}

#[tokio::test]
async fn a_writer_that_was_closed_makes_no_other_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    store.close().await;
    let pool = &store.writer.pool;
    assert!(pool.is_closed() && pool.size() == 0);
    assert!(store.write().await.is_err());
}

/// What a change begins and ends with goes with its own statements: the database hears of none that said nothing.
#[tokio::test]
async fn a_change_that_said_nothing_leaves_nothing_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let alone = store.writer.begin().await.unwrap();
    let fate = Arc::clone(&alone.fate);
    drop(alone);
    let first = store.writer.begin().await.unwrap();
    assert_eq!(fate.get(), Some(&End::Lost));
    let writer = store.writer.clone();
    // In a group with others as well.
    let silent = tokio::spawn(async move { drop(writer.begin().await.unwrap()) });
    until_waiting(&store.writer, 1).await;
    let third = waiting(&store.writer, "x3", true);
    until_waiting(&store.writer, 2).await;
    first.commit(Log::default(), kept_back("x1")).await.unwrap();
    silent.await.unwrap();
    assert_eq!((third.await.unwrap().1, names(&store).await), (Some(true), vec!["x1".into(), "x3".into()]));
    // And one that is committed without a word is durable, whatever that is.
    let nothing = store.writer.begin().await.unwrap();
    nothing.commit(Log::default(), Later::default()).await.unwrap();
    assert!(store.writer.group().await.unwrap().open.is_none());
}

/// All of a change and its commit are one text: the commit fails, and of the text nothing is there.
#[tokio::test]
async fn a_commit_that_fails_with_its_change_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut later = kept_back("x1");
    // As above.
    later.add("PRAGMA defer_foreign_keys = ON", []);
    later.add("INSERT INTO accounts (host, login, uid) VALUES ('nobody', 'alice', 2000)", []);
    let change = store.writer.begin().await.unwrap();
    assert!(change.commit(Log::default(), later).await.is_err());
    assert!(names(&store).await.is_empty());
    // Its own statement, and nobody before it.
    let mut later = kept_back("x2");
    later.add("INSERT INTO meta (name, value) VALUES ($1, '')", ["x2".into()]);
    let change = store.writer.begin().await.unwrap();
    assert!(change.commit(Log::default(), later).await.is_err());
    let (_, done) = waiting(&store.writer, "x3", true).await.unwrap();
    assert_eq!((done, names(&store).await), (Some(true), vec!["x3".to_owned()]));
}

/// Whoever asked gives up while the database is at it: nobody else of the group hears of that.
#[tokio::test]
async fn a_change_that_is_given_up_amid_its_first_text_takes_nobody_with_it() {
    const SLOW: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT MAX(i) FROM n";
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut first = store.writer.begin().await.unwrap();
    put(&mut first, "x1").await;
    let mut given_up = Vec::new();
    // Before the database has heard of it, and at some moments after.
    for (number, looks) in [0, 1, 10, 100, 1000].into_iter().enumerate() {
        let writer = store.writer.clone();
        given_up.push(tokio::spawn(async move {
            let mut change = writer.begin().await.unwrap();
            let mut later = kept_back(&format!("x2{number}"));
            later.add(SLOW, []);
            let patience = async {
                for _ in 0..looks {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                done = change.group.run(later) => drop(done.unwrap()),
                () = patience => {}
            }
        }));
        until_waiting(&store.writer, given_up.len()).await;
    }
    let last = waiting(&store.writer, "x3", true);
    until_waiting(&store.writer, 6).await;
    let fate = Arc::clone(&first.fate);
    first.commit(Log::default(), Later::default()).await.unwrap();
    for one in given_up {
        one.await.unwrap();
    }
    let (other, done) = last.await.unwrap();
    assert!(done == Some(true) && Arc::ptr_eq(&fate, &other), "one group");
    assert_eq!(names(&store).await, ["x1", "x3"]);
}
