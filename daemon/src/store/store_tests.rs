use super::tx::What;
use super::*;
use elevate_audit::{Kind, Subject};
use elevate_protocol::text::UntrustedText;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

async fn store(folder: &Path) -> Store {
    Store::open(folder, Clock::manual(1_800_000_000), ClusterId::from_random([1; 16])).await.unwrap()
}

fn noted(what: &str) -> What {
    Voice::DAEMON.did(Subject::default(), Kind::Duplicate { what: UntrustedText::lossy(what) })
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing_and_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    for what in ["kept", "dropped", "kept too"] {
        let mut tx = store.write().await.unwrap();
        tx.record(noted(what)).await.unwrap();
        if what != "dropped" {
            tx.commit().await.unwrap();
        }
    }
    let events = store.read().await.unwrap().events_from(0, 10).await.unwrap();
    let seqs: Vec<u64> = events.iter().map(|one| one.event.seq).collect();
    assert_eq!(seqs, [0, 1]);
    assert_eq!(*store.head().borrow(), 2);
    assert!(!events.iter().any(|one| one.line.contains("dropped")));
}

#[tokio::test]
async fn the_database_is_durable_before_a_commit_returns() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut tx = store.write().await.unwrap();
    for (pragma, value) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
        let row = sqlx::query(pragma).fetch_one(tx.ready().await.unwrap()).await.unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), value, "{pragma}");
    }
    let row = sqlx::query("PRAGMA journal_mode").fetch_one(tx.ready().await.unwrap()).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "wal");
}

#[tokio::test]
async fn the_cluster_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path()).await;
    let cluster = first.cluster();
    first.close().await;
    let again = Store::open(folder.path(), Clock::manual(0), ClusterId::from_random([2; 16])).await.unwrap();
    assert_eq!((again.cluster(), again.epoch()), (cluster, 1));
}

#[test]
fn a_path_that_is_no_plain_address_is_refused() {
    for path in
        ["/var/lib/elevated?mode=memory/elevated.db", "relative/elevated.db", "/a b/elevated.db", "/a#b"]
    {
        assert!(matches!(address_of(Path::new(path), "rwc"), Err(StoreError::Path { .. })), "{path}");
    }
}

