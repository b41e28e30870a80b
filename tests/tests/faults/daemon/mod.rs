//! The daemon, struck at every change it makes to its disk (R01, R04).
//!
//! In: strikes. Out: every oracle holds after each of them.

mod disk;
mod oracle;
mod peer;
mod syslog;
mod talk;
mod template;
pub(crate) mod vault;
mod way;

use elevate_protocol::message::refusal::Code;
use talk::Lost;
use template::Template;
use way::Way;

use crate::campaign;
use crate::point::{Mode, Point, Strike, points, power_cuts, strikes};
use crate::strace::{self, Plan};

/// The points of a clean run.
fn record(template: &Template) -> Vec<Point> {
    let mut way = Way::begin(template, &Plan::Record);
    way.walk();
    oracle::judge(&mut way);
    let trace = std::fs::read_to_string(way.vault.trace()).unwrap();
    let mut found = points(&trace, way.vault.base());
    found.retain(|point| point.path.starts_with("lib") || point.path.starts_with("run"));
    found
}

/// One run with one fault; whether the fault was met.
fn struck(template: &Template, strike: &Strike) -> bool {
    let mut way = Way::begin(template, &Plan::Strike(strike.clone()));
    way.walk();
    oracle::judge(&mut way);
    let met = strace::struck(&way.vault.trace());
    match strike.mode {
        Mode::Before | Mode::After | Mode::Power if way.met => {
            // Without power another thread of it may have seen a write fail, and ended it before it was killed.
            let ended = |code: Option<i32>| code.is_none() || (strike.mode == Mode::Power && code == Some(1));
            assert!(way.deaths.iter().any(|(code, _)| ended(*code)), "nobody was killed");
        }
        // R04: a failed sync of the database is the end of this process, and it says so.
        Mode::Eio | Mode::Enospc if way.met && is_sync_of_the_database(&strike.point) => {
            let told = |said: &str| said.contains("the store failed") || said.contains("cannot start");
            let ended = way.deaths.iter().any(|(code, said)| *code == Some(1) && told(said));
            assert!(ended, "the daemon went on after a failed sync: {:?}", way.deaths);
        }
        _ => {}
    }
    met
}

/// Of its own files: the folder's sync matters when the database is made and SQLite does not look at it later; reserve and witness
/// beside it hold nothing that was acknowledged.
fn is_sync_of_the_database(point: &Point) -> bool {
    point.call.ends_with("sync")
        && point.path.to_str().is_some_and(|path| path.starts_with("lib/elevated.db"))
}

#[test]
fn r01_the_daemon_struck_at_every_change_loses_nothing_that_it_acknowledged() {
    let template = Template::new();
    let found = record(&template);
    // Fewer than these would mean that something is no longer traced.
    assert!(found.len() > 300, "{} points", found.len());
    let report = campaign::run(&strikes(&found, 170), |strike| struck(&template, strike));
    eprintln!("daemon: {} points, {report}", found.len());
    report.check();
}

#[test]
fn r03_a_power_cut_at_any_change_loses_nothing_that_was_acknowledged() {
    disk::own_mounts();
    let template = Template::new();
    let mut found = record(&template);
    // What lies elsewhere outlives this power cut.
    found.retain(|point| point.path.starts_with("lib"));
    let report = campaign::run(&power_cuts(&found, 32), |strike| struck(&template, strike));
    eprintln!("power: {} points, {report}", found.len());
    report.check();
}

/// From a folder that was laid back to the first right of a new epoch, with power cuts among the faults.
#[test]
fn r25_the_daemon_struck_at_a_new_epoch_begins_nothing_too_early_and_forgets_no_word() {
    disk::own_mounts();
    let template = Template::laid_back();
    let found = record(&template);
    assert!(found.len() > 200, "{} points", found.len());
    let mut all = strikes(&found, 28);
    let of_its_disk: Vec<Point> =
        found.iter().filter(|point| point.path.starts_with("lib")).cloned().collect();
    all.extend(power_cuts(&of_its_disk, 7));
    let report = campaign::run(&all, |strike| struck(&template, strike));
    eprintln!("daemon, a new epoch: {} points, {report}", found.len());
    report.check();
}

#[test]
fn r06_a_disk_that_turns_read_only_is_the_end_of_the_daemon_and_loses_nothing() {
    disk::own_mounts();
    let template = Template::new();
    let mut way = Way::begin_on(&template, &Plan::Leave, true);
    way.begin_right();
    disk::damage(&way.vault.path("lib"));
    // Nothing is acknowledged, and it says why it ends.
    assert!(way.revoke().is_err(), "there was nowhere to write it");
    assert!(vault::comes(|| way.vault.has_ended()), "it goes on:\n{}", way.vault.said());
    assert!(way.vault.said().contains("the store failed"), "{}", way.vault.said());
    assert_eq!(way.vault.wait(), Some(1));
    // As long as the disk is so: at once, and with the reason.
    for _ in 0..3 {
        assert!(!way.vault.launch(&Plan::Leave), "it runs:\n{}", way.vault.said());
        assert!(way.vault.said().contains("cannot start"), "{}", way.vault.said());
        assert_eq!(way.vault.wait(), Some(1));
    }
    assert!(
        way.vault.start(&Plan::Leave),
        "and with a disk that is whole it does not:\n{}",
        way.vault.said()
    );
    way.walk_on();
    oracle::judge(&mut way);
}

/// A journalling file system has the room of what was given up when it has written that it is free, and not before.
#[test]
fn r05_on_a_full_ext4_the_reserve_makes_room_for_a_revocation() {
    disk::own_mounts();
    let template = Template::new();
    let mut way = Way::begin_on(&template, &Plan::Leave, true);
    way.begin_right();
    disk::fill(&way.vault.path("lib/ballast"));
    match way.quick() {
        Err(Lost::Refused(refusal)) => assert_eq!(refusal.code, Code::Full, "{refusal:?}"),
        other => panic!("{other:?}"),
    }
    way.revoke().expect("what takes away is done");
    std::fs::remove_file(way.vault.path("lib/ballast")).unwrap();
    assert!(vault::comes(|| way.quick().is_ok()), "nothing begins:\n{}", way.vault.said());
    way.give_back().unwrap();
    oracle::judge(&mut way);
}
