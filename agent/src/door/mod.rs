//! Door 1: people and `pam_elevate.so` on agent.sock. The kernel says who speaks; nothing in a message does.
//!
//! In: frames of [`Say`]. Out: messages to the one thread. Threats B02, B06, B07. Spec: docs/wire.md "Door 1".

pub(crate) mod gate;
pub(crate) mod pam;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::SyncSender;
use std::thread;

use elevate_protocol::frame::Decoder;
use elevate_protocol::message::agent::{Caller, UseReport};
use elevate_protocol::message::person::{Ask, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::session::SshSession;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use crate::app::message::{DoorEvent, Message};
use crate::enforce::check::FIRST_UID;
use crate::nss;
use crate::peer::{FRAME_TIME, Frames, STACK};
use crate::sshd;
use crate::uplink;

/// Milliseconds that root may take to say what was seen, before a thread of its own listens. Others at the door wait meanwhile.
const AT_ONCE: u8 = 2;
/// Longest report that is taken at once; the module's own are shorter.
const AT_ONCE_MAX: usize = 32 * 1024;

/// Accepts for as long as the agent lives.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn serve(listener: UnixListener, sender: SyncSender<Message>) -> io::Result<()> {
    thread::Builder::new().name("door".into()).stack_size(STACK).spawn(move || {
        let mut buffer = vec![0; AT_ONCE_MAX];
        for stream in uplink::visitors(listener, "agent.sock") {
            let Ok(uid) = uplink::peer_uid(&stream) else { continue };
            let said = if uid == 0 { said_at_once(&stream, &mut buffer) } else { None };
            let message = match said {
                Some(AtOnce::Used(used)) => Message::Used { stream, used },
                Some(AtOnce::Ssh(asked)) => Message::Ssh { stream, asked },
                None => Message::Knock { stream, uid },
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// What is answered at once: sudo and sshd wait for it.
enum AtOnce {
    Used(Box<UseReport>),
    Ssh(Box<SshSession>),
}

/// A use or a login, where root has said it whole with its first breath and nothing else. Anything else stays unread.
fn said_at_once(stream: &UnixStream, buffer: &mut [u8]) -> Option<AtOnce> {
    poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], PollTimeout::from(AT_ONCE)).ok()?;
    let length = recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).ok()?;
    let mut decoder = Decoder::default();
    decoder.feed(buffer.get(..length)?);
    let said = match decoder.next_message() {
        Ok(Some(Say::Use(used))) => AtOnce::Used(Box::new(used)),
        Ok(Some(Say::Ssh(asked))) => AtOnce::Ssh(Box::new(asked)),
        Ok(_) | Err(_) => return None,
    };
    if decoder.is_inside() {
        return None;
    }
    let read = recv(stream.as_raw_fd(), buffer.get_mut(..length)?, MsgFlags::MSG_DONTWAIT).ok()?;
    (read == length).then_some(said)
}

/// One connection's reader.
struct Reader {
    frames: Frames,
    uid: u32,
    serial: u64,
    sender: SyncSender<Message>,
}

/// Reads one connection until it ends.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn read(stream: UnixStream, uid: u32, serial: u64, sender: SyncSender<Message>) -> io::Result<()> {
    let mut reader = Reader { frames: Frames::new(stream), uid, serial, sender };
    thread::Builder::new().name("visitor".into()).stack_size(STACK).spawn(move || {
        let last = match reader.converse() {
            Ok(()) => DoorEvent::Closed,
            Err(refusal) => DoorEvent::Refused(refusal),
        };
        drop(reader.sender.send(Message::Door { serial: reader.serial, event: last }));
    })?;
    Ok(())
}

impl Reader {
    fn post(&self, event: DoorEvent) {
        // The one thread lives as long as the process.
        drop(self.sender.send(Message::Door { serial: self.serial, event }));
    }

    fn converse(&mut self) -> Result<(), Refusal> {
        let Some(mut say) = self.next(true)? else { return Ok(()) };
        if let Say::Hello { versions } = say {
            self.post(DoorEvent::Hello(versions));
            let Some(second) = self.next(true)? else { return Ok(()) };
            say = second;
        }
        match say {
            Say::Use(used) if self.uid == 0 => self.post(DoorEvent::Used(Box::new(used))),
            Say::AtUse(asked) if self.uid == 0 => self.post(DoorEvent::AtUse(Box::new(asked))),
            Say::Ssh(asked) if self.uid == 0 => self.post(DoorEvent::Ssh(Box::new(asked))),
            Say::SshDenied(denied) if is_asked_by_sshd(self.uid) => {
                self.post(DoorEvent::SshDenied(Box::new(denied)));
            }
            Say::Ask(ask) => {
                let caller = caller(self.uid)?;
                self.post(DoorEvent::Asked { caller, ask: Box::new(ask) });
            }
            Say::Leave => return Ok(()),
            Say::Hello { .. }
            | Say::Use(_)
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_)
            | Say::Answer { .. }
            | Say::Confirm { .. }
            | Say::Input { .. } => {
                return Err(out_of_turn());
            }
        }
        while let Some(say) = self.next(false)? {
            match say {
                Say::Input { text } => self.post(DoorEvent::Input(text)),
                Say::Leave => return Ok(()),
                // A code is only ever taken from our own PAM child.
                Say::Hello { .. }
                | Say::Ask(_)
                | Say::Use(_)
                | Say::AtUse(_)
                | Say::Ssh(_)
                | Say::SshDenied(_)
                | Say::Answer { .. }
                | Say::Confirm { .. } => {
                    return Err(out_of_turn());
                }
            }
        }
        Ok(())
    }

    /// The next frame; the first ones must come soon, later ones when the person types.
    fn next(&mut self, soon: bool) -> Result<Option<Say>, Refusal> {
        let idle = soon.then_some(FRAME_TIME);
        self.frames
            .next(idle)
            .map_err(|_| Refusal::new(Code::Usage, "this is not a conversation that door 1 knows"))
    }
}

/// Whether this is the account of the program that sshd asks. It has no other business here.
fn is_asked_by_sshd(uid: u32) -> bool {
    nss::in_files(sshd::ACCOUNT).is_some_and(|account| account.uid == uid && uid != 0)
}

fn out_of_turn() -> Refusal {
    Refusal::new(Code::Usage, "that was said out of turn")
}

/// Whom a uid belongs to. root and system accounts have no activations (threat B02).
fn caller(uid: u32) -> Result<Caller, Refusal> {
    if uid < FIRST_UID {
        let refusal = Refusal::new(Code::WrongDoor, format!("uid {uid} is not a person's account"));
        return Err(refusal.hint("run elevate as yourself, not as root or a service"));
    }
    match nss::by_uid(uid) {
        Ok(Some(account)) => Ok(Caller { uid, login: account.login }),
        Ok(None) => Err(Refusal::new(Code::WrongDoor, format!("uid {uid} has no name on this host"))),
        Err(_) => {
            Err(Refusal::new(Code::Host, "the accounts of this host cannot be looked up at the moment")
                .hint("try again; root sees more in the log of elevate-agent"))
        }
    }
}

/// Whether an ask may go through door 1 of the host `name`.
///
/// # Errors
/// A [`Refusal`] that says what to type instead.
pub(crate) fn allowed(ask: &Ask, name: &elevate_protocol::name::Name) -> Result<(), Refusal> {
    gate::allowed(ask, name)
}
