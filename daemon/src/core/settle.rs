//! Where an open request goes from here: the decision, made anew, becomes its state.
//!
//! In: an open activation. Out: the same in its new state, grants issued, events recorded. Decided again at every turn,
//! so that nothing starts on an approval or an eligibility that is gone (threat C06).

use elevate_audit::Kind;
use elevate_policy::{Decision, Permit, Policy};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;

use super::Inner;
use super::facts::judge;
use super::fault::Fault;
use super::locks::{self, Concern};
use crate::issue::about;
use crate::store::{Activation, Tx, Voice};

/// Whether a permit is used at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It is: the person asked, or an approver's word was the last thing missing.
    Now,
    /// It is not: only the policy changed, nobody said anything.
    Later,
}

/// What the policy does not know of, and no grant starts with.
enum Obstacle {
    /// A host's time is too far from ours.
    Clock,
    /// What signs is away.
    Key,
    /// It is locked: what was asked waits for the end of the lock.
    Lock,
    /// The person's account is not the one that was asked for.
    Account(String),
}

/// Looks at clocks and accounts at the start: since the request hours may have gone by (threat C11).
async fn in_the_way(
    core: &Inner,
    tx: &mut Tx,
    permit: &Permit,
    activation: &Activation,
) -> Result<Option<Obstacle>, Fault> {
    if locks::bar(tx, &Concern::of(activation)).await?.is_some() {
        return Ok(Some(Obstacle::Lock));
    }
    if *permit.login() != activation.login {
        let why = format!("the login of {} is another one since it was asked; ask again", activation.person);
        return Ok(Some(Obstacle::Account(why)));
    }
    for host in &activation.hosts {
        // None: the host was not asked about this login lately; it looks at its own accounts before it enforces.
        if let Some(uid) = tx.account(host.id, &activation.login).await?.filter(|uid| *uid != host.uid) {
            let (person, name, asked) = (&activation.person, &host.name, host.uid);
            let why =
                format!("{person} has uid {uid} on {name}, and had {asked} when it was asked; ask again");
            return Ok(Some(Obstacle::Account(why)));
        }
    }
    let skewed = activation.hosts.iter().any(|host| core.agents.is_skewed(host.id));
    // Without hosts, to administer, nothing is signed.
    let unsigned = !activation.hosts.is_empty() && core.issuer.is_away();
    Ok(if skewed { Some(Obstacle::Clock) } else { unsigned.then_some(Obstacle::Key) })
}

/// Decides and writes the outcome of an activation that is already in the store.
pub(super) async fn settle(
    core: &Inner,
    tx: &mut Tx,
    (voice, policy): (&Voice, &Policy),
    activation: &mut Activation,
    start: Start,
) -> Result<Decision, Fault> {
    let decision = judge(tx, policy, core.store.cluster(), activation).await?;
    let before = activation.state.clone();
    match &decision {
        Decision::Permit(permit) if start == Start::Now => {
            match in_the_way(core, tx, permit, activation).await? {
                None => {
                    core.issuer.grant(tx, voice, permit, activation).await?;
                    return Ok(decision);
                }
                // The clock may be set right, the key come back, the lock be lifted: it waits for its person.
                Some(Obstacle::Clock | Obstacle::Key | Obstacle::Lock) => activation.state = State::Approved,
                Some(Obstacle::Account(why)) => {
                    activation.state = State::Refused { reason: why.clone() };
                    let why = UntrustedText::lossy(&why);
                    tx.record(voice.did(about(activation), Kind::RequestRefused { why })).await?;
                }
            }
        }
        Decision::Permit(_) => activation.state = State::Approved,
        Decision::Pending(pending) => {
            activation.lapses_at = pending.lapses_at;
            activation.state = if pending.is_approved() { State::Approved } else { State::Pending };
        }
        Decision::Refuse(refusal) if refusal.code() == Code::Gone => {
            activation.state = State::Lapsed;
            tx.record(voice.did(about(activation), Kind::RequestLapsed {})).await?;
        }
        Decision::Refuse(refusal) => {
            activation.state = State::Refused { reason: refusal.to_string() };
            let why = UntrustedText::lossy(&refusal.to_string());
            tx.record(voice.did(about(activation), Kind::RequestRefused { why })).await?;
        }
    }
    if activation.state != before || start == Start::Now {
        tx.update_activation(activation).await?;
    }
    Ok(decision)
}
