//! An activation and its surroundings as they are shown.
//!
//! In: rows, the policy, who is connected. Out: views. Nothing is decided here.

use std::collections::BTreeMap;

use elevate_policy::{Decision, Need, Policy, needs};
use elevate_protocol::host_ssh::HostName;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::view::{
    ActivationHostView, ActivationView, ApprovedView, ChangeView, EligibilityView, HostState, NeedView,
    PersonView,
};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;

use super::Inner;
use super::facts::{host_facts, judge};
use super::fault::Fault;
use crate::store::{Activation, HostRow, StoreError, StoredDocument, Tx};

/// Whether a view carries the signed documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Documents {
    /// It does.
    With,
    /// It does not.
    Without,
}

/// Fewest letters of a short id.
const SHORT_MIN: usize = 4;

/// The fewest letters, at least four, that name an activation among all.
pub(super) async fn short(tx: &mut Tx, id: ActivationId) -> Result<String, StoreError> {
    Ok(short_beside(id, &tx.neighbours(id).await?))
}

/// The same of one whose neighbours in the order of ids are known.
pub(super) fn short_beside(id: ActivationId, neighbours: &[ActivationId]) -> String {
    let full = id.to_string();
    let shared = |other: &ActivationId| {
        full.chars().zip(other.to_string().chars()).take_while(|(own, their)| own == their).count()
    };
    let most = neighbours.iter().map(shared).max().map_or(0, |same| same.saturating_add(1));
    full.chars().take(most.max(SHORT_MIN)).collect()
}

/// One activation.
pub(super) async fn view(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    activation: &Activation,
    documents: Documents,
) -> Result<ActivationView, Fault> {
    let role = policy.role(&activation.role);
    // What was granted stays what it was, whatever the role says since.
    let promised = role.and_then(|role| role.ssh()).filter(|_| activation.granted_digest.is_none());
    let ssh = activation.ssh.as_ref().or(promised);
    Ok(ActivationView {
        id: activation.id,
        short: short(tx, activation.id).await?,
        person: activation.person.clone(),
        role: activation.role.clone(),
        title: role.and_then(|role| role.title.clone()),
        allows: role.map_or_else(|| "the role is gone".to_owned(), elevate_policy::Role::allows_summary),
        run_as: role.and_then(|role| role.sudo()).map(|sudo| sudo.run_as().clone()),
        logins: ssh.map(|ssh| ssh.logins().to_vec()).unwrap_or_default(),
        factor_at_use: role.is_some_and(|role| role.factor == elevate_policy::Factor::EveryUse),
        state: activation.state.clone(),
        hosts: hosts(core, tx, activation, documents).await?,
        duration: activation.duration,
        reason: activation.reason.clone(),
        ticket: activation.ticket.clone(),
        asked_at: activation.asked_at,
        lapses_at: activation.lapses_at,
        factor_at: activation.factor_at,
        from: activation.from.clone(),
        needs: activation_needs(core, tx, policy, activation).await?,
        digest: activation.digest,
        starts_at: activation.starts_at,
        ends_at: activation.ends_at,
        ends_at_most: activation.ends_at_most,
        extensions: activation.extensions,
    })
}

/// Several.
pub(super) async fn views<'a>(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    list: impl IntoIterator<Item = &'a Activation>,
) -> Result<Vec<ActivationView>, Fault> {
    let mut found = Vec::new();
    for one in list {
        found.push(view(core, tx, policy, one, Documents::Without).await?);
    }
    Ok(found)
}

async fn hosts(
    core: &Inner,
    tx: &mut Tx,
    activation: &Activation,
    documents: Documents,
) -> Result<Vec<ActivationHostView>, Fault> {
    let issued = tx.documents_of(activation.id).await?;
    let mut found = Vec::new();
    for part in &activation.hosts {
        let own: Vec<&StoredDocument> = issued.iter().filter(|document| document.host == part.id).collect();
        // What a host refused stays what it says, also after the end that followed.
        let refused = own.iter().rev().find_map(|document| document.refused.clone());
        let state = match (refused, part.lost, own.last()) {
            (Some(why), _, _) => HostState::Refused { why },
            (None, Some(cause), _) => HostState::Ended { cause },
            (None, None, last) => standing(core, tx, part.id, last.copied()).await?,
        };
        let documents = match documents {
            Documents::With => own.into_iter().filter_map(StoredDocument::signed).collect(),
            Documents::Without => Vec::new(),
        };
        found.push(ActivationHostView { name: part.name.clone(), state, documents });
    }
    Ok(found)
}

