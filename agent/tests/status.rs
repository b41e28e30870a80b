//! `elevate-agent status` beside an agent that is dead or stopped: it ends in time and claims no more than it can know. Needs root.
//!
//! In: the built agent. Out: pass or fail. The socket of a stopped process stays, and so does its queue: unix(7), listen(2).

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

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use elevate_protocol::message::agent::Applied;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use rig::{Daemon, Rig, act, grant, until};

/// status waits 2 s for the agent and asks sudo its version; the rest is for a machine under load.
const IN_TIME: Duration = Duration::from_secs(12);

/// A host with a grant of alice's in force, which status tells of.
fn with_grant() -> (Rig, Daemon) {
    let rig = Rig::new();
    let mut daemon = Daemon::connect(&rig);
    assert_eq!(daemon.apply(1, act(grant(5, 3600))), Applied::Enforced);
    until("status to tell of the grant", || {
        let (code, text) = rig.status(&[]);
        code == Some(0)
            && text.contains("alice (uid 2000)  web-ops")
            && text.contains("rules      enforced\n")
    });
    (rig, daemon)
}

/// Fills the queue of the agent's socket until a caller would have to wait.
fn full_queue(rig: &Rig) -> Vec<OwnedFd> {
    let address = UnixAddr::new(&rig.path("run/elevate/agent.sock")).unwrap();
    let mut held = vec![];
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let one = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        match connect(one.as_raw_fd(), &address) {
            Ok(()) => held.push(one),
            Err(Errno::EAGAIN) => return held,
            Err(error) => panic!("{error} after {}", held.len()),
        }
    }
}

#[test]
fn beside_a_dead_agent_status_says_what_the_files_say_and_not_that_rules_are_enforced() {
    let (mut rig, _daemon) = with_grant();
    rig.kill();
    let (code, text) = rig.status(&[]);
    assert_eq!(code, Some(9), "{text}");
    for expected in
        ["NOT RUNNING", "127.0.0.1:7022 NOT CONNECTED", "rules      NOT WATCHED", "alice (uid 2000)"]
    {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(!text.contains("rules      enforced"), "{text}");
    let (code, json) = rig.status(&["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, Some(9));
    assert_eq!(
        (&json["running"], &json["answers"], &json["connected"], &json["hindrance"]),
        (&false.into(), &"no".into(), &false.into(), &serde_json::Value::Null)
    );
    // What became of PAM's files after its death is seen, though it was not there to write it down.
    rig.write("etc/pam.d/sudo", "#%PAM-1.0\n@include common-account\n", 0o644);
    let (code, text) = rig.status(&[]);
    assert_eq!(code, Some(9), "{text}");
    assert!(text.contains("rules      NOT ENFORCED: /etc/pam.d/sudo"), "{text}");
}

#[test]
fn beside_a_stopped_agent_with_a_full_queue_status_ends_in_time_and_says_what_it_does_not_know() {
    let (rig, _daemon) = with_grant();
    rig.stop();
    for held in [vec![], full_queue(&rig)] {
        let begin = Instant::now();
        let (code, text) = rig.status(&[]);
        assert!(begin.elapsed() < IN_TIME, "{:?} with {} callers", begin.elapsed(), held.len());
        assert_eq!(code, Some(9), "{text}");
        for expected in
            ["DOES NOT ANSWER within 2s", "127.0.0.1:7022 NOT KNOWN", "rules      NOT WATCHED", "left"]
        {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
        let (_, json) = rig.status(&["--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["running"], &json["answers"]), (&false.into(), &"late".into()));
    }
    rig.go_on();
    until("status to be content again", || rig.status(&[]).0 == Some(0));
}
