//! Approvers decide: with their own key, their own factor, and never about their own request (threats C01, C06).
//!
//! In: [`Ask::Approve`], [`Ask::Deny`]. Out: the activation as it then is.

use elevate_audit::Kind;
use elevate_policy::{Policy, RecordedApproval, RoleDigest, may_decide, role_digest};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::text::UntrustedText;

use super::dialogue::{Demand, Dialogue, Recovery};
use super::facts::request_of;
use super::fault::{Fault, Stop, Told, refuse};
use super::settle::{Start, settle};
use super::view::{Documents, host_list, short, view};
use super::{Core, Inner, choose, keys, locks};
use crate::issue::about;
use crate::store::{Activation, Denied, Tx, Voice};

pub(super) async fn approve(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    (prefix, reason): (&IdPrefix, Option<&UntrustedText>),
) -> Told<Outcome> {
    let inner = core.inner();
    if let Some(shown) = approved_before(inner, talk, prefix).await? {
        return Ok(Outcome::Activation(Box::new(shown)));
    }
    let (seen, role) = review(inner, talk, ask, (prefix, "approve")).await?;
    if !seen.hosts.is_empty() {
        // With the key away it is approved, and starts when its person asks again with the key back.
        drop(keys::look(inner).await?);
    }
    let mut tx = inner.store.write().await?;
    let policy = inner.policy();
    let mut activation = still_open(inner, &mut tx, &policy, talk, &seen).await?;
    locks::unlocked(&mut tx, talk, Some(&activation)).await?;
    // What is approved is what was shown: request and role as they were before the code was asked for.
    if current_role(&policy, &activation)? != role {
        return refuse(Code::NotEligible, "the role changed while you decided; look at the request again");
    }
    let approver = talk.person()?.clone();
    let approval = RecordedApproval { approver, at: tx.now(), request: seen.digest, role };
    tx.set_approval(activation.id, &approval, reason).await?;
    let kind =
        Kind::RequestApproved { reason: reason.cloned(), digest: seen.digest, role_digest: role.digest() };
    tx.record(talk.voice.did(about(&activation), kind)).await?;
    settle(inner, &mut tx, (&Voice::DAEMON, &policy), &mut activation, Start::Now).await?;
    let shown = view(inner, &mut tx, &policy, &activation, Documents::Without).await?;
    tx.commit().await?;
    Ok(Outcome::Activation(Box::new(shown)))
}

/// The request, when this person's approval counts for it already: no second effect, an event, and the same answer.
async fn approved_before(core: &Inner, talk: &Dialogue, prefix: &IdPrefix) -> Told<Option<ActivationView>> {
    let mut tx = core.store.read().await?;
    let policy = core.policy();
    let seen = choose::named(&mut tx, prefix).await?;
    if !seen.is_open() {
        return Ok(None);
    }
    let shown = view(core, &mut tx, &policy, &seen, Documents::Without).await?;
    let person = talk.person()?;
    let counts = shown.needs.iter().flat_map(|need| &need.approved).any(|one| one.person == *person);
    if !counts {
        return Ok(None);
    }
    drop(tx);
    let mut tx = core.store.write().await?;
    let kind = Kind::Duplicate { what: UntrustedText::lossy("approval") };
    tx.record(talk.voice.did(about(&seen), kind)).await?;
    tx.commit().await?;
    Ok(Some(shown))
}

pub(super) async fn deny(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    (prefix, reason): (&IdPrefix, &UntrustedText),
) -> Told<Outcome> {
    let inner = core.inner();
    let (seen, _) = review(inner, talk, ask, (prefix, "deny")).await?;
    let mut tries = inner.store.tries();
    loop {
        match denied(inner, talk, &seen, reason).await {
            Err(Stop::Fault(fault)) if tries.again(&fault) => {}
            told => return told,
        }
    }
}

