//! The conversations of people on one host, over its agent's one connection.
//!
//! In: [`Say`]s with a number and a vouched caller. Out: conversations of the core, their replies on the way back.
//! A number belongs to one caller from its first word to its last.

use std::collections::HashMap;

use elevate_protocol::message::agent::{CONVERSATIONS_MAX, Caller, ToAgent};
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::text::UntrustedText;
use tokio::sync::mpsc;

use super::{Cut, Serving};
use crate::core::{Conversation, Speaker};
use crate::issue::is_personal;

/// Words that wait on either side of a conversation.
const WORDS: usize = 8;

struct Talk {
    caller: Caller,
    say: mpsc::Sender<Say>,
}

/// The conversations that go on.
pub(super) struct Talks {
    open: HashMap<u64, Talk>,
    highest: Option<u64>,
    end: mpsc::Sender<u64>,
    ends: mpsc::Receiver<u64>,
}

impl Talks {
    pub(super) fn new() -> Self {
        let (end, ends) = mpsc::channel(CONVERSATIONS_MAX);
        Self { open: HashMap::new(), highest: None, end, ends }
    }

    /// The number of a conversation that is over.
    pub(super) async fn ended(&mut self) -> u64 {
        match self.ends.recv().await {
            Some(number) => number,
            // A sender lives in this very value.
            None => std::future::pending().await,
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

impl Serving {
    /// Takes one word of a conversation.
    pub(super) async fn speak(&mut self, number: u64, caller: Caller, say: Say) -> Result<(), Cut> {
        if let Some(talk) = self.talks.open.get(&number) {
            if talk.caller != caller {
                let refusal = Refusal::new(Code::Integrity, "a conversation changed its caller");
                return Err(Cut::Refused(refusal));
            }
            if talk.say.try_send(say).is_err() {
                // Over, or its person says more than anybody listens to: either way it ends here.
                self.talks.forget(number);
            }
            return Ok(());
        }
        // Late words of a conversation that is over.
        if self.talks.highest.is_some_and(|highest| number <= highest) {
            return Ok(());
        }
        self.talks.highest = Some(number);
        match self.begin(number, &caller) {
            Ok(talk) => {
                // A fresh channel has room.
                drop(talk.say.try_send(say));
                self.talks.open.insert(number, talk);
                Ok(())
            }
            Err(refusal) => {
                self.say(ToAgent::Conversation { conversation: number, reply: Reply::Refused(refusal) }).await
            }
        }
    }

    fn begin(&self, number: u64, caller: &Caller) -> Result<Talk, Refusal> {
        if self.talks.open.len() >= CONVERSATIONS_MAX {
            return Err(Refusal::new(Code::Busy, "too many conversations on this host"));
        }
        if !is_personal(caller.uid) {
            return Err(Refusal::new(Code::NotEligible, "root and system accounts activate nothing"));
        }
        let policy = self.core.inner().policy();
        let Some(person) = policy.person_by_login(&caller.login) else {
            let login = UntrustedText::lossy(caller.login.as_str()).escaped();
            return Err(Refusal::new(
                Code::NotEligible,
                format!("nobody in the policy has the login {login}"),
            ));
        };
        let speaker = Speaker::OnHost {
            host: self.host.id,
            name: person.name.clone(),
            uid: caller.uid,
            login: caller.login.clone(),
        };
        let (say, heard) = mpsc::channel(WORDS);
        let (reply, replies) = mpsc::channel(WORDS);
        let core = self.core.clone();
        tokio::spawn(async move { core.converse(Conversation { speaker, say: heard, reply }).await });
        tokio::spawn(carry(number, replies, self.out.clone(), self.talks.end.clone()));
        Ok(Talk { caller: caller.clone(), say })
    }
}

/// Carries the replies of one conversation until it is over.
async fn carry(
    conversation: u64,
    mut replies: mpsc::Receiver<Reply>,
    out: mpsc::Sender<Box<ToAgent>>,
    end: mpsc::Sender<u64>,
) {
    while let Some(reply) = replies.recv().await {
        if out.send(Box::new(ToAgent::Conversation { conversation, reply })).await.is_err() {
            break;
        }
    }
    if end.send(conversation).await.is_err() {
        crate::log::debug("a conversation outlived its connection");
    }
}
