//! Simulated agents: they enrol and speak as real ones do, with keys of their own, and verify what they are sent.
//!
//! In: the daemon, a paste string. Out: vouched claims, and [`Seen`] for the bench. They write no file and run no sudo.
//! Runs as: the benches. Spec: docs/wire.md "Vouches", "Enrolment".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::head;
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::flavour::{Enforcement, Installed};
use elevate_protocol::id::{HostId, Nonce};
use elevate_protocol::message::agent::{AgentHello, Applied, Claim, HEARTBEAT, ToAgent};
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::message::{SUBSYSTEM_AGENT, SUBSYSTEM_ENROL, Versions};
use elevate_protocol::name::Login;
use elevate_protocol::paste::Paste;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE, verify_document};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use elevate_protocol::vouch::Vouch;
use ssh_key::PrivateKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use crate::site::fresh_key;
use crate::wire::{Connection, Frames, Server};

/// As `elevate-link` waits between two attempts: doubling, half of it random.
const FIRST_PAUSE: u64 = 200;
const DOUBLINGS_MAX: u32 = 8;

/// What happened to a simulated agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was welcomed, and has answered the offers: it is in sync but for documents.
    InSync,
    /// It has verified a document and sent its signed acknowledgement.
    Acknowledged,
}

/// Tells the bench: which agent, what, when.
pub(crate) type Told = UnboundedSender<(HostId, Seen, Instant)>;

/// A host that is enrolled.
#[derive(Debug)]
pub(crate) struct Simulated {
    /// Its id.
    pub(crate) id: HostId,
    link: Arc<PrivateKey>,
    vouch: PrivateKey,
    signers: TrustedKeys,
    place: Mutex<(u64, Option<Digest>)>,
}

