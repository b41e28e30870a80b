//! The first frames of a connection: who is there, and may it go on.
//!
//! In: the agent's hello, vouched. Out: a [`Serving`] that holds the host's place, or the refusal.

use std::sync::Arc;

use elevate_audit::Kind;
use elevate_protocol::epoch::{EPOCH_NAMESPACE, NewEpoch};
use elevate_protocol::id::{HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Claim, ToAgent};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::signed::{SignedBody, TrustedKeys};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::VouchReader;
use ssh_key::PublicKey;
use tokio::sync::mpsc;

use super::flood::{self, Came};
use super::{Cut, Serving, epochs, subject, talks, voice};
use crate::core::{Core, Fault, random};
use crate::issue::{EXPIRY_TOLD_WITHIN, IssueError};
use crate::store::HostRow;

/// How long the agent's hello may take.
const HELLO_WITHIN: Span = Span(10);
/// Clocks that differ by more get no new grants.
const SKEW_MAX: u64 = 60;

pub(super) async fn hello(
    core: &Core,
    id: HostId,
    claims: &mut mpsc::Receiver<Box<SignedBody>>,
    out: mpsc::Sender<Box<ToAgent>>,
) -> Result<Serving, Cut> {
    let inner = core.inner();
    let Some(host) = inner.store.glance().await?.host(id).await? else {
        return refused(Code::UnknownHost, "this host is not enrolled", "enrol it: elevate-agent enroll");
    };
    let nonce = Nonce::from_random(random()?);
    let time = inner.clock.now();
    let greeting = ToAgent::Hello { versions: Versions::OURS, cluster: core.cluster(), nonce, time };
    out.send(Box::new(greeting)).await.map_err(|_| Cut::Lost("the connection ended"))?;
    let damaged = || Fault::Broken { what: "the vouch key of a host" };
    let key = PublicKey::from_openssh(&host.vouch_key).map_err(|_| damaged())?;
    let mut reader = VouchReader::new(TrustedKeys::one(key).map_err(|_| damaged())?, id, nonce);
    let signed = tokio::select! {
        signed = claims.recv() => signed.ok_or(Cut::Lost("the connection ended"))?,
        () = inner.clock.sleep_until(time.after(HELLO_WITHIN)) => return Err(Cut::Lost("no hello in time")),
    };
    let claim = open(&mut reader, &signed)?;
    let Claim::Hello(agent) = claim else {
        return refused(Code::Usage, "a hello comes first", "update elevate-agent");
    };
    // As it is now: meanwhile documents may have been issued and applied, or the host may have enrolled anew.
    let Some(host) = inner.store.glance().await?.host(id).await? else {
        return refused(Code::UnknownHost, "this host is not enrolled", "enrol it: elevate-agent enroll");
    };
    let version = fitting(&host, &agent)?;
    if !epochs::is_ours(core, &host, &agent).await? {
        return another_log(core, id, &agent, &out).await;
    }
    let skewed = is_skewed(agent.time, inner.clock.now());
    let next = record(core, &host, &agent, skewed).await?;
    let host = HostRow { sudo: Some(agent.sudo), ssh: Some(agent.ssh), ..host };
    let seat = inner.agents.enter(id, skewed);
    let serving = Serving {
        core: core.clone(),
        host,
        out,
        reader,
        seat,
        next,
        offered: None,
        unanswered: 0,
        question: None,
        asked: 0,
        talks: talks::Talks::new(),
        terms: None,
        certifying: Arc::default(),
    };
    // After the seat is taken: of a connection before this one no more than what it is recording can follow.
    let reported = inner.store.glance().await?.reported(id).await?;
    serving.say(ToAgent::Welcome { version, name: serving.host.name.clone(), reported }).await?;
    Ok(serving)
}

/// Whether two clocks are too far from each other for new grants.
pub(super) fn is_skewed(theirs: Timestamp, ours: Timestamp) -> bool {
    theirs.0.abs_diff(ours.0) > SKEW_MAX
}

/// The claim of the next vouch, or the end of the connection.
pub(super) fn open(reader: &mut VouchReader, signed: &SignedBody) -> Result<Claim, Cut> {
    reader.open(signed).map_err(|error| {
        Cut::Refused(Refusal::new(Code::Integrity, UntrustedText::lossy(&error.to_string()).escaped()))
    })
}

fn refused<T>(code: Code, message: &str, hint: &str) -> Result<T, Cut> {
    Err(Cut::Refused(Refusal::new(code, message).hint(hint)))
}

/// Says that a new epoch waits for the word of the host's root, and nothing more.
async fn another_log<T>(
    core: &Core,
    id: HostId,
    agent: &AgentHello,
    out: &mpsc::Sender<Box<ToAgent>>,
) -> Result<T, Cut> {
    let host = epochs::begin(core, id, agent).await?;
    core.inner().agents.has_to_wait(id, host.epoch);
    let inner = core.inner();
    let (_, signer) = inner.issuer().signer(&mut inner.store.glance().await?).await?;
    let said =
        NewEpoch { cluster: core.cluster(), host: host.id, nonce: agent.nonce, epoch: host.epoch }.to_text();
    let said = signer.sign(said, EPOCH_NAMESPACE).await.map_err(IssueError::from)?;
    out.send(Box::new(ToAgent::Epoch(said))).await.map_err(|_| Cut::Lost("the connection ended"))?;
    let hint = format!("root on the host says so: elevate-agent confirm-epoch {}", host.epoch);
    let message =
        "the host has applied another log than the daemon has: one of them was restored from a backup";
    refused(Code::Integrity, message, &hint)
}

/// Versions and id.
fn fitting(host: &HostRow, agent: &AgentHello) -> Result<u16, Cut> {
    let Some(version) = Versions::OURS.common(agent.versions) else {
        return refused(
            Code::Version,
            "this agent and the daemon speak no common version",
            "update the older one of the two",
        );
    };
    if agent.host != host.id {
        return refused(
            Code::Integrity,
            "the agent is of another host than the key of this connection",
            "enrol the host again",
        );
    }
    Ok(version)
}

/// Records the connection; says from which place on documents are sent: what was not acknowledged is sent again.
async fn record(core: &Core, host: &HostRow, agent: &AgentHello, skewed: bool) -> Result<u64, Cut> {
    let mut tx = core.inner().store.write().await?;
    tx.host_seen(host.id, Some(&agent.sudo)).await?;
    if host.ssh.as_ref() != Some(&agent.ssh) {
        tx.host_ssh(host.id, &agent.ssh).await?;
    }
    let recorded = flood::is_recorded(core, host, Came::Connected);
    if recorded {
        let kind = Kind::HostConnected {
            agent: UntrustedText::lossy(&agent.agent),
            sudo: agent.sudo.line().cloned(),
            place: agent.seq,
        };
        tx.record(voice(host).did(subject(host), kind)).await?;
    }
    if skewed && recorded {
        let kind = Kind::HostClockSkew { host_time: agent.time };
        tx.record(voice(host).did(subject(host), kind)).await?;
    }
    tx.await_ends_of(host.id, EXPIRY_TOLD_WITHIN).await?;
    let waiting = tx.first_unacknowledged(host.id, host.epoch).await?;
    tx.commit().await?;
    let after = agent.seq.saturating_add(1);
    Ok(waiting.map_or(after, |place| place.min(after)))
}
