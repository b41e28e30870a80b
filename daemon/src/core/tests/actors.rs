//! Those who stand at the doors: a person's end of a conversation, and a host's agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, head};
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::flavour::{Enforcement, Installed};
use elevate_protocol::id::{HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Applied, Caller, Claim, ToAgent};
use elevate_protocol::message::parts::Joiner;
use elevate_protocol::message::person::{Outcome, Reply, Say};
use elevate_protocol::message::refusal::Refusal;
use elevate_protocol::message::view::ActivationView;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE, verify_document};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::vouch::Vouch;
use ssh_key::PrivateKey;
use tokio::sync::mpsc;

use super::place::soon;
use crate::clock::Clock;

pub(super) struct Talk {
    pub(super) say: mpsc::Sender<Say>,
    pub(super) replies: mpsc::Receiver<Reply>,
}

impl Talk {
    pub(super) async fn next(&mut self) -> Reply {
        soon("a reply", self.replies.recv()).await.expect("the conversation ended without an answer")
    }

    pub(super) async fn answer(&self, challenge: Nonce, code: &str) {
        self.say.send(Say::Answer { challenge, code: Secret::new(code.into()) }).await.unwrap();
    }

    pub(super) async fn challenge(&mut self) -> Nonce {
        match self.next().await {
            Reply::Challenge(challenge) => challenge.id,
            other => panic!("{other:?}"),
        }
    }