/// The uid of a login on every simulated host: a number of its own for each person.
fn uid(login: &Login) -> u32 {
    let digits: String = login.as_str().chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u32>().unwrap_or(0).saturating_add(10_000)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

impl Simulated {
    /// Enrols through the real door, with the paste string of `elevatectl host invite`.
    pub(crate) async fn enrol(server: &Server, paste: &str) -> Result<Self> {
        let paste: Paste = paste.parse()?;
        let token = paste.token.context("a paste string without a token")?;
        let (link, vouch) = (Arc::new(fresh_key()?), fresh_key()?);
        let proof = SignedBody::sign(token.expose().to_owned(), &vouch, VOUCH_NAMESPACE)?;
        let ask = EnrolAsk {
            versions: Versions::OURS,
            token,
            link_key: link.public_key().to_openssh()?,
            vouch_key: vouch.public_key().to_openssh()?,
            vouch_proof: proof.signature,
        };
        let connection = Connection::open(server, SUBSYSTEM_ENROL, &link).await?;
        let mut frames = connection.subsystem(SUBSYSTEM_ENROL).await?;
        frames.send(&ask).await?;
        let enrolled = match frames.next().await? {
            EnrolReply::Enrolled(enrolled) => enrolled,
            EnrolReply::Refused(refusal) => bail!("not enrolled: {}", refusal.message),
        };
        connection.close().await;
        let signers = TrustedKeys::from_signers(&enrolled.grant_signers)?;
        Ok(Self { id: enrolled.host, link, vouch, signers, place: Mutex::default() })
    }

    /// Keeps the agent connected until the task is aborted, as `elevate-link` does: again after each end.
    pub(crate) fn keep(self: &Arc<Self>, server: &Server, told: Told) -> JoinHandle<()> {
        let (host, server) = (Arc::clone(self), server.clone());
        tokio::spawn(async move {
            let mut failed = 0u32;
            loop {
                let before = Instant::now();
                // Every end is tried again: the daemon is stopped on purpose, and refuses what is too much at once.
                drop(host.connect(&server, &told).await);
                failed = if before.elapsed() > Duration::from_secs(2) { 0 } else { failed.saturating_add(1) };
                let whole = FIRST_PAUSE.saturating_mul(1u64 << failed.min(DOUBLINGS_MAX));
                let mut random = [0u8; 1];
                getrandom::fill(&mut random).unwrap_or_default();
                let [random] = random;
                let part = whole.saturating_mul(u64::from(random)).div_euclid(510);
                sleep(Duration::from_millis(whole.div_euclid(2).saturating_add(part))).await;
            }
        })
    }

    async fn connect(&self, server: &Server, told: &Told) -> Result<()> {
        let connection = Connection::open(server, "link", &self.link).await?;
        let mut frames = connection.subsystem(SUBSYSTEM_AGENT).await?;
        let ToAgent::Hello { nonce, .. } = frames.next().await? else { bail!("no hello") };
        let mut voice = Voice { host: self, nonce, count: 0 };
        let (seq, head) = *self.place();
        let hello = AgentHello {
            versions: Versions::OURS,
            host: self.id,
            agent: "bench".to_owned(),
            sudo: Enforcement::With(Installed {
                line: UntrustedText::lossy("Sudo version 1.9.13p3"),
                lacks: BTreeSet::new(),
            }),
            ssh: SshEnforcement::Asks,
            epoch: 1,
            seq,
            head,
            last: None,
            nonce: Nonce::from_random([6; 16]),
            time: now(),
        };
        voice.claim(&mut frames, Claim::Hello(hello)).await?;
        let heartbeat = Duration::from_secs(HEARTBEAT.0.into());
        let mut silence: std::pin::Pin<Box<Sleep>> = Box::pin(sleep(heartbeat));
        loop {
            tokio::select! {
                said = frames.next::<ToAgent>() => {
                    if voice.answer(&mut frames, said?, told).await? {
                        silence = Box::pin(sleep(heartbeat));
                    }
                }
                () = &mut silence => {
                    voice.claim(&mut frames, Claim::Heartbeat { time: now() }).await?;
                    silence = Box::pin(sleep(heartbeat));
                }
            }
        }
    }

    /// Checks a document as the agent does before anything else: signature, host, place.
    fn verify(&self, signed: &SignedBody) -> Result<u64> {
        let verified = verify_document(signed, &self.signers, &self.id)?;
        let (seq, mut place) = (verified.document().seq, self.place());
        let (known, before) = *place;
        ensure!(seq <= known.saturating_add(1), "a document is missing");
        if seq > known {
            *place = (seq, Some(head(before, &signed.body)));
        }
        Ok(seq)
    }

    /// The last document, and what the log is up to it.
    fn place(&self) -> MutexGuard<'_, (u64, Option<Digest>)> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's vouches, counted.
struct Voice<'a> {
    host: &'a Simulated,
    nonce: Nonce,
    count: u64,
}

impl Voice<'_> {
    async fn claim<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        frames: &mut Frames<S>,
        claim: Claim,
    ) -> Result<()> {
        self.count = self.count.saturating_add(1);
        let vouch = Vouch { host: self.host.id, nonce: self.nonce, count: self.count, claim };
        frames
            .send(&SignedBody::sign(serde_json::to_string(&vouch)?, &self.host.vouch, VOUCH_NAMESPACE)?)
            .await
    }

    /// Answers what the daemon said; whether there was an answer.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        frames: &mut Frames<S>,
        said: ToAgent,
        told: &Told,
    ) -> Result<bool> {
        match said {
            ToAgent::Document(signed) => {
                let seq = self.host.verify(&signed)?;
                self.claim(frames, Claim::Applied { seq, result: Applied::Enforced }).await?;
                told.send((self.host.id, Seen::Acknowledged, Instant::now()))?;
                Ok(true)
            }
            ToAgent::Offers { roles } => {
                let uids: BTreeMap<Login, u32> =
                    roles.into_keys().map(|login| (login.clone(), uid(&login))).collect();
                self.claim(frames, Claim::Accounts { uids }).await?;
                told.send((self.host.id, Seen::InSync, Instant::now()))?;
                Ok(true)
            }
            ToAgent::Refused(refusal) => bail!("refused: {}", refusal.message),
            ToAgent::Hello { .. } => bail!("a second hello"),
            ToAgent::Welcome { .. }
            | ToAgent::Recorded { .. }
            | ToAgent::Conversation { .. }
            | ToAgent::Contact(_)
            | ToAgent::HostTerms { .. }
            | ToAgent::HostCertificates { .. }
            | ToAgent::Epoch(_)
            | ToAgent::Heartbeat { .. } => Ok(false),
        }
    }
}
