//! Tells the agent what was seen, where there is an agent. Never changes a verdict, never takes longer than a second.
//!
//! In: a [`UseReport`]. Out: one frame to /run/elevate/agent.sock and one back. Spec: docs/wire.md "Transports".

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::message::agent::UseReport;
use elevate_protocol::message::sudo_side::{SudoHears, SudoSays};
pub(crate) use elevate_protocol::text::chain;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::clock;
use crate::wire::Timed;

/// Longest wait for the agent, all together.
const WAIT: Duration = Duration::from_secs(1);

/// Whether the agent took the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It answered.
    Taken,
    /// It is not there, does not answer, or is not the agent.
    NotTaken,
}

/// Sends one report.
pub(crate) fn tell(path: &Path, report: UseReport) -> Told {
    if exchange(path, &SudoSays::Use(report)).is_some() { Told::Taken } else { Told::NotTaken }
}

/// A connection to the agent's socket; who is there is asked by [`Timed::with_root`].
pub(crate) fn connected(path: &Path) -> Option<OwnedFd> {
    // Not blocking, so that a full backlog is an answer too.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
    Some(stream)
}

/// Says one thing and hears one answer, within a second altogether; none where that does not come about.
pub(crate) fn exchange(path: &Path, says: &SudoSays) -> Option<SudoHears> {
    let deadline = clock::deadline(WAIT);
    let stream = connected(path)?;
    let mut timed = Timed::with_root(stream.as_fd(), deadline)?;
    frame::write(&mut timed, says).ok()?;
    frame::read(&mut timed).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::agent::UseKind;
    use elevate_protocol::message::person::{Outcome, Reply, Say};
    use elevate_protocol::text::UntrustedText;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    fn report() -> UseReport {
        UseReport {
            uid: 2000,
            kind: UseKind::Start,
            service: UntrustedText::lossy("sudo"),
            run_as: None,
            argv: vec![UntrustedText::lossy("sudo")],
            directory: None,
            terminal: None,
            pid: 1,
        }
    }

    #[test]
    fn a_report_is_taken_by_an_agent_that_answers() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let said: Say = frame::read(&mut stream).unwrap().unwrap();
            frame::write(&mut stream, &Reply::Done(Outcome::Ok)).unwrap();
            matches!(said, Say::Use(found) if found == report())
        });
        assert_eq!(tell(&path, report()), Told::Taken);
        assert!(agent.join().unwrap());
    }

    #[test]
    fn b08_an_agent_that_is_dead_hangs_or_talks_nonsense_costs_a_second_at_most() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        assert_eq!(tell(&path, report()), Told::NotTaken);
        let listener = UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        assert_eq!(tell(&path, report()), Told::NotTaken, "accepts nothing");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
        drop(listener.accept().unwrap());
        let nonsense = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"\0\0\0\x02{]").unwrap();
        });
        assert_eq!(tell(&path, report()), Told::NotTaken, "nonsense");
        nonsense.join().unwrap();
    }
}