/// Where the latest document stands on a host that refused none.
async fn standing(
    core: &Inner,
    tx: &mut Tx,
    host: HostId,
    last: Option<&StoredDocument>,
) -> Result<HostState, Fault> {
    match last {
        None => Ok(HostState::None),
        Some(StoredDocument { acked_at: Some(_), .. }) => Ok(HostState::Confirmed),
        Some(StoredDocument { signature: None, .. }) if core.issuer.is_away() => Ok(HostState::Unsigned),
        Some(_) if core.agents.is_connected(host) => Ok(HostState::Sent),
        Some(_) => Ok(HostState::Offline { since: tx.host(host).await?.and_then(|found| found.seen_at) }),
    }
}

/// While it is open the decision says what counts; afterwards the rules of today are shown beside what was given.
async fn activation_needs(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    activation: &Activation,
) -> Result<Vec<NeedView>, Fault> {
    let recorded = tx.approvals(activation.id).await?;
    let said = |need: &Need, counted: bool| NeedView {
        need: need.need,
        of: need.of.clone(),
        approved: recorded
            .iter()
            .filter(|(approval, _)| {
                let inside = need.approved.iter().any(|seat| seat.person == approval.approver);
                inside || (!counted && need.of.contains(&approval.approver))
            })
            .map(|(approval, reason)| ApprovedView {
                person: approval.approver.clone(),
                at: approval.at,
                reason: reason.clone(),
            })
            .collect(),
    };
    if activation.is_open()
        && let Decision::Pending(pending) = judge(tx, policy, core.store.cluster(), activation).await?
    {
        return Ok(pending.needs.iter().map(|need| said(need, true)).collect());
    }
    let rules = needs(policy, &activation.role, &activation.person, tx.now());
    Ok(rules.iter().map(|need| said(need, false)).collect())
}

/// A role that may be activated, with its hosts among those given, and what each of them is called beside its own name.
pub(super) fn eligibility(
    eligible: &elevate_policy::EligibleRole<'_>,
    (hosts, names): (&[HostRow], &BTreeMap<&Name, Vec<HostName>>),
) -> EligibilityView {
    let role = eligible.role;
    let able = |host: &&HostRow| super::enforces(host, role);
    let within = hosts.iter().filter(|host| role.covers(&host_facts(host)).is_ok()).filter(able);
    let hosts: Vec<Name> = within.map(|host| host.name.clone()).collect();
    let names = hosts.iter().filter_map(|host| Some((host.clone(), names.get(host)?.clone()))).collect();
    EligibilityView {
        role: role.name.clone(),
        title: role.title.clone(),
        allows: role.allows_summary(),
        hosts,
        names,
        logins: role.ssh().map(|ssh| ssh.logins().to_vec()).unwrap_or_default(),
        duration: role.duration,
        max: role.max,
        reason: role.reason == elevate_policy::ReasonRule::Required,
        ticket: role.ticket.as_ref().map(|rule| rule.pattern.as_str().to_owned()),
        factor: role.factor != elevate_policy::Factor::None,
        needs: eligible
            .needs
            .iter()
            .map(|need| NeedView { need: need.need, of: need.of.clone(), approved: Vec::new() })
            .collect(),
        until: eligible.until,
    }
}

/// A person as administrators see them.
pub(super) async fn person(
    tx: &mut Tx,
    person: &elevate_policy::Person,
    waiting: Vec<ChangeView>,
) -> Result<PersonView, StoreError> {
    Ok(PersonView {
        person: person.name.clone(),
        login: UntrustedText::lossy(person.login.as_str()).escaped(),
        keys: person.keys.iter().map(|key| key.fingerprint.to_string()).collect(),
        factor: tx.factor(&person.name).await?.is_some(),
        invited: tx.is_invited(&person.name).await?,
        waiting,
        until: person.until,
    })
}

/// The names of hosts as people read them.
pub(super) fn host_list(activation: &Activation) -> String {
    if activation.hosts.is_empty() {
        return "the daemon".to_owned();
    }
    activation.hosts.iter().map(|host| host.name.to_string()).collect::<Vec<_>>().join(",")
}
