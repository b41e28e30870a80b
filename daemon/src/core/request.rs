//! A person asks for a role: refused, challenged, recorded, followed until it is active or over.
//!
//! In: [`RequestAsk`]. Out: [`Outcome::Activation`]. Spec: docs/wire.md. The same ask again finds what is there (threat C13).

use elevate_audit::{Kind, Subject};
use elevate_policy::Decision;
use elevate_protocol::id::{ActivationId, IdPrefix};
use elevate_protocol::message::person::{Ask, Outcome, RequestAsk};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ExplanationView, State};
use elevate_protocol::text::UntrustedText;

use super::dialogue::{Demand, Dialogue, Proven, Recovery};
use super::facts::judge;
use super::fault::{Fault, Stop, Told, refuse, refuse_hint};
use super::locks::{self, Concern};
use super::settle::{Start, settle};
use super::view::host_list;
use super::why::{self, reasons};
use super::{Core, Inner, Speaker, able, choose, confirm, draft, end, keys};
use crate::issue::about;
use crate::store::{Activation, HostRow, Tx};

pub(super) async fn request(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    wanted: &RequestAsk,
) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let policy = inner.policy();
    let hosts = choose::hosts(&mut tx, &policy, talk, wanted).await?;
    if let Some(lock) = locks::bar(&mut tx, &concern(talk, wanted, &hosts)).await? {
        drop(tx);
        if wanted.dry_run {
            return Ok(Outcome::Explanation(why::locked(&lock)));
        }
        return locks::refused(inner, talk, subject(talk, wanted), ("request", &lock)).await;
    }
    if let Some(prefix) = &wanted.amends {
        amendable(&mut tx, talk, (wanted, prefix)).await?;
    } else if !wanted.dry_run
        && let Some(there) = covering(&mut tx, talk, wanted, &hosts).await?
    {
        drop(tx);
        return again(core, talk, ask, (there, wanted.wait)).await;
    }
    let mut activation = draft::draft(inner, &mut tx, &policy, talk, (wanted, &hosts)).await?;
    let decision = judge(&mut tx, &policy, inner.store.cluster(), &activation).await?;
    if wanted.dry_run {
        return Ok(Outcome::Explanation(explained(&decision)));
    }
    let (asks_factor, starts) = match decision {
        Decision::Refuse(refusal) => {
            drop(tx);
            return refused(inner, talk, &activation, &refusal).await;
        }
        Decision::Pending(pending) => (pending.factor, pending.is_approved()),
        Decision::Permit(_) => (false, true),
    };
    drop(tx);
    draft::accounts_told(inner, &hosts).await?;
    // Read anew also where nobody had to wait: what was read before may be older than the answer.
    let mut tx = inner.store.read().await?;
    draft::accounts(inner, &mut tx, talk, &mut activation).await?;
    drop(tx);
    if starts {
        keys::ready(inner, &activation).await?;
    }
    if asks_factor {
        let proven = talk.challenge(inner, demand(ask, &activation)).await?;
        take_factor(&mut activation, proven);
    }
    let id = record(inner, talk, (wanted, &hosts), activation).await?;
    confirm::follow(core, talk, ask, (id, wanted.wait)).await
}

/// The open request that another of the same role is to take the place of.
async fn amendable(
    tx: &mut Tx,
    talk: &Dialogue,
    (wanted, prefix): (&RequestAsk, &IdPrefix),
) -> Told<Activation> {
    let former = end::own_open(tx, talk, prefix).await?;
    choose::about_here_only(talk, &former)?;
    if former.role != wanted.role {
        return refuse_hint(
            Code::Usage,
            format!("that request is for {}: another role is another request", former.role),
            format!("elevate {}", wanted.role),
        );
    }
    Ok(former)
}

