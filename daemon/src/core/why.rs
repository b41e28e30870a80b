//! Why something is allowed or not, and whether a role could be activated.
//!
//! In: a command or a role. Out: the policy's own reasons. Nothing is decided or recorded.

use elevate_policy::{Explanation, HostFacts, Policy, Reason, can_i as ask_policy, explain};
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ExplanationView, ReasonView};
use elevate_protocol::name::{HostWord, Name};
use elevate_protocol::sudo::ARGS_MAX;

use super::Core;
use super::dialogue::Dialogue;
use super::facts::host_facts;
use super::fault::{Told, refuse, refuse_hint};
use super::host_names::called;
use super::locks::{self, Concern};
use super::view::short;
use crate::store::{LockRow, Tx};

pub(super) async fn why(
    core: &Core,
    talk: &Dialogue,
    host: Option<&HostWord>,
    argv: &[String],
) -> Told<Outcome> {
    if argv.is_empty() || argv.len() > ARGS_MAX {
        return refuse(Code::Usage, format!("a command has 1 to {ARGS_MAX} words"));
    }
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let policy = inner.policy();
    let Some(host) = host_of(&mut tx, (&policy, talk), host).await? else {
        return refuse_hint(Code::Usage, "on which host?", "elevate why HOST -- CMD");
    };
    let told = explain(&policy, talk.person()?, &host, argv, tx.now());
    let mut view = viewed(&told);
    // A grant that lives comes first: then the answer is to use it.
    for one in tx.live_of(talk.person()?).await? {
        let here = one.is_active() && one.hosts.iter().any(|part| part.id == host.id);
        if here && told.roles.contains(&one.role) {
            let name = short(&mut tx, one.id).await?;
            let run_as =
                policy.role(&one.role).and_then(|role| role.sudo()).map(|sudo| sudo.run_as().clone());
            let as_account = run_as.map_or(String::new(), |name| format!(" -u {name}"));
            view.hint = Some(format!("G-{name} is active: sudo{as_account} {}", argv.join(" ")));
        }
    }
    Ok(Outcome::Explanation(view))
}

pub(super) async fn can_i(
    core: &Core,
    talk: &Dialogue,
    role: &Name,
    host: Option<&HostWord>,
) -> Told<Outcome> {
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let policy = inner.policy();
    let host = host_of(&mut tx, (&policy, talk), host).await?;
    let hosts = host.iter().map(|host| &host.name).collect();
    let concern = Concern { person: Some(talk.person()?), role: Some(role), hosts };
    if let Some(lock) = locks::bar(&mut tx, &concern).await? {
        return Ok(Outcome::Explanation(locked(&lock)));
    }
    let told = ask_policy(&policy, talk.person()?, role, host.as_ref(), tx.now());
    Ok(Outcome::Explanation(viewed(&told)))
}

/// The host that is named, or this one; through a host's door no other.
async fn host_of(
    tx: &mut Tx,
    (policy, talk): (&Policy, &Dialogue),
    name: Option<&HostWord>,
) -> Told<Option<HostFacts>> {
    if let Some(here) = &talk.here {
        return match name {
            Some(other) if *other != here.name => refuse_hint(
                Code::WrongDoor,
                format!("through {} you can ask about {} only", here.name, here.name),
                "the same command on your own machine",
            ),
            Some(_) | None => Ok(Some(host_facts(here))),
        };
    }
    let Some(name) = name else { return Ok(None) };
    match called(tx, (policy, talk.person()?), name).await? {
        Some(row) => Ok(Some(host_facts(&row))),
        None => refuse(Code::UnknownHost, format!("no host {name} is enrolled")),
    }
}

fn viewed(told: &Explanation) -> ExplanationView {
    ExplanationView {
        yes: !told.roles.is_empty(),
        hint: told.hint(),
        reasons: told.reasons.iter().map(|(role, reason)| reasons(role.clone(), reason)).collect(),
    }
}

/// A lock stands before everything that the policy says.
pub(super) fn locked(lock: &LockRow) -> ExplanationView {
    let refusal = locks::refusal(lock);
    let reason = ReasonView { role: None, yes: false, text: refusal.message };
    ExplanationView { yes: false, hint: refusal.hint, reasons: vec![reason] }
}

/// One reason as it is shown.
pub(super) fn reasons(role: Option<Name>, reason: &Reason) -> ReasonView {
    ReasonView { role, yes: reason.speaks_for(), text: reason.to_string() }
}
