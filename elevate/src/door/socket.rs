//! Local sockets: the agent's (door 1) and the daemon's own. Who listens is asked of the kernel before a byte is sent.
//!
//! In: a path and the rule for its holder. Out: a connected stream. Spec: docs/wire.md "Transports". Threat B01.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use elevate_protocol::message::refusal::Code;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};

use super::DoorError;

/// A socket of mode -w- for group or others in a folder is replaceable by them.
const OTHERS_WRITE: u32 = 0o022;
/// How often a full queue is tried again, and how many times.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const BUSY_TRIES: u32 = 60;

/// The agent's socket: held by `holder`, which is root wherever this is not a test.
///
/// # Errors
/// [`DoorError::Peer`] when somebody else listens; nothing was sent then. [`DoorError::Socket`] when nobody does.
pub fn agent(path: &Path, holder: u32) -> Result<UnixStream, DoorError> {
    let stream = connected(path, Code::Host)?;
    prove(&stream, path, &[holder], "agent")?;
    Ok(stream)
}

/// The daemon's own socket: held by root or by the owner of its file, in a folder that nobody else writes.
///
/// # Errors
/// [`DoorError::Unsafe`] or [`DoorError::Peer`] before anything is sent, [`DoorError::Socket`] when nobody listens.
pub fn admin(path: &Path) -> Result<UnixStream, DoorError> {
    let unsafe_because = |why| DoorError::Unsafe { path: path.to_owned(), why };
    let unreachable = |source| DoorError::Socket { path: path.to_owned(), code: Code::Unreachable, source };
    let file = path.symlink_metadata().map_err(unreachable)?;
    if !file.file_type().is_socket() {
        return Err(unsafe_because("it is no socket"));
    }
    let folder = path.parent().ok_or_else(|| unsafe_because("it is in no folder"))?;
    let folder = folder.symlink_metadata().map_err(unreachable)?;
    if !folder.is_dir() || folder.mode() & OTHERS_WRITE != 0 {
        return Err(unsafe_because("others may write its folder"));
    }
    if folder.uid() != 0 && folder.uid() != file.uid() {
        return Err(unsafe_because("its folder is another account's"));
    }
    let stream = connected(path, Code::Unreachable)?;
    prove(&stream, path, &[0, file.uid()], "daemon")?;
    Ok(stream)
}

fn connected(path: &Path, code: Code) -> Result<UnixStream, DoorError> {
    let failed = |source: Errno| DoorError::Socket { path: path.to_owned(), code, source: source.into() };
    let address = UnixAddr::new(path).map_err(failed)?;
    // Not blocking: a full queue would otherwise hold the program with its signals blocked.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    let mut left = BUSY_TRIES;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => break,
            // The queue is full; there is no event to wait for on this side (unix(7), connect(2) EAGAIN).
            Err(Errno::EAGAIN) if left > 0 => {
                left = left.saturating_sub(1);
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false).map_err(|source| DoorError::System { what: "set up a socket", source })?;
    Ok(stream)
}

/// SO_PEERCRED of a connected socket is who called listen(2), as the kernel knew it then (unix(7)).
fn prove(stream: &UnixStream, path: &Path, holders: &[u32], who: &'static str) -> Result<(), DoorError> {
    let peer = getsockopt(stream, PeerCredentials)
        .map_err(|error| DoorError::System { what: "ask who listens", source: io::Error::from(error) })?;
    if holders.contains(&peer.uid()) {
        return Ok(());
    }
    Err(DoorError::Peer { path: path.to_owned(), uid: peer.uid(), who })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    fn own_uid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    /// "CLI refuses peer uid ≠ 0": here the squatter is this test and the holder should be somebody else.
    #[test]
    fn b01_a_squatter_on_the_agents_socket_hears_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let squatter = UnixListener::bind(&path).unwrap();
        let refused = agent(&path, own_uid() + 1).unwrap_err();
        assert!(matches!(&refused, DoorError::Peer { uid, .. } if *uid == own_uid()), "{refused}");
        assert_eq!(refused.code(), Code::Integrity);
        let (mut heard, _) = squatter.accept().unwrap();
        assert_eq!(heard.read(&mut [0u8; 16]).unwrap(), 0, "nothing was sent");
        assert!(agent(&path, own_uid()).is_ok());
    }

    #[test]
    fn nobody_listening_is_an_unreachable_agent() {
        let folder = tempfile::tempdir().unwrap();
        let refused = agent(&folder.path().join("agent.sock"), 0).unwrap_err();
        assert_eq!(refused.code().exit(), 9);
    }

    #[test]
    fn b01_the_daemons_socket_is_not_taken_from_a_folder_that_others_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mode = |bits| std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(bits)).unwrap();
        mode(0o777);
        assert!(matches!(admin(&path), Err(DoorError::Unsafe { why: "others may write its folder", .. })));
        mode(0o755);
        assert!(admin(&path).is_ok());
        drop(listener);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(admin(&link), Err(DoorError::Unsafe { why: "it is no socket", .. })));
        assert_eq!(admin(&folder.path().join("none")).unwrap_err().code().exit(), 8);
    }
}