async fn denied(inner: &Inner, talk: &Dialogue, seen: &Activation, reason: &UntrustedText) -> Told<Outcome> {
    let mut tx = inner.store.write().await?;
    let policy = inner.policy();
    let mut activation = still_open(inner, &mut tx, &policy, talk, seen).await?;
    let by = talk.person()?.clone();
    activation.denied = Some(Denied { by: by.clone(), at: tx.now(), reason: reason.clone() });
    activation.state = State::Denied { by, reason: reason.clone() };
    tx.update_activation(&activation).await?;
    let kind = Kind::RequestDenied { reason: reason.clone() };
    tx.record(talk.voice.did(about(&activation), kind)).await?;
    let shown = view(inner, &mut tx, &policy, &activation, Documents::Without).await?;
    tx.commit().await?;
    Ok(Outcome::Activation(Box::new(shown)))
}

/// Finds the request, asks the policy whether this person may decide it, and asks for the factor.
async fn review(
    core: &Inner,
    talk: &mut Dialogue,
    ask: &Ask,
    (prefix, verb): (&IdPrefix, &'static str),
) -> Told<(Activation, RoleDigest)> {
    let mut tx = core.store.read().await?;
    let policy = core.policy();
    let seen = choose::named(&mut tx, prefix).await?;
    open(&mut tx, &seen).await?;
    let allowed = entitled(core, &mut tx, &policy, talk, &seen).await?;
    let name = short(&mut tx, seen.id).await?;
    drop(tx);
    if let Err(why) = allowed {
        return not_entitled(core, talk, &seen, &why).await;
    }
    if verb == "approve" {
        locks::admit_about(core, talk, &seen, verb).await?;
    }
    let role = current_role(&policy, &seen)?;
    let demand = Demand {
        ask,
        bound_to: seen.digest,
        purpose: verb,
        what: format!("{verb} R-{name}: {} on {} for {}", seen.role, host_list(&seen), seen.person),
        subject: about(&seen),
        recovery: Recovery::Refused,
    };
    talk.challenge(core, demand).await?;
    Ok((seen, role))
}

async fn entitled(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    talk: &Dialogue,
    activation: &Activation,
) -> Told<Result<(), elevate_policy::Reason>> {
    let request = request_of(tx, core.store.cluster(), activation).await?;
    Ok(may_decide(policy, talk.person()?, &request, tx.now()))
}

/// Recorded: somebody tried to decide what they may not, their own request too.
async fn not_entitled<T>(
    core: &Inner,
    talk: &Dialogue,
    activation: &Activation,
    why: &elevate_policy::Reason,
) -> Told<T> {
    let mut tx = core.store.write().await?;
    let kind = Kind::ReviewRefused { why: UntrustedText::lossy(&why.to_string()) };
    tx.record(talk.voice.did(about(activation), kind)).await?;
    tx.commit().await?;
    let refusal = Refusal::new(why.code().unwrap_or(Code::NotEligible), why.to_string());
    Err(Stop::Refuse(match why.hint() {
        Some(hint) => refusal.hint(hint),
        None => refusal,
    }))
}

async fn open(tx: &mut Tx, activation: &Activation) -> Told<()> {
    if activation.is_open() {
        return Ok(());
    }
    let name = short(tx, activation.id).await?;
    refuse(Code::Gone, format!("R-{name} waits for nobody: it is {}", activation.state.word()))
}

/// The same request after the factor, with the right to decide looked at once more.
async fn still_open(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    talk: &Dialogue,
    seen: &Activation,
) -> Told<Activation> {
    let now = tx.activation(seen.id).await?.ok_or(Fault::Broken { what: "a request just shown" })?;
    open(tx, &now).await?;
    locks::unlocked(tx, talk, None).await?;
    match entitled(core, tx, policy, talk, &now).await? {
        Ok(()) => Ok(now),
        Err(why) => refuse(Code::NotEligible, why.to_string()),
    }
}

fn current_role(policy: &Policy, activation: &Activation) -> Told<RoleDigest> {
    match role_digest(policy, &activation.role, &activation.person) {
        Some(digest) => Ok(digest),
        None => refuse(
            Code::NotEligible,
            format!("{} is no longer eligible for {}", activation.person, activation.role),
        ),
    }
}
