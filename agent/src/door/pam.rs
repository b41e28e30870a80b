//! The child that runs the PAM stack of an activation, seen from the agent: started, listened to, killed in time.
//!
//! In: a login. Out: [`FromChild`] messages to the one thread, then `Gone`. A crashing or hanging stack kills nothing here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use elevate_protocol::message::pam::{FromChild, ToChild};
use elevate_protocol::name::Login;

use crate::app::message::{Message, PamEvent};
use crate::child;
use crate::clock;
use crate::peer::{Frames, Peer, STACK};

/// How long a person may take for the whole stack.
const DEADLINE: Duration = Duration::from_secs(120);
/// This very program, also while a package puts a new one in its place.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts the stack for `login`. What the child says arrives as messages that name `serial` and `number`.
///
/// # Errors
/// When the child or its thread cannot be started.
pub(crate) fn start(
    login: &Login,
    serial: u64,
    number: u64,
    sender: SyncSender<Message>,
) -> io::Result<Peer> {
    let (ours, theirs) = UnixStream::pair()?;
    let peer = Peer::start(&ours, 16)?;
    let mut program = Command::new(OWN_PROGRAM)
        .arg("pam-run")
        .env_clear()
        .current_dir("/")
        // PAM_FD: the child's standard input.
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let begin = ToChild::Begin { login: login.clone() };
    let reader = thread::Builder::new().name("pam".into()).stack_size(STACK).spawn(move || {
        let post = |event| drop(sender.send(Message::Pam { serial, child: number, event }));
        let end = clock::read().boot.after_millis(DEADLINE);
        let mut frames = Frames::new(ours);
        loop {
            let left = clock::read().boot.until(end);
            match frames.next::<FromChild>(Some(left)) {
                Ok(Some(said)) if !left.is_zero() => post(PamEvent::Says(said)),
                Ok(_) | Err(_) => break,
            }
        }
        child::kill(&mut program);
        post(PamEvent::Gone);
    });
    reader?;
    peer.send(&begin).map_err(io::Error::other)?;
    Ok(peer)
}
