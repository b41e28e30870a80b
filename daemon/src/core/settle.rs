//! Where an open request goes from here: the decision, made anew, becomes its state.
//!
//! In: an open activation. Out: the same in its new state, grants issued, events recorded. Decided again at every turn,
//! so that nothing starts on an approval or an eligibility that is gone (threat C06).

use elevate_audit::Kind;
use elevate_policy::{Decision, Policy};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;
use elevate_protocol::text::UntrustedText;

use super::Inner;
use super::facts::judge;
use super::fault::Fault;
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
            core.issuer.grant(tx, voice, permit, activation).await?;
            return Ok(decision);
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
