//! Tells of what sshd asked: the agent of a certificate that opens nothing, the system's log of every one. Waits for nobody, and
//! changes no answer.
//!
//! In: account, grant, answer. Out: one frame to /run/elevate/agent.sock and one line to /dev/log (syslog(3)), where there is room for
//! them. By that line the agent knows whose certificate sshd refuses by itself. Spec: docs/wire.md "A login".

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use elevate_protocol::asked::{Asked, IDENTIFIER, Said};
use elevate_protocol::frame;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::session::{PrincipalsSays, SshDenied};
use elevate_protocol::name::Name;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, send, socket,
    sockopt::PeerCredentials,
};

/// Facility authpriv, severity info (RFC 3164 4.1.1).
const PRIORITY: u8 = 86;

/// Tells both of a question that was answered so. Whoever is not there or has no room hears nothing: the answer is the same.
pub(crate) fn answered((agent, log): (&Path, &Path), login: Name, grant: ActivationId, opens: bool) {
    let said = match opens {
        true => Said::Yes,
        false if denied(agent, login.clone(), grant).is_some() => Said::Told,
        false => Said::No,
    };
    let asked = Asked { sshd: std::os::unix::process::parent_id(), login, grant, said };
    match logged(log, &asked) {
        Some(_) | None => {}
    }
}

/// Says so once, to root and to nobody else.
fn denied(path: &Path, login: Name, grant: ActivationId) -> Option<usize> {
    let frame = frame::encode(&PrincipalsSays::SshDenied(SshDenied { login, grant })).ok()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    (peer.uid() == 0).then_some(())?;
    send(stream.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).ok()
}

fn logged(path: &Path, asked: &Asked) -> Option<usize> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    let line = format!("<{PRIORITY}>{IDENTIFIER}[{}]: {asked}", std::process::id());
    socket.send_to(line.as_bytes(), path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::person::Say;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_agent_hears_of_it_and_none_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (path, log) = (place.path().join("agent.sock"), place.path().join("log"));
        let (login, grant): (Name, _) = ("deploy".parse().unwrap(), ActivationId::from_random([1; 16]));
        assert_eq!(denied(&path, login.clone(), grant), None, "nobody there");
        let listener = UnixListener::bind(&path).unwrap();
        answered((&path, &log), login.clone(), grant, false);
        let (mut stream, _) = listener.accept().unwrap();
        let said: Say = frame::read(&mut stream).unwrap().unwrap();
        assert!(matches!(said, Say::SshDenied(found) if found == SshDenied { login: login.clone(), grant }));
        // Nobody accepts: it says so as long as there is room, and goes on when there is none.
        let begin = std::time::Instant::now();
        assert!((0..10_000).any(|_| denied(&path, login.clone(), grant).is_none()));
        assert!(begin.elapsed().as_secs() < 20);
    }

    #[test]
    fn every_answer_is_in_the_log_with_who_asked_and_a_log_that_is_full_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (path, log) = (place.path().join("agent.sock"), place.path().join("log"));
        let (login, grant): (Name, _) = ("deploy".parse().unwrap(), ActivationId::from_random([1; 16]));
        let tell = |opens| answered((&path, &log), login.clone(), grant, opens);
        tell(true);
        let reader = UnixDatagram::bind(&log).unwrap();
        let hears = || {
            let mut buffer = [0; 512];
            let length = reader.recv(&mut buffer).unwrap();
            let line = String::from_utf8(buffer.get(..length).unwrap().to_vec()).unwrap();
            let head = format!("<86>elevate-principals[{}]: ", std::process::id());
            line.strip_prefix(&head).unwrap().parse::<Asked>().unwrap()
        };
        let sshd = std::os::unix::process::parent_id();
        let asked = |said| Asked { sshd, login: login.clone(), grant, said };
        tell(true);
        assert_eq!(hears(), asked(Said::Yes));
        tell(false);
        assert_eq!(hears(), asked(Said::No), "no agent");
        let _agent = UnixListener::bind(&path).unwrap();
        tell(false);
        assert_eq!(hears(), asked(Said::Told));
        assert!((0..10_000).any(|_| logged(&log, &asked(Said::Yes)).is_none()), "nobody reads");
    }
}
