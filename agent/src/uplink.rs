//! link.sock: where `elevate-link` connects, which carries bytes between this agent and the daemon.
//!
//! In: frames of [`ToAgent`]. Out: frames of signed vouches. Only the uid of `elevate-link` is let in; what it carries is
//! verified by the one thread. Spec: docs/wire.md "The link".

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use elevate_protocol::message::agent::ToAgent;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::app::message::Message;
use crate::journal::{self, Level};
use crate::peer::{Frames, STACK};

/// The peer's uid at the time it connected (unix(7) SO_PEERCRED; THREATS X-p).
///
/// # Errors
/// What getsockopt(2) says; the connection is to be closed then.
pub(crate) fn peer_uid(stream: &UnixStream) -> nix::Result<u32> {
    getsockopt(stream, PeerCredentials).map(|credentials| credentials.uid())
}

/// Listens at `path`, whatever stood there before.
///
/// # Errors
/// What bind(2) or chmod(2) say.
pub(crate) fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    crate::safe::remove(path).map_err(io::Error::other)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// After an accept(2) that failed: whoever waits at the door still does, so the next one would fail at once too (THREATS R07).
const PAUSE: Duration = Duration::from_millis(200);

/// Everybody who connects, one after the other, for ever. Without descriptors it waits until others have ended.
pub(crate) fn visitors(listener: UnixListener, door: &'static str) -> impl Iterator<Item = UnixStream> {
    let mut failed = false;
    std::iter::from_fn(move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    failed = false;
                    return Some(stream);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        journal::log(Level::Error, &format!("nobody can be let in at {door}: {error}"));
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    })
}

/// Accepts links for as long as the agent lives.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn serve(listener: UnixListener, link_uid: u32, sender: SyncSender<Message>) -> io::Result<()> {
    thread::Builder::new().name("link-door".into()).stack_size(STACK).spawn(move || {
        for stream in visitors(listener, "link.sock") {
            match peer_uid(&stream) {
                Ok(uid) if uid == link_uid => {
                    if sender.send(Message::LinkUp(stream)).is_err() {
                        return;
                    }
                }
                Ok(uid) => journal::log(Level::Warning, &format!("refused uid {uid} at link.sock")),
                Err(_) => {}
            }
        }
    })?;
    Ok(())
}

/// Reads what the daemon says until the connection ends.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn read(stream: UnixStream, serial: u64, sender: SyncSender<Message>) -> io::Result<()> {
    thread::Builder::new().name("link".into()).spawn(move || {
        let mut frames = Frames::new(stream);
        loop {
            match frames.next::<ToAgent>(None) {
                Ok(Some(said)) => {
                    if sender.send(Message::LinkSays { serial, said: Box::new(said) }).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    journal::log(Level::Warning, &format!("the link: {}", journal::chain(&error)));
                    break;
                }
            }
        }
        drop(sender.send(Message::LinkDown { serial }));
    })?;
    Ok(())
}
