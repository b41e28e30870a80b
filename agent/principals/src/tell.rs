//! Tells the agent of a certificate that opens nothing. Waits for nobody, and changes no answer.
//!
//! In: account and grant. Out: one frame to /run/elevate/agent.sock, where there is room for it. Spec: docs/wire.md "A login".

use std::os::fd::AsRawFd;
use std::path::Path;

use elevate_protocol::frame;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::session::{PrincipalsSays, SshDenied};
use elevate_protocol::name::Name;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, send, socket,
    sockopt::PeerCredentials,
};

/// Says so once, to root and to nobody else.
pub(crate) fn denied(path: &Path, login: Name, grant: ActivationId) {
    match told(path, login, grant) {
        // Whoever is not there or has no room hears nothing: the login is refused either way.
        Some(_) | None => {}
    }
}

fn told(path: &Path, login: Name, grant: ActivationId) -> Option<usize> {
    let frame = frame::encode(&PrincipalsSays::SshDenied(SshDenied { login, grant })).ok()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    (peer.uid() == 0).then_some(())?;
    send(stream.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::person::Say;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_agent_hears_of_it_and_none_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        let (login, grant): (Name, _) = ("deploy".parse().unwrap(), ActivationId::from_random([1; 16]));
        assert_eq!(told(&path, login.clone(), grant), None, "nobody there");
        let listener = UnixListener::bind(&path).unwrap();
        denied(&path, login.clone(), grant);
        let (mut stream, _) = listener.accept().unwrap();
        let said: Say = frame::read(&mut stream).unwrap().unwrap();
        assert!(matches!(said, Say::SshDenied(found) if found == SshDenied { login: login.clone(), grant }));
        // Nobody accepts: it says so as long as there is room, and goes on when there is none.
        let begin = std::time::Instant::now();
        assert!((0..10_000).any(|_| told(&path, login.clone(), grant).is_none()));
        assert!(begin.elapsed().as_secs() < 20);
    }
}