    /// The next progress that satisfies a condition.
    pub(super) async fn progress(&mut self, fits: impl Fn(&ActivationView) -> bool) -> ActivationView {
        loop {
            match self.next().await {
                Reply::Progress(view) if fits(&view) => return *view,
                Reply::Progress(_) | Reply::Verdict { accepted: true, .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn end(mut self) -> Result<Outcome, Refusal> {
        let mut parts = Joiner::default();
        loop {
            match self.next().await {
                Reply::Part { text, left } => {
                    if let Some(outcome) = parts.take(&text, left).unwrap() {
                        return Ok(outcome);
                    }
                }
                Reply::Done(outcome) => return Ok(outcome),
                Reply::Refused(refusal) => return Err(refusal),
                Reply::Challenge(challenge) => panic!("{challenge:?}"),
                _ => {}
            }
        }
    }
}

pub(super) struct Agent {
    pub(super) host: HostId,
    pub(super) vouch: PrivateKey,
    pub(super) trust: TrustedKeys,
    pub(super) claims: mpsc::Sender<Box<SignedBody>>,
    pub(super) said: mpsc::Receiver<Box<ToAgent>>,
    pub(super) nonce: Nonce,
    pub(super) count: u64,
    pub(super) seq: u64,
    pub(super) head: Option<Digest>,
    pub(super) clock: Clock,
}

/// An obedient agent's other end.
pub(super) struct Obedient {
    pub(super) applied: Arc<Mutex<Vec<Document>>>,
    pub(super) _stop: mpsc::Sender<()>,
    pub(super) calls: mpsc::Sender<(u64, Say)>,
    pub(super) replied: mpsc::Receiver<(u64, Reply)>,
}

impl Obedient {
    pub(super) fn acts(&self) -> Vec<&'static str> {
        let word = |document: &Document| match document.act {
            Act::Grant(_) => "grant",
            Act::Extend(_) => "extend",
            Act::End(_) => "end",
            Act::Keys(_) => "keys",
        };
        self.applied.lock().unwrap().iter().map(word).collect()
    }
}

impl Agent {
    pub(super) async fn next(&mut self) -> ToAgent {
        *soon("a frame", self.said.recv()).await.expect("the daemon closed the connection")
    }

    pub(super) async fn closed(&mut self) -> bool {
        soon("the end", async {
            while self.said.recv().await.is_some() {}
            true
        })
        .await
    }

    /// The next that is neither a heartbeat, nor offers, nor about certificates of the host.
    pub(super) async fn frame(&mut self) -> ToAgent {
        loop {
            match self.next().await {
                ToAgent::Heartbeat { .. } | ToAgent::Offers { .. } | ToAgent::HostTerms { .. } => {}
                other => return other,
            }
        }
    }

    pub(super) fn sign(&mut self, claim: Claim) -> SignedBody {
        self.count += 1;
        let vouch = Vouch { host: self.host, nonce: self.nonce, count: self.count, claim };
        SignedBody::sign(serde_json::to_string(&vouch).unwrap(), &self.vouch, VOUCH_NAMESPACE).unwrap()
    }

    pub(super) async fn claim(&mut self, claim: Claim) {
        let signed = self.sign(claim);
        drop(self.claims.send(Box::new(signed)).await);
    }

    pub(super) async fn send(&self, signed: SignedBody) {
        drop(self.claims.send(Box::new(signed)).await);
    }

    pub(super) fn greeting(&self, seq: u64) -> AgentHello {
        AgentHello {
            versions: Versions::OURS,
            host: self.host,
            agent: "0.1.0".into(),
            sudo: Enforcement::With(Installed {
                line: UntrustedText::lossy("Sudo version 1.9.13p3"),
                lacks: std::collections::BTreeSet::new(),
            }),
            ssh: SshEnforcement::Asks,
            epoch: 1,
            seq,
            head: self.head,
            last: None,
            nonce: Nonce::from_random([6; 16]),
            time: self.clock.now(),
        }
    }

    pub(super) async fn hello(&mut self, seq: u64) {
        self.seq = seq;
        let hello = self.greeting(seq);
        self.claim(Claim::Hello(hello)).await;
        assert!(matches!(self.next().await, ToAgent::Welcome { version: 1, .. }));
    }

    pub(super) async fn accounts(&mut self) {
        let uids = BTreeMap::from([("alice".parse().unwrap(), 2000)]);
        self.claim(Claim::Accounts { uids }).await;
    }

    /// What a log with these documents is.
    pub(super) fn head_of(documents: &[SignedBody]) -> Option<Digest> {
        documents.iter().fold(None, |before, signed| Some(head(before, &signed.body)))
    }

    pub(super) fn read(&self, signed: &SignedBody) -> Document {
        verify_document(signed, &self.trust, &self.host).unwrap().document().clone()
    }

    pub(super) async fn obey(
        mut self,
        told: Arc<Mutex<Vec<Document>>>,
        mut stopped: mpsc::Receiver<()>,
        mut called: mpsc::Receiver<(u64, Say)>,
        replies: mpsc::Sender<(u64, Reply)>,
    ) {
        loop {
            tokio::select! {
                said = self.said.recv() => match said.map(|said| *said) {
                    None | Some(ToAgent::Refused(_)) => return,
                    Some(ToAgent::Document(signed)) => {
                        let document = self.read(&signed);
                        let seq = document.seq;
                        if seq == self.seq + 1 {
                            self.seq = seq;
                            if let Act::Keys(keys) = &document.act {
                                self.trust = self.trust.follow(keys, (document.epoch, seq)).unwrap();
                            }
                            told.lock().unwrap().push(document);
                        }
                        assert!(seq <= self.seq, "a gap");
                        self.claim(Claim::Applied { seq, result: Applied::Enforced }).await;
                    }
                    Some(ToAgent::Offers { .. }) => self.accounts().await,
                    Some(ToAgent::Heartbeat { time }) => self.claim(Claim::Heartbeat { time }).await,
                    Some(ToAgent::Conversation { conversation, reply }) => {
                        drop(replies.send((conversation, reply)).await);
                    }
                    Some(
                        ToAgent::Hello { .. }
                        | ToAgent::Welcome { .. }
                        | ToAgent::Recorded { .. }
                        | ToAgent::Epoch(_)
                        | ToAgent::Contact(_)
                        | ToAgent::HostTerms { .. }
                        | ToAgent::HostCertificates { .. },
                    ) => {}
                },
                call = called.recv() => if let Some((conversation, say)) = call {
                    let caller = Caller { uid: 2000, login: "alice".parse().unwrap() };
                    self.claim(Claim::Conversation { conversation, caller, say }).await;
                },
                _ = stopped.recv() => return,
            }
        }
    }
}
