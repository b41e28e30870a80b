//! Brings each host its documents, in order and at least once, and takes what the host says.
//!
//! In: one connection of a host's agent. Out: [`ToAgent`] frames; acknowledgements, reports and conversations taken up.
//! Runs as: `elevated`. Spec: docs/wire.md "Vouches". What a host says is a claim, and is recorded as one.

mod claims;
mod contact;
mod epochs;
mod flood;
mod hello;
mod host_keys;
mod lost;
mod offers;
mod registry;
mod reports;
mod talks;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use elevate_audit::{Actor, Kind, Subject};
use elevate_protocol::host_ssh::HostNames;
use elevate_protocol::id::{HostId, Nonce};
use elevate_protocol::message::agent::{HEARTBEAT, SILENCE_MAX, ToAgent};
use elevate_protocol::message::refusal::Refusal;
use elevate_protocol::signed::SignedBody;
use elevate_protocol::ssh::Ca;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::VouchReader;
use tokio::sync::mpsc;

use crate::core::{Core, Fault, restore};
use crate::store::{Heard, HostRow, StoredDocument, Voice};

use flood::Came;
pub(crate) use flood::{Floods, record_all as record_floods};
pub(crate) use registry::Registry;
use registry::Seat;

/// How long a frame may wait for a slow connection before the connection is given up.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Documents read at a time.
const BATCH: u32 = 16;
/// How often offers are looked at again, for eligibilities that begin or end by the calendar.
const OFFERS_EVERY: Span = Span(300);

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Cut {
    /// The stream ended or is too slow.
    Lost(&'static str),
    /// Another connection of the same host has the place.
    Replaced,
    /// The agent said something that cannot be.
    Refused(Refusal),
    /// The daemon failed.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Cut {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// One connection that said hello.
pub(super) struct Serving {
    core: Core,
    host: HostRow,
    out: mpsc::Sender<Box<ToAgent>>,
    reader: VouchReader,
    seat: Seat,
    /// Place of the next document to send.
    next: u64,
    offered: Option<Arc<offers::Offers>>,
    /// Offers that the agent has not answered yet.
    unanswered: u32,
    /// The question about contact that is not answered yet.
    question: Option<Nonce>,
    /// Which count of the registry the latest offers belong to.
    asked: u64,
    talks: talks::Talks,
    /// What the host was told that its certificates say.
    terms: Option<(HostNames, Ca)>,
    /// Whether certificates are being signed for it.
    certifying: Arc<AtomicBool>,
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    core: &Core,
    (host, from): (HostId, IpAddr),
    mut claims: mpsc::Receiver<Box<SignedBody>>,
    out: mpsc::Sender<Box<ToAgent>>,
) {
    let last = out.clone();
    // What is only now and then under way is boxed: a connection that rests, as most do, does not hold room for it.
    let cut = match Box::pin(hello::hello(core, host, &mut claims, out)).await {
        Ok(mut serving) => {
            let cut = match serving.run(&mut claims).await {
                Ok(never) => match never {},
                Err(cut) => cut,
            };
            if serving.seat.is_held() { cut } else { Cut::Replaced }
        }
        Err(cut) => cut,
    };
    if let Cut::Refused(refusal) = &cut {
        // Best effort: who is refused may not listen.
        drop(tokio::time::timeout(SEND_WITHIN, last.send(Box::new(ToAgent::Refused(refusal.clone())))).await);
    }
    match Box::pin(record_end(core, (host, from), &cut)).await {
        Err(fault) if !core.inner().store.is_closed() => crate::log::error(&crate::log::chain(&fault)),
        // Stopping: the next start says what is connected.
        Ok(()) | Err(_) => {}
    }
}

async fn record_end(core: &Core, (id, from): (HostId, IpAddr), cut: &Cut) -> Result<(), Fault> {
    let came = if matches!(cut, Cut::Refused(_)) { Came::Refused } else { Came::Lost };
    let kind = match cut {
        Cut::Replaced => return Ok(()),
        Cut::Lost(why) => Kind::HostLost { why: UntrustedText::lossy(why) },
        Cut::Refused(refusal) => {
            let why = format!("from {from}: {}", refusal.message);
            Kind::HostRefused { why: UntrustedText::lossy(&why) }
        }
        Cut::Fault(_) if core.inner().store.is_closed() => return Ok(()),
        Cut::Fault(fault) => {
            crate::log::error(&crate::log::chain(fault));
            Kind::HostLost { why: UntrustedText::lossy("the daemon failed; its own log says why") }
        }
    };
    if core.inner().store.is_closed() {
        return Ok(());
    }
    let mut tx = core.inner().store.write().await?;
    let Some(host) = tx.host(id).await? else { return Ok(()) };
    tx.host_seen(id, None).await?;
    if flood::is_recorded(core, &host, came) {
        tx.record(voice(&host).did(subject(&host), kind)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A host speaks.
fn voice(host: &HostRow) -> Voice {
    Voice { actor: Actor::Host(host.name.clone()), door: None }
}

fn subject(host: &HostRow) -> Subject {
    Subject { host: Some(host.name.clone()), host_id: Some(host.id), ..Subject::default() }
}

impl Serving {
    /// Runs until something ends it.
    async fn run(
        &mut self,
        claims: &mut mpsc::Receiver<Box<SignedBody>>,
    ) -> Result<std::convert::Infallible, Cut> {
        let clock = self.core.inner().clock.clone();
        let mut news = self.core.inner().store.news_of(self.host.id);
        // From the welcome on, also where the first things take their time.
        let mut heard = clock.now();
        Box::pin(self.offer()).await?;
        Box::pin(self.pump()).await?;
        let mut spoke = heard;
        let mut offered = heard;
        let mut terms_due = true;
        loop {
            tokio::select! {
                // What was said is heard before silence is judged. A host that was away has much to say: what it has to be told does not
                // wait for the end of that (threat R10).
                biased;
                _ = &mut self.seat.gone => return Err(Cut::Replaced),
                heard = news.next() => match heard {
                    Some(Heard::Documents) => {
                        Box::pin(self.pump()).await?;
                        Box::pin(self.prove_contact()).await?;
                    }
                    Some(Heard::Policy) => Box::pin(self.offer()).await?,
                    None => return Err(Cut::Lost("the daemon is stopping")),
                },
                ended = self.talks.ended() => self.talks.forget(ended),
                () = clock.sleep_until(spoke.after(HEARTBEAT)) => {
                    spoke = clock.now();
                    self.say(ToAgent::Heartbeat { time: spoke }).await?;
                    if spoke >= offered.after(OFFERS_EVERY) {
                        offered = spoke;
                        Box::pin(self.offer()).await?;
                        terms_due = true;
                    }
                }
                claim = claims.recv() => {
                    let Some(signed) = claim else { return Err(Cut::Lost("the connection ended")) };
                    heard = clock.now();
                    Box::pin(self.take(&signed, claims)).await?;
                }
                // What the host has to say comes first.
                () = std::future::ready(()), if terms_due => {
                    terms_due = false;
                    Box::pin(self.tell_terms()).await?;
                }
                () = clock.sleep_until(silent(heard)) => return Err(Cut::Lost("silent for 45 s")),
            }
        }
    }

    /// Sends every document from the next place on, up to the first that waits: for its signature, or for root's word on a restore.
    async fn pump(&mut self) -> Result<(), Cut> {
        loop {
            let mut tx = self.core.inner().store.glance().await?;
            let documents = tx.documents_from(self.host.id, self.host.epoch, self.next, BATCH).await?;
            drop(tx);
            let all = u32::try_from(documents.len()).is_ok_and(|found| found < BATCH);
            for document in documents {
                if self.is_withheld(&document).await? {
                    return Ok(());
                }
                let Some(signed) = document.signed() else { return Ok(()) };
                self.next = document.seq.saturating_add(1);
                self.say(ToAgent::Document(signed)).await?;
            }
            if all {
                return Ok(());
            }
        }
    }

    async fn is_withheld(&self, document: &StoredDocument) -> Result<bool, Cut> {
        let store = &self.core.inner().store;
        if !store.is_witness_held() {
            return Ok(false);
        }
        Ok(restore::withholds(&mut store.read().await?, document).await?)
    }

    async fn say(&self, message: ToAgent) -> Result<(), Cut> {
        match tokio::time::timeout(SEND_WITHIN, self.out.send(Box::new(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cut::Lost("the connection ended")),
            Err(_) => Err(Cut::Lost("too slow to take what it is sent")),
        }
    }
}

fn silent(heard: Timestamp) -> Timestamp {
    heard.after(SILENCE_MAX)
}