/// What a lock on this request may be on.
fn concern<'a>(talk: &'a Dialogue, wanted: &'a RequestAsk, hosts: &'a [HostRow]) -> Concern<'a> {
    let hosts = hosts.iter().map(|host| &host.name).collect();
    Concern { person: talk.person().ok(), role: Some(&wanted.role), hosts }
}

fn subject(talk: &Dialogue, wanted: &RequestAsk) -> Subject {
    let person = talk.person().ok().cloned();
    Subject { person, role: Some(wanted.role.clone()), ..Subject::default() }
}

fn demand<'a>(ask: &'a Ask, activation: &Activation) -> Demand<'a> {
    Demand {
        ask,
        bound_to: activation.digest,
        purpose: "request",
        what: format!("start {} on {}", activation.role, host_list(activation)),
        subject: about(activation),
        recovery: Recovery::Refused,
    }
}

fn take_factor(activation: &mut Activation, proven: Proven) {
    let proof = proven.proof();
    activation.factor_at = Some(proof.checked_at);
    activation.factor_for = Some(proof.bound_to);
}

/// The live activation of the same person and role that covers the hosts.
async fn covering(
    tx: &mut Tx,
    talk: &Dialogue,
    wanted: &RequestAsk,
    hosts: &[HostRow],
) -> Told<Option<ActivationId>> {
    let live = match hosts.first() {
        Some(host) => tx.live_on(talk.person()?, &wanted.role, host.id).await?,
        None => tx.live_of(talk.person()?).await?,
    };
    let now = tx.now();
    let covers = |one: &&Activation| {
        // Over by the clock is over, also before the timer has said so.
        let lives = one.is_open() || one.ends_at.is_some_and(|at| now < at);
        let there = hosts.iter().all(|host| one.hosts.iter().any(|part| part.id == host.id));
        lives && one.role == wanted.role && there
    };
    // An active one before an open one.
    let best = live.iter().filter(covers).max_by_key(|one| one.is_active());
    Ok(best.map(|one| one.id))
}

/// The same was asked before: no second effect, an event, and the same answer.
async fn again(
    core: &Core,
    talk: &mut Dialogue,
    ask: &Ask,
    (id, wait): (ActivationId, bool),
) -> Told<Outcome> {
    let mut tx = core.inner().store.write().await?;
    let there = tx.activation(id).await?.ok_or(Fault::Broken { what: "an activation just found" })?;
    let kind = Kind::Duplicate { what: UntrustedText::lossy("request") };
    tx.record(talk.voice.did(about(&there), kind)).await?;
    tx.commit().await?;
    confirm::follow(core, talk, ask, (id, wait)).await
}

async fn refused<T>(
    core: &Inner,
    talk: &Dialogue,
    activation: &Activation,
    refusal: &elevate_policy::Refusal,
) -> Told<T> {
    let mut tx = core.store.write().await?;
    let why = UntrustedText::lossy(&refusal.to_string());
    // The draft never was a request: the event names no id.
    let subject = Subject { activation: None, ..about(activation) };
    tx.record(talk.voice.did(subject, Kind::RequestRefused { why })).await?;
    tx.commit().await?;
    Err(Stop::Refuse(Refusal::from(refusal)))
}

