//! What must hold after every run, whatever struck in it.
//!
//! In: a [`Way`] that was walked to its end. Out: a failed assertion that names the strike.

use std::collections::BTreeSet;
use std::process::Command;

use elevate_protocol::document::Act;
use serde_json::Value;

use super::syslog::Heard;
use super::way::Way;
use crate::strace::{self, Plan};

/// Everything at once.
pub(crate) fn judge(way: &mut Way) {
    // Before the log is read for the last time: what is heard later may be of later events.
    let heard = way.syslog.heard();
    // What was going on when the daemon was stopped is settled by a last start, like after any fault.
    loop {
        match way.look() {
            Ok(()) => break,
            Err(_) => way.recover(),
        }
    }
    way.met = strace::struck(&way.vault.trace());
    let log: Vec<Value> = way.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    dense(&log);
    if way.laid_back {
        each_word_counts_once(&log);
    }
    acknowledged_is_there(way, &log);
    effects_have_events(way, &heard, &log);
    stop_and_look_at_the_disk(way);
}

fn dense(log: &[Value]) {
    for (place, event) in log.iter().enumerate() {
        assert_eq!(event["seq"].as_u64(), u64::try_from(place).ok(), "a gap or a double in the log: {event}");
    }
}

/// Root is asked again only when the daemon was killed before its witness was written anew.
fn each_word_counts_once(log: &[Value]) {
    let times = |code: &str| log.iter().filter(|event| event["code"] == code).count();
    assert!(
        times("restore.found") == times("restore.accepted") && times("restore.found") <= 2,
        "root's word"
    );
    assert_eq!((times("host.epoch"), times("host.epoch-confirmed")), (1, 1), "the host's word");
    // Nothing begins before the first, and nothing for the host before the second.
    let place = |code: &str| log.iter().rposition(|event| event["code"] == code);
    assert!(place("grant.issued") > place("host.epoch"));
    let accepted = log.iter().position(|event| event["code"] == "restore.accepted");
    let found = log.iter().position(|event| event["code"] == "restore.found");
    let between = &log[found.unwrap()..accepted.unwrap()];
    assert!(!has(between, "request.created", None) && !has(between, "grant.issued", None), "{between:?}");
}

fn has(log: &[Value], code: &str, about: Option<&str>) -> bool {
    log.iter()
        .any(|event| event["code"] == code && about.is_none_or(|id| event["activation"].as_str() == Some(id)))
}

fn acknowledged_is_there(way: &Way, log: &[Value]) {
    for (code, about) in &way.acknowledged {
        let id = about.map(|id| id.to_string());
        assert!(has(log, code, id.as_deref()), "acknowledged and lost: {code} {id:?}");
    }
    // A request that was acknowledged is there once: none was made twice by a fault between.
    let ids: BTreeSet<_> = way.acknowledged.iter().filter_map(|(_, about)| *about).collect();
    for id in ids {
        let id = id.to_string();
        for code in ["request.created", "grant.issued", "grant.ended"] {
            let times = log
                .iter()
                .filter(|event| event["code"] == code && event["activation"].as_str() == Some(&id))
                .count();
            assert!(times <= 1, "{code} of {id} happened {times} times");
        }
    }
}

/// No document on a host and no line in syslog without its event; the host was told nothing that no daemon may say.
fn effects_have_events(way: &Way, heard: &[Heard], log: &[Value]) {
    let seen = way.peer.seen();
    assert!(seen.trouble.is_empty(), "{:?}", seen.trouble);
    for (document, _) in seen.log.documents.values() {
        // No key is replaced here: a log that begins anew begins with those that count.
        let Some(id) = document.activation().map(|id| id.to_string()) else {
            assert!(document.seq == 1 && has(log, "host.epoch", None), "{document:?}");
            continue;
        };
        let code = match &document.act {
            Act::Grant(_) => "grant.issued",
            Act::Extend(_) => "grant.extended",
            Act::End(_) => "grant.ended",
            Act::Keys(_) => "key.rotated",
        };
        assert!(has(log, code, Some(&id)), "a host has {code} of {id}, and the log has not");
        // No right beyond its end: everything that began on the way is over at the end of it.
        let ended = has(log, "grant.ended", Some(&id));
        assert!(ended, "{id} never ended");
    }
    for Heard { seq, code } in heard {
        let place = usize::try_from(*seq).unwrap();
        assert_eq!(log[place]["code"], code.as_str(), "syslog heard another event {seq}");
    }
}

/// What may be there: `-wal` and `-shm` are the database too. Nothing else is left behind, no draft and no journal.
const FILES: [&str; 7] =
    ["elevated.db", "elevated.db-shm", "elevated.db-wal", "elevated.lock", "keys", "reserve", "witness"];

fn files(way: &Way) -> Vec<String> {
    let folder = std::fs::read_dir(way.vault.path("lib")).unwrap();
    let mut names: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn stop_and_look_at_the_disk(way: &mut Way) {
    let mut code = way.vault.stop();
    if code != Some(0) {
        // The fault struck at the stop itself: the next start puts it right.
        way.deaths.push((code, way.vault.said()));
        assert!(way.vault.start(&Plan::Leave), "no start after a fault at the stop: {}", way.vault.said());
        code = way.vault.stop();
    }
    assert_eq!(code, Some(0), "{}", way.vault.said());
    let left: Vec<String> = files(way).into_iter().filter(|name| !FILES.contains(&name.as_str())).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let checked = Command::new("/usr/bin/sqlite3")
        .arg(way.vault.path("lib/elevated.db"))
        .arg("PRAGMA integrity_check; PRAGMA foreign_key_check;")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "ok\n", "{checked:?}");
}
