//! A request before it is recorded: its hosts, its accounts there, its digest.
//!
//! In: what was asked. Out: an [`Activation`] that is in no store yet, or the refusal.

use elevate_policy::{HostFacts, Policy, Request, request_digest, role_digest};
use elevate_protocol::digest::Digest;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::person::RequestAsk;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::State;
use elevate_protocol::name::Login;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use tokio::sync::broadcast::error::RecvError;

use super::able::able;
use super::dialogue::Dialogue;
use super::facts::host_facts;
use super::fault::{Told, refuse, refuse_hint};
use super::{Inner, Speaker, random};
use crate::issue::is_personal;
use crate::store::{Activation, HostPart, HostRow, Tx};

/// Requests of one person that may be open at a time.
const OPEN_MAX: usize = 20;
/// How long a connected host may take to say which accounts it has.
const ACCOUNTS_WITHIN: Span = Span(5);

/// Makes the draft of a request at the time of the transaction.
pub(super) async fn draft(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    talk: &Dialogue,
    (wanted, hosts): (&RequestAsk, &[HostRow]),
) -> Told<Activation> {
    let person = talk.person()?;
    let Some(entry) = policy.person(person) else {
        return refuse(Code::NotEligible, format!("{person} is not in the policy"));
    };
    bounded(tx, talk).await?;
    let id = ActivationId::from_random(random()?);
    tx.makes(id);
    let facts: Vec<HostFacts> = hosts.iter().map(host_facts).collect();
    let request = Request {
        cluster: core.store.cluster(),
        activation: id,
        person: person.clone(),
        role: wanted.role.clone(),
        hosts: facts,
        duration: wanted.duration,
        reason: wanted.reason.clone(),
        ticket: wanted.ticket.clone(),
        asked_at: tx.now(),
    };
    let digest = request_digest(&request)?;
    // Nobody eligible: the decision refuses and this draft is never recorded.
    let role_digest = role_digest(policy, &wanted.role, person)
        .unwrap_or_else(|| elevate_policy::RoleDigest::recorded(Digest::of(b"")));
    let duration = policy.role(&wanted.role).map_or(Span::ZERO, |role| role.duration);
    Ok(Activation {
        id,
        person: person.clone(),
        login: entry.login.clone(),
        role: wanted.role.clone(),
        hosts: hosts
            .iter()
            .map(|host| HostPart { id: host.id, name: host.name.clone(), uid: 0, lost: None })
            .collect(),
        asked: wanted.duration,
        duration: wanted.duration.unwrap_or(duration),
        reason: wanted.reason.clone(),
        ticket: wanted.ticket.clone(),
        asked_at: request.asked_at,
        lapses_at: request.asked_at,
        from: from(talk),
        digest,
        role_digest,
        factor_at: None,
        factor_for: None,
        denied: None,
        state: State::Pending,
        starts_at: None,
        ends_at: None,
        ends_at_most: None,
        lease: None,
        factor_at_use: false,
        ssh: None,
        granted_digest: None,
        extensions: 0,
        revision: 0,
    })
}

async fn bounded(tx: &mut Tx, talk: &Dialogue) -> Told<()> {
    let open = tx.open_of(talk.person()?).await?;
    if open >= OPEN_MAX {
        return refuse_hint(
            Code::Busy,
            format!("you have {open} open requests already"),
            "elevate requests --mine shows them; elevate cancel takes one back",
        );
    }
    Ok(())
}

/// Whether some host has yet to say which accounts it has.
fn owe_accounts(core: &Inner, hosts: &[HostRow]) -> bool {
    hosts.iter().any(|host| core.agents.owes_accounts(host.id))
}

/// Lets hosts that have just connected, or got other offers, say first which accounts they have.
pub(super) async fn accounts_told(core: &Inner, hosts: &[HostRow]) -> Told<()> {
    let mut changes = core.store.changes();
    let until = core.clock.now().after(ACCOUNTS_WITHIN);
    while owe_accounts(core, hosts) {
        tokio::select! {
            changed = changes.recv() => if let Err(RecvError::Closed) = changed {
                return refuse(Code::Unreachable, "the daemon is stopping");
            },
            () = core.clock.sleep_until(until) => return Ok(()),
        }
    }
    Ok(())
}

/// Finds the person's uid on each host. Through a host's door that host's kernel has just said it.
pub(super) async fn accounts(
    core: &Inner,
    tx: &mut Tx,
    talk: &Dialogue,
    activation: &mut Activation,
) -> Told<()> {
    let login = activation.login.clone();
    for host in &mut activation.hosts {
        let known = match &talk.speaker {
            Speaker::OnHost { host: here, uid, .. } if *here == host.id => Some(*uid),
            Speaker::OnHost { .. } | Speaker::Person { .. } | Speaker::Root { .. } => {
                tx.account(host.id, &login).await?
            }
        };
        host.uid = match known {
            Some(uid) if is_personal(uid) => uid,
            Some(uid) => {
                return refuse(Code::NotEligible, format!("uid {uid} on {} is a system account", host.name));
            }
            None => return no_account(core, &login, host),
        };
    }
    able(core, tx, activation).await?;
    clocks(core, activation)
}

/// No grant starts on a host whose time is not ours.
pub(super) fn clocks(core: &Inner, activation: &Activation) -> Told<()> {
    match activation.hosts.iter().find(|host| core.agents.is_skewed(host.id)) {
        None => Ok(()),
        Some(host) => refuse_hint(
            Code::Host,
            format!("the clocks of {} and the daemon differ by more than 60 s", host.name),
            "set the clock right there; no grant starts before",
        ),
    }
}

fn no_account(core: &Inner, login: &Login, host: &HostPart) -> Told<()> {
    let login = UntrustedText::lossy(login.as_str()).escaped();
    if core.agents.is_connected(host.id) {
        return refuse(Code::UnknownHost, format!("{login} has no account on {}", host.name));
    }
    refuse_hint(
        Code::Host,
        format!("{} has not said yet whether {login} has an account there, and is not connected", host.name),
        "try again when its agent is back",
    )
}

fn from(talk: &Dialogue) -> UntrustedText {
    match (&talk.speaker, &talk.here) {
        (_, Some(here)) => UntrustedText::lossy(here.name.as_str()),
        (Speaker::Person { address, .. }, None) => UntrustedText::lossy(&address.to_string()),
        (Speaker::Root { .. } | Speaker::OnHost { .. }, None) => UntrustedText::lossy("the daemon"),
    }
}