#[tokio::test]
async fn nobody_else_reads_the_database_whatever_its_mode_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("elevated.db"), "").unwrap();
    std::fs::set_permissions(folder.path().join("elevated.db"), Permissions::from_mode(0o644)).unwrap();
    let store = store(folder.path()).await;
    let mut tx = store.write().await.unwrap();
    tx.record(noted("so that there is a -wal")).await.unwrap();
    tx.commit().await.unwrap();
    for name in ["elevated.db", "elevated.db-wal", "elevated.db-shm", "elevated.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_database_that_is_a_symlink_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, folder.path().join("elevated.db")).unwrap();
    let opened =
        Store::open(folder.path(), Clock::manual(1_800_000_000), ClusterId::from_random([1; 16])).await;
    assert!(matches!(opened, Err(StoreError::Open { .. })));
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn history_is_not_read_to_find_what_lives() {
    use super::activations::{BY_ID, DUE, LIVE_AT, LIVE_IN, LIVE_OF, LIVE_ON, NEXT_DUE, OPEN_OF};
    use super::{ends, standing::STANDING_OF};
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    for (query, index) in [
        (LIVE_OF, "activations_live_of_person"),
        (STANDING_OF, "activations_live_of_person"),
        (STANDING_OF, "locks_in_force"),
        (DUE, "activations_live"),
        (LIVE_ON, "activations_live_of_person"),
        (LIVE_IN, "activations_live"),
        (LIVE_AT, "activations_live"),
        (OPEN_OF, "activations_live_of_person"),
        (NEXT_DUE, "activations_live"),
        (NEXT_DUE, "locks_in_force"),
        (BY_ID, "locks_in_force"),
        (NEXT_DUE, "changes_waiting"),
        (NEXT_DUE, "ends_awaited"),
        (ends::DUE, "ends_awaited"),
    ] {
        let mut tx = store.read().await.unwrap();
        let explained: &'static str = format!("EXPLAIN QUERY PLAN {query}").leak();
        let rows = sqlx::query(explained).fetch_all(tx.ready().await.unwrap()).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get::<String, _>(row, "detail")).collect();
        assert!(
            plan.iter().any(|step| step.contains(&format!(" INDEX {index} "))
                || step.ends_with(&format!("INDEX {index}"))),
            "{plan:?}"
        );
        // What is found in everybody's is few, and sorted afterwards.
        let sorted = [LIVE_IN, LIVE_AT].contains(&query);
        assert!(sorted || !plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
    }
}

#[tokio::test]
async fn what_is_kept_back_is_done_before_whatever_is_asked_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut tx = store.write().await.unwrap();
    // More than are kept back at a time, each with values of its own.
    for number in 0..20 {
        let name = format!("x{number:02}");
        let values = [name.into(), number.to_string().into()];
        tx.later("INSERT INTO meta (name, value) VALUES ($1, $2)", values).await.unwrap();
    }
    let query = "SELECT name, value FROM meta WHERE name LIKE 'x%' ORDER BY name";
    let rows = sqlx::query(query).fetch_all(tx.ready().await.unwrap()).await.unwrap();
    assert_eq!(rows.len(), 20);
    for (number, row) in rows.iter().enumerate() {
        let (name, value): (String, String) = (sqlx::Row::get(row, 0), sqlx::Row::get(row, 1));
        assert_eq!((name, value), (format!("x{number:02}"), number.to_string()));
    }
    // Nothing stays of what was kept back in a transaction that is dropped.
    tx.later("INSERT INTO meta (name, value) VALUES ('y', '')", []).await.unwrap();
    drop(tx);
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.meta_or("y", "fresh").await.unwrap(), "fresh");
    assert_eq!(tx.meta_or("x00", "fresh").await.unwrap(), "fresh");
}

/// A look sees one moment, is over when it is dropped, and gives its connection to the next one.
#[tokio::test]
async fn who_looks_sees_one_moment_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let set = async |value: &str| {
        let mut tx = store.write().await.unwrap();
        tx.set_meta("x", value).await.unwrap();
        tx.commit().await.unwrap();
    };
    set("1").await;
    let (mut moment, mut glance) = (store.read().await.unwrap(), store.glance().await.unwrap());
    assert_eq!(moment.meta("x").await.unwrap().as_deref(), Some("1"));
    set("2").await;
    assert_eq!(moment.meta("x").await.unwrap().as_deref(), Some("1"));
    assert_eq!(glance.meta("x").await.unwrap().as_deref(), Some("2"));
    drop((moment, glance));
    // More often than there are connections: each is there again, and none sees what the look before it saw.
    for round in 3..20 {
        set(&round.to_string()).await;
        for mut look in [store.read().await.unwrap(), store.glance().await.unwrap()] {
            assert_eq!(look.meta("x").await.unwrap(), Some(round.to_string()));
        }
    }
    // Also one that was given up in the middle.
    for _ in 0..20 {
        let mut look = store.read().await.unwrap();
        tokio::select! {
            biased;
            found = look.meta("x") => drop(found),
            () = std::future::ready(()) => {}
        }
    }
    set("20").await;
    assert_eq!(store.read().await.unwrap().meta("x").await.unwrap().as_deref(), Some("20"));
    let mut last = store.read().await.unwrap();
    assert_eq!(last.meta("x").await.unwrap().as_deref(), Some("20"));
    let closing = store.close();
    tokio::pin!(closing);
    tokio::select! {
        biased;
        () = &mut closing => panic!("somebody looks still"),
        () = std::future::ready(()) => {}
    }
    assert!(store.is_closed() && store.glance().await.is_err());
    drop(last);
    closing.await;
}
