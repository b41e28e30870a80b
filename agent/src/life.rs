//! Whether the agent of this host is there: a hello at its socket, within a deadline whatever it does.
//!
//! In: agent.sock. Out: [`Life`]. A stopped agent still has its socket, and with enough callers before us not even connect(2) comes
//! back (unix(7)): so another thread asks, and this one waits no longer than it said. Runs as: root, by hand.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Reply, Say};

/// How long the agent may take for its hello, the connection included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What came of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It answered.
    Answers,
    /// Its socket is there and nothing came in time: stopped, or buried under callers.
    Silent,
    /// Nobody holds its socket, or who holds it does not speak as an agent.
    Absent,
}

/// Says hello. Blocks for [`PATIENCE`] at most.
#[must_use]
pub(crate) fn of_agent(socket: &Path) -> Life {
    let (sender, receiver) = mpsc::channel();
    let socket: PathBuf = socket.to_owned();
    let asking = thread::Builder::new().name("hello".into()).spawn(move || {
        // Nobody listens any more after the deadline, and the process ends soon.
        sender.send(hello(&socket)).unwrap_or(());
    });
    match asking {
        Ok(_) => receiver.recv_timeout(PATIENCE).unwrap_or(Life::Silent),
        Err(_) => Life::Silent,
    }
}

fn hello(socket: &Path) -> Life {
    let Ok(mut stream) = UnixStream::connect(socket) else { return Life::Absent };
    let hello = Say::Hello { versions: Versions::OURS };
    if frame::write(&mut stream, &hello).is_err() {
        return Life::Absent;
    }
    match frame::read::<Reply>(&mut stream) {
        Ok(Some(Reply::Hello { .. })) => Life::Answers,
        Ok(_) | Err(_) => Life::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    #[test]
    fn nobody_at_the_socket_is_absent_and_a_socket_that_nobody_serves_is_silent() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent.sock");
        assert_eq!(of_agent(&socket), Life::Absent);
        let listener = UnixListener::bind(&socket).unwrap();
        let begin = Instant::now();
        assert_eq!(of_agent(&socket), Life::Silent);
        assert!(begin.elapsed() < PATIENCE.saturating_mul(2), "{:?}", begin.elapsed());
        drop(listener);
        assert_eq!(of_agent(&socket), Life::Absent);
    }
}
