//! People at door 1 and what they talk about with the daemon.
//!
//! In: events of connections, replies of the daemon, PAM children. Out: frames to each. The agent prompts only for a
//! challenge that names the very ask which it vouched for (docs/architecture.md "Doors"). Threats B02, B07, D06, X-p.

pub(crate) mod at_use;
mod used;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use elevate_protocol::digest::Digest;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Caller, Claim};
use elevate_protocol::message::pam::{FromChild, ToChild};
use elevate_protocol::message::person::{Ask, Challenge, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::text::UntrustedText;

use super::message::{DoorEvent, PamEvent};
use super::state::Agent;
use crate::clock;
use crate::door;
use crate::journal::{self, Level};
use crate::peer::Peer;

/// Most connections of people.
const VISITORS_MAX: usize = 64;
/// Most connections of one uid.
const VISITORS_PER_UID: usize = 4;
/// Connections that only root, and so `pam_elevate.so`, may have on top of those.
const VISITORS_OF_ROOT: usize = 16;
/// Most challenges of one conversation: each starts a process.
const STACKS_MAX: u8 = 16;
/// Frames that may wait for a person's program.
const ROOM: usize = 64;

/// Everybody at door 1.
#[derive(Debug, Default)]
pub(crate) struct People {
    visitors: BTreeMap<u64, Visitor>,
    conversations: BTreeMap<u64, u64>,
    next: u64,
    seats: at_use::Seats,
}

#[derive(Debug)]
struct Visitor {
    uid: u32,
    peer: Peer,
    talk: Option<Talk>,
}

/// A conversation with the daemon.
#[derive(Debug)]
struct Talk {
    conversation: u64,
    caller: Caller,
    ask: Digest,
    stack: Option<Stack>,
    stacks: u8,
    /// What sudo itself asks for, in the place of a stack.
    at_use: Option<at_use::Use>,
}

/// A PAM child that runs for a challenge.
#[derive(Debug)]
struct Stack {
    number: u64,
    challenge: Challenge,
    peer: Peer,
    input: Input,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Unasked,
    Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Accepted,
}

impl People {
    /// Whether one more connection of `uid` is let in.
    fn has_room(&self, uid: u32) -> bool {
        let of_uid = self.visitors.values().filter(|visitor| visitor.uid == uid).count();
        if uid == 0 {
            return of_uid < VISITORS_OF_ROOT;
        }
        let of_people = self.visitors.values().filter(|visitor| visitor.uid != 0).count();
        of_uid < VISITORS_PER_UID && of_people < VISITORS_MAX
    }

    /// Whoever came first of those who have asked nothing yet, when all places of people are taken and `uid` has less than its
    /// share. One account may have thousands of uids (subuid(5)), which have no name and so never get to ask.
    fn in_the_way(&self, uid: u32) -> Option<u64> {
        let of_uid = self.visitors.values().filter(|visitor| visitor.uid == uid).count();
        if uid == 0 || of_uid >= VISITORS_PER_UID {
            return None;
        }
        let idle = |visitor: &Visitor| visitor.uid != 0 && visitor.talk.is_none();
        self.visitors.iter().find(|(_, visitor)| idle(visitor)).map(|(serial, _)| *serial)
    }

    fn count(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }
}

impl Agent {
    /// Somebody connected.
    pub(crate) fn knock(&mut self, stream: &UnixStream, uid: u32) {
        if !self.people.has_room(uid)
            && let Some(idle) = self.people.in_the_way(uid)
        {
            let busy = Refusal::new(Code::Busy, "too many elevate commands run on this host at the moment");
            self.refuse(idle, busy.hint("try again"));
        }
        let room = self.people.has_room(uid);
        let serial = self.people.count();
        let Ok(peer) = Peer::start(stream, if room { ROOM } else { 1 }) else { return };
        if !room {
            let busy = Refusal::new(Code::Busy, "too many elevate commands run on this host at the moment");
            drop(peer.send(&Reply::Refused(busy.hint("end some of yours, or try again"))));
            return;
        }
        let reader =
            stream.try_clone().and_then(|stream| door::read(stream, uid, serial, self.sender.clone()));
        match reader {
            Ok(()) => drop(self.people.visitors.insert(serial, Visitor { uid, peer, talk: None })),
            Err(error) => journal::log(Level::Error, &format!("door 1 cannot serve: {error}")),
        }
    }

    /// Somebody does something.
    pub(crate) fn at_door(&mut self, serial: u64, event: DoorEvent) {
        match event {
            DoorEvent::Hello(versions) => match versions.common(Versions::OURS) {
                Some(version) => self.reply(serial, &Reply::Hello { version }),
                None => self.refuse(
                    serial,
                    Refusal::new(Code::Version, "elevate and elevate-agent are of different versions"),
                ),
            },
            DoorEvent::Asked { caller, ask } => self.asked(serial, caller, &ask),
            DoorEvent::Input(code) if self.is_at_use(serial) => self.code_at_use(serial, code),
            DoorEvent::Input(text) => {
                let stack = self
                    .people
                    .visitors
                    .get_mut(&serial)
                    .and_then(|v| v.talk.as_mut())
                    .and_then(|t| t.stack.as_mut());
                match stack.filter(|stack| stack.input == Input::Asked) {
                    Some(stack) => {
                        stack.input = Input::Unasked;
                        // A child that is gone says so by its own event.
                        drop(stack.peer.send(&ToChild::Input { text }));
                    }
                    None => self.refuse(serial, Refusal::new(Code::Usage, "nobody asked for that")),
                }
            }
            DoorEvent::AtUse(asked) => self.at_use(serial, &asked),
            DoorEvent::Used(used) => self.used(serial, *used),
            DoorEvent::Ssh(asked) => self.ssh_at_door(serial, &asked),
            DoorEvent::SshDenied(denied) => {
                self.ssh_denied(*denied);
                self.leave(serial);
            }
            DoorEvent::Refused(refusal) => self.refuse(serial, refusal),
            DoorEvent::Closed => self.leave(serial),
        }
    }

    fn asked(&mut self, serial: u64, caller: Caller, ask: &Ask) {
        let checked = door::allowed(ask, &self.identity.config.name).and_then(|()| {
            if self.is_linked() {
                return Ok(());
            }
            let refusal = Refusal::new(Code::Unreachable, "the daemon cannot be reached from this host");
            Err(refusal.hint("root sees why with: elevate-agent status"))
        });
        if let Err(refusal) = checked {
            if refusal.code == Code::Unreachable {
                let away = self.away(caller.uid, clock::read());
                self.reply(serial, &Reply::Away(away));
            }
            return self.refuse(serial, refusal);
        }
        let Ok(digest) = ask.digest() else {
            return self.refuse(serial, Refusal::new(Code::Internal, "the ask cannot be written"));
        };
        let conversation = self.people.count();
        let Some(visitor) = self.people.visitors.get_mut(&serial) else { return };
        visitor.talk = Some(Talk { conversation, caller, ask: digest, stack: None, stacks: 0, at_use: None });
        self.people.conversations.insert(conversation, serial);
        self.say(serial, Say::Ask(ask.clone()));
    }

    /// Says something to the daemon for the person at `serial`.
    fn say(&mut self, serial: u64, say: Say) {
        let Some(talk) = self.people.visitors.get(&serial).and_then(|visitor| visitor.talk.as_ref()) else {
            return;
        };
        let (conversation, caller) = (talk.conversation, talk.caller.clone());
        self.claim(Claim::Conversation { conversation, caller, say });
    }

    fn reply(&mut self, serial: u64, reply: &Reply) {
        let Some(visitor) = self.people.visitors.get(&serial) else { return };
        if visitor.peer.send(reply).is_err() {
            visitor.peer.cut();
            self.leave(serial);
        }
    }

    fn refuse(&mut self, serial: u64, refusal: Refusal) {
        self.reply(serial, &Reply::Refused(refusal));
        self.leave(serial);
    }

    /// The person is gone or done. What is pending at the daemon stays pending.
    fn leave(&mut self, serial: u64) {
        let talking = self.people.visitors.get(&serial).and_then(|visitor| visitor.talk.as_ref());
        if let Some(conversation) = talking.map(|talk| talk.conversation)
            && self.people.conversations.remove(&conversation).is_some()
        {
            self.say(serial, Say::Leave);
        }
        self.people.visitors.remove(&serial);
    }

    /// The daemon cannot be talked to any more.
    pub(crate) fn daemon_lost(&mut self) {
        let talking: Vec<u64> = std::mem::take(&mut self.people.conversations).into_values().collect();
        let now = clock::read();
        for serial in talking {
            if let Some(uid) = self.people.visitors.get(&serial).map(|visitor| visitor.uid) {
                self.reply(serial, &Reply::Away(self.away(uid, now)));
            }
            let refusal = Refusal::new(Code::Unreachable, "the connection to the daemon was lost");
            self.refuse(serial, refusal.hint("what was asked is kept; see: elevate"));
        }
    }

    /// The daemon replies in a conversation.
    pub(crate) fn daemon_replies(&mut self, conversation: u64, reply: Reply) {
        let Some(serial) = self.people.conversations.get(&conversation).copied() else { return };
        if self.is_at_use(serial) {
            return self.daemon_at_use(serial, conversation, reply);
        }
        match reply {
            Reply::Challenge(challenge) => self.challenged(serial, challenge),
            Reply::Verdict { accepted, tries, message } => {
                let visitor = self.people.visitors.get_mut(&serial);
                if let Some(stack) =
                    visitor.and_then(|v| v.talk.as_mut()).and_then(|talk| talk.stack.as_mut())
                {
                    if accepted {
                        stack.verdict = Verdict::Accepted;
                    }
                    let message = message.as_deref().map(UntrustedText::lossy);
                    drop(stack.peer.send(&ToChild::Verdict { accepted, tries, message }));
                }
            }
            Reply::Progress(_) | Reply::Part { left: 1.., .. } => self.reply(serial, &reply),
            Reply::Done(_) | Reply::Refused(_) | Reply::Part { left: 0, .. } => {
                self.people.conversations.remove(&conversation);
                self.reply(serial, &reply);
                self.people.visitors.remove(&serial);
            }
            Reply::Hello { .. }
            | Reply::Prompt { .. }
            | Reply::Notice { .. }
            | Reply::Seed { .. }
            | Reply::Away(_)
            | Reply::Event(_) => {
                self.refuse(
                    serial,
                    Refusal::new(Code::Internal, "the daemon said what it never says through a host"),
                );
            }
        }
    }

    fn challenged(&mut self, serial: u64, challenge: Challenge) {
        let number = self.people.count();
        let Some(talk) = self.people.visitors.get_mut(&serial).and_then(|visitor| visitor.talk.as_mut())
        else {
            return;
        };
        if challenge.ask != talk.ask {
            let refusal = Refusal::new(
                Code::Integrity,
                "the daemon wants a code for something else than was asked here",
            );
            return self.refuse(serial, refusal.hint("do not type a code; tell your administrators"));
        }
        if talk.stacks >= STACKS_MAX {
            let refusal = Refusal::new(Code::Integrity, "the daemon asks for a code again and again");
            return self.refuse(serial, refusal.hint("do not type a code; tell your administrators"));
        }
        talk.stacks = talk.stacks.saturating_add(1);
        match door::pam::start(&talk.caller.login, serial, number, self.sender.clone()) {
            Ok(peer) => {
                let (input, verdict) = (Input::Unasked, Verdict::Open);
                talk.stack = Some(Stack { number, challenge, peer, input, verdict });
            }
            Err(error) => {
                journal::log(Level::Error, &format!("no PAM child: {error}"));
                self.refuse(serial, Refusal::new(Code::Host, "this host cannot ask for the second factor"));
            }
        }
    }

    /// A PAM child does something.
    pub(crate) fn pam(&mut self, serial: u64, number: u64, event: PamEvent) {
        let Some(talk) = self.people.visitors.get_mut(&serial).and_then(|visitor| visitor.talk.as_mut())
        else {
            return;
        };
        let Some(stack) = talk.stack.as_mut().filter(|stack| stack.number == number) else { return };
        match event {
            PamEvent::Says(FromChild::Ready) => {
                drop(stack.peer.send(&ToChild::Task { prompt: stack.challenge.prompt.clone() }));
            }
            PamEvent::Says(FromChild::Prompt { text, echo }) => {
                stack.input = Input::Asked;
                self.reply(serial, &Reply::Prompt { text, echo });
            }
            PamEvent::Says(FromChild::Notice { text }) => self.reply(serial, &Reply::Notice { text }),
            PamEvent::Says(FromChild::Code { code }) => {
                let challenge = stack.challenge.id;
                self.say(serial, Say::Answer { challenge, code });
            }
            PamEvent::Says(FromChild::Finished { passed, result }) => {
                // A stack without our module can pass without any code: that is no confirmation.
                let confirmed = passed && stack.verdict == Verdict::Accepted;
                if !confirmed {
                    journal::log(Level::Warning, &format!("PAM service elevate: {}", result.escaped()));
                }
                self.confirm(serial, confirmed);
            }
            PamEvent::Gone => self.confirm(serial, false),
        }
    }

    fn confirm(&mut self, serial: u64, passed: bool) {
        let talk = self.people.visitors.get_mut(&serial).and_then(|visitor| visitor.talk.as_mut());
        let challenge: Option<Nonce> =
            talk.and_then(|talk| talk.stack.take()).map(|stack| stack.challenge.id);
        if let Some(challenge) = challenge {
            self.say(serial, Say::Confirm { challenge, passed });
        }
    }

    /// How many people are connected.
    pub(crate) fn visitors(&self) -> usize {
        self.people.visitors.len()
    }
}
