//! The local socket: root on this machine, or the daemon's own account, known by SO_PEERCRED and nothing else.
//!
//! In: connections. Out: conversations of [`Speaker::Root`]; everybody else is told why not. Threat X-q in THREATS §0.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use elevate_protocol::message::refusal::{Code, Refusal};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::net::{UnixListener, UnixStream};

use super::counter::Counter;
use super::frames::PumpError;
use super::{Patience, person};
use crate::core::{Core, Speaker};
use crate::log;

/// Connections at once, for each uid and in all.
const EACH: u32 = 32;
const ALL: u32 = 64;
/// The same for those who may not speak here.
const EACH_OTHER: u32 = 4;
const ALL_OTHERS: u32 = 16;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Something else is at its path.
    #[error("{path} is there and is no socket")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Cannot be made.
    #[error("cannot listen on {path}; its folder must be writable for this user")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Makes the socket. A socket of an earlier daemon is replaced: the store's lock says that there is no other now.
///
/// # Errors
/// An [`AdminError`].
pub(crate) fn bind(path: &Path) -> Result<UnixListener, AdminError> {
    let failed = |source| AdminError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(AdminError::Occupied { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Everybody may connect, so that whoever may not speak is told so; the kernel says who it is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

/// Accepts until the listener fails for good.
pub(crate) async fn serve(listener: UnixListener, core: Core, patience: Patience) {
    let allowed = Counter::new(EACH, ALL);
    // Counted apart: whoever is only told why not takes no seat of root's.
    let others = Counter::new(EACH_OTHER, ALL_OTHERS);
    let own = nix::unistd::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::error(&format!("the local socket: {error}"));
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        let uid = match getsockopt(&stream, PeerCredentials) {
            Ok(peer) => peer.uid(),
            Err(errno) => {
                log::error(&format!("the local socket does not say who is there: {errno}"));
                continue;
            }
        };
        let counter = if may_speak(uid, own) { &allowed } else { &others };
        let Some(seat) = counter.take(uid) else {
            log::debug(&format!("too many connections of uid {uid} to the local socket"));
            continue;
        };
        let core = core.clone();
        tokio::spawn(async move {
            let ended = one(core, stream, (uid, own), patience).await;
            if let Err(error) = ended {
                log::debug(&format!("local conversation of uid {uid}: {}", log::chain(&error)));
            }
            drop(seat);
        });
    }
}

/// Root, or the daemon's own account.
fn may_speak(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

pub(super) async fn one(
    core: Core,
    stream: UnixStream,
    (uid, own): (u32, u32),
    patience: Patience,
) -> Result<(), PumpError> {
    if may_speak(uid, own) {
        return person::serve(core, Speaker::Root { uid }, stream, patience).await;
    }
    log::warning(&format!("uid {uid} was refused at the local socket"));
    let message = format!("this socket is for root on the daemon's machine, not for uid {uid}");
    let refusal = Refusal::new(Code::WrongDoor, message).hint("sudo elevatectl …");
    let (_reader, mut writer) = tokio::io::split(stream);
    person::refuse(&mut writer, refusal, patience).await
}
