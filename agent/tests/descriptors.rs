//! A real agent that has no descriptor left: it does not turn in circles, and goes on when there is one. Needs root.
//!
//! In: prlimit(1). Out: processor time, an answer at the door, rules. Threat R07.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends with the first thing that is not as it should be"
)]

mod rig;

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Applied, Report};
use elevate_protocol::message::person::{Reply, Say};
use rig::{Daemon, Rig, act, grant, until};

/// Not a test of its own: what the other tests run as alice.
#[test]
fn a_person() {
    rig::person::play_person();
}

fn limit(pid: u32, descriptors: u32) {
    let text = format!("--nofile={descriptors}:1024");
    assert!(
        Command::new("/usr/bin/prlimit").args(["--pid", &pid.to_string(), &text]).status().unwrap().success()
    );
}

/// Processor time in ticks of 10 ms: proc(5), fields 14 and 15.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(") ").unwrap();
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn r07_without_descriptors_the_agent_waits_and_lets_people_in_when_there_are_some() {
    let rig = Rig::new();
    let pid = rig.pid();
    // What is open stays so; nothing more can be opened: 0, 1 and 2 are.
    limit(pid, 3);
    // accept(2) may have taken a descriptor before it waited: that is for whoever comes first, who is sent away.
    let others = [(); 2].map(|()| UnixStream::connect(rig.path("run/elevate/agent.sock")).unwrap());
    let mut alice = rig.person(2000, "talk");
    alice.say(&Say::Hello { versions: Versions::OURS });
    // She is in the queue of the door: accept(2) fails for her, again and again.
    let (begin, before) = (Instant::now(), ticks(pid));
    until("two seconds", || begin.elapsed() > Duration::from_secs(2));
    let used = ticks(pid) - before;
    assert!(used < 20, "{used} of 200 ticks: it turns in circles");
    limit(pid, 1024);
    let begin = Instant::now();
    drop(others);
    assert!(matches!(alice.hears(), Reply::Hello { version: 1 }));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// Without a descriptor nothing can be looked at, so nothing is in force; but nothing of that is for good.
#[test]
fn r07_rules_go_without_descriptors_and_come_back_when_there_are_some() {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    let rule = rig.path("run/elevate/sudoers.d/u2000");
    let before = std::fs::read_to_string(&rule).unwrap();
    limit(rig.pid(), 3);
    // A change at which it looks, before its next round.
    rig.gates();
    until("the rule to go", || !rule.exists());
    limit(rig.pid(), 1024);
    rig.gates();
    until("the rule to come back", || rule.exists());
    assert_eq!(std::fs::read_to_string(&rule).unwrap(), before);
    assert_eq!(daemon.apply(2, act(grant(6, 3600))), Applied::Enforced);
    let ended = |report: &Report| matches!(report, Report::Ended { .. });
    assert!(!daemon.reports.iter().any(ended), "{:?}", daemon.reports);
}