/// Decides once more, with the factor, and records request and outcome together.
async fn record(
    core: &Inner,
    talk: &Dialogue,
    (wanted, hosts): (&RequestAsk, &[HostRow]),
    mut activation: Activation,
) -> Told<ActivationId> {
    let mut tx = core.store.write().await?;
    let policy = core.policy();
    locks::unlocked(&mut tx, talk, Some(&activation)).await?;
    let mut former = None;
    if let Some(prefix) = &wanted.amends {
        former = Some(amendable(&mut tx, talk, (wanted, prefix)).await?);
    } else if let Some(there) = covering(&mut tx, talk, wanted, hosts).await? {
        return Ok(there);
    }
    let lapses_at = match judge(&mut tx, &policy, core.store.cluster(), &activation).await? {
        Decision::Refuse(refusal) => {
            drop(tx);
            return refused(core, talk, &activation, &refusal).await;
        }
        Decision::Pending(pending) if pending.factor => {
            return refuse(Code::Factor, "the role asks for a second factor since a moment; ask again");
        }
        Decision::Pending(pending) => pending.lapses_at,
        Decision::Permit(_) => activation.asked_at.after(
            policy.role(&activation.role).map_or(elevate_protocol::time::Span::ZERO, |role| role.pending),
        ),
    };
    activation.lapses_at = lapses_at;
    if let Speaker::OnHost { host, login, uid, .. } = &talk.speaker {
        // The host's kernel has just said so: newer than what the host said of its accounts.
        tx.set_account(*host, login, *uid).await?;
    }
    if let Some(former) = &mut former {
        end::withdraw(&mut tx, talk, former).await?;
    }
    tx.insert_activation(&activation).await?;
    let kind = Kind::RequestCreated {
        hosts: activation.hosts.iter().map(|host| host.name.clone()).collect(),
        duration: activation.duration,
        reason: activation.reason.clone(),
        ticket: activation.ticket.clone(),
        digest: activation.digest,
        role_digest: activation.role_digest.digest(),
        lapses_at,
        amends: former.map(|former| former.id),
    };
    tx.record(talk.voice.did(about(&activation), kind)).await?;
    settle(core, &mut tx, (&talk.voice, &policy), &mut activation, Start::Now).await?;
    tx.commit().await?;
    Ok(activation.id)
}

/// Takes up waiting for a request, or starts it.
pub(super) async fn resume(core: &Core, talk: &mut Dialogue, ask: &Ask, prefix: &IdPrefix) -> Told<Outcome> {
    let mut tx = core.inner().store.read().await?;
    let mine = choose::own(&mut tx, talk, prefix).await?;
    drop(tx);
    confirm::follow(core, talk, ask, (mine.id, true)).await
}

/// Starts an approved request, with a fresh factor where the role asks for one.
pub(super) async fn start(core: &Inner, talk: &mut Dialogue, ask: &Ask, approved: &Activation) -> Told<()> {
    talk.stands(core)?;
    choose::about_here_only(talk, approved)?;
    draft::clocks(core, approved)?;
    locks::admit_about(core, talk, approved, "start").await?;
    let mut tx = core.store.read().await?;
    able::able(core, &mut tx, approved).await?;
    drop(tx);
    // Before a code is asked for, and outside of transactions: this may take seconds.
    keys::ready(core, approved).await?;
    let mut tx = core.store.read().await?;
    let decision = judge(&mut tx, &core.policy(), core.store.cluster(), approved).await?;
    drop(tx);
    let proven = match decision {
        Decision::Pending(pending) if pending.factor => {
            Some(talk.challenge(core, Demand { purpose: "start", ..demand(ask, approved) }).await?)
        }
        Decision::Pending(_) | Decision::Permit(_) | Decision::Refuse(_) => None,
    };
    let mut tx = core.store.write().await?;
    let policy = core.policy();
    let mut activation =
        tx.activation(approved.id).await?.ok_or(Fault::Broken { what: "an activation just shown" })?;
    if activation.state != State::Approved {
        return Ok(());
    }
    if let Some(proven) = proven {
        take_factor(&mut activation, proven);
    }
    settle(core, &mut tx, (&talk.voice, &policy), &mut activation, Start::Now).await?;
    tx.commit().await?;
    Ok(())
}

fn explained(decision: &Decision) -> ExplanationView {
    let (yes, hint) = match decision {
        Decision::Permit(_) | Decision::Pending(_) => (true, None),
        Decision::Refuse(refusal) => (false, refusal.because().hint()),
    };
    ExplanationView {
        yes,
        hint,
        reasons: decision.reasons().iter().map(|reason| reasons(None, reason)).collect(),
    }
}
