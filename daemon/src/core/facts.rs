//! From rows of the store to what the policy decides with.
//!
//! In: an activation. Out: [`Facts`]. Hosts are read anew each time: their labels are those of their enrolment.

use elevate_policy::{Decision, Facts, HostFacts, Policy, Request, decide};
use elevate_protocol::id::ClusterId;

use super::fault::Fault;
use crate::store::{Activation, HostRow, Tx};

/// A host as the policy looks at it.
pub(crate) fn host_facts(host: &HostRow) -> HostFacts {
    HostFacts { id: host.id, name: host.name.clone(), labels: host.labels.clone() }
}

/// The request of an activation, with its hosts as they are.
pub(super) async fn request_of(
    tx: &mut Tx,
    cluster: ClusterId,
    activation: &Activation,
) -> Result<Request, Fault> {
    let mut hosts = Vec::with_capacity(activation.hosts.len());
    for part in &activation.hosts {
        // A host that enrols anew takes everything of its predecessor to its end, so this one is there.
        let row = tx.host(part.id).await?.ok_or(Fault::Broken { what: "a host of a live activation" })?;
        hosts.push(host_facts(&row));
    }
    Ok(Request {
        cluster,
        activation: activation.id,
        person: activation.person.clone(),
        role: activation.role.clone(),
        hosts,
        duration: activation.asked,
        reason: activation.reason.clone(),
        ticket: activation.ticket.clone(),
        asked_at: activation.asked_at,
    })
}

/// Everything known of an activation.
pub(super) async fn facts_of(
    tx: &mut Tx,
    cluster: ClusterId,
    activation: &Activation,
) -> Result<Facts, Fault> {
    let mut approvals = Vec::new();
    for (approval, _) in tx.approvals(activation.id).await? {
        // Who was locked since has to say it again: it may have been somebody else (threat C06).
        if !tx.was_locked_since(&approval.approver, approval.at).await? {
            approvals.push(approval);
        }
    }
    Ok(Facts {
        request: request_of(tx, cluster, activation).await?,
        role_digest: activation.role_digest,
        factor: activation.factor(),
        approvals,
        denial: activation.denial(),
    })
}

/// What the policy says of an activation at the time of the transaction.
pub(super) async fn judge(
    tx: &mut Tx,
    policy: &Policy,
    cluster: ClusterId,
    activation: &Activation,
) -> Result<Decision, Fault> {
    let facts = facts_of(tx, cluster, activation).await?;
    Ok(decide(policy, &facts, tx.now()))
}
