//! What a person's words name: hosts, one activation among all, one's own grant.
//!
//! In: names and prefixes as typed. Out: rows, or a refusal that says what to type. One who may not see something is told
//! that it is not there.

use elevate_policy::{Policy, eligible_roles};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::RequestAsk;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::Name;

use super::dialogue::Dialogue;
use super::facts::host_facts;
use super::fault::{Told, refuse, refuse_hint};
use super::host_names::called;
use super::view::short;
use crate::store::{Activation, HostRow, Tx};

/// Most hosts of one request.
const HOSTS_MAX: usize = 64;

/// The hosts of a request: named, or this one, or the only one that the role has.
pub(super) async fn hosts(
    tx: &mut Tx,
    policy: &Policy,
    talk: &Dialogue,
    wanted: &RequestAsk,
) -> Told<Vec<HostRow>> {
    // To administer is no right on any host: it has none, and no host vouches for who asks.
    let administers = policy.role(&wanted.role).is_some_and(|role| !role.is_for_hosts());
    if administers && talk.here.is_some() {
        return refuse_hint(
            Code::WrongDoor,
            format!(
                "{} administers Elevate: it is activated with your own key, never through a host",
                wanted.role
            ),
            format!("from your own machine: elevate {}", wanted.role),
        );
    }
    if administers && wanted.hosts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(here) = &talk.here {
        if wanted.hosts.iter().any(|name| *name != here.name) {
            return refuse_hint(
                Code::WrongDoor,
                format!("through {} you can ask for {} only", here.name, here.name),
                "for other hosts: the same command on your own machine, with your own key",
            );
        }
        return Ok(vec![here.clone()]);
    }
    if wanted.hosts.len() > HOSTS_MAX {
        return refuse(Code::Usage, format!("at most {HOSTS_MAX} hosts in one request"));
    }
    if wanted.hosts.is_empty() {
        return the_only_host(tx, policy, talk.person()?, &wanted.role).await;
    }
    let mut found: Vec<HostRow> = Vec::new();
    for name in &wanted.hosts {
        match called(tx, (policy, talk.person()?), name).await? {
            Some(row) if !found.iter().any(|other| other.id == row.id) => found.push(row),
            Some(_) => {}
            None => {
                return refuse_hint(
                    Code::UnknownHost,
                    format!("no host {name} is enrolled"),
                    "elevate list shows roles and hosts",
                );
            }
        }
    }
    Ok(found)
}

async fn the_only_host(tx: &mut Tx, policy: &Policy, person: &Name, role: &Name) -> Told<Vec<HostRow>> {
    let now = tx.now();
    let mine = eligible_roles(policy, person, now);
    let Some(eligible) = mine.iter().find(|eligible| eligible.role.name == *role) else {
        // The decision says why, with any host; without one there is nothing to decide about.
        return tx
            .hosts()
            .await?
            .into_iter()
            .next()
            .map(|host| vec![host])
            .map_or_else(|| refuse(Code::UnknownHost, "no host is enrolled yet"), Ok);
    };
    let hosts = tx.hosts().await?;
    let mut within = hosts.into_iter().filter(|host| eligible.role.covers(&host_facts(host)).is_ok());
    match (within.next(), within.next()) {
        (Some(only), None) => Ok(vec![only]),
        (None, _) => refuse(Code::UnknownHost, format!("no enrolled host is in the scope of {role}")),
        (Some(first), Some(second)) => refuse_hint(
            Code::Usage,
            format!("{role} has several hosts: say which"),
            format!("elevate {role} -H {}   or -H {}   (elevate list shows all)", first.name, second.name),
        ),
    }
}

/// The activation that a prefix names among all.
pub(super) async fn named(tx: &mut Tx, prefix: &IdPrefix) -> Told<Activation> {
    let mut found = tx.activations_named(prefix).await?;
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only),
        (None, _) => gone(prefix),
        (Some(_), Some(_)) => {
            refuse(Code::Usage, format!("{} names more than one; write more letters", prefix.letters()))
        }
    }
}

/// One's own activation, seen through this door.
pub(super) async fn own(tx: &mut Tx, talk: &Dialogue, prefix: &IdPrefix) -> Told<Activation> {
    let person = talk.person()?;
    match named(tx, prefix).await? {
        mine if mine.person == *person && seen_here(talk, &mine) => Ok(mine),
        _ => gone(prefix),
    }
}

/// One's own active grant: named, or the only one.
pub(super) async fn own_active(tx: &mut Tx, talk: &Dialogue, prefix: Option<&IdPrefix>) -> Told<Activation> {
    if let Some(prefix) = prefix {
        let mine = own(tx, talk, prefix).await?;
        return if mine.is_active() { Ok(mine) } else { over(tx, &mine).await };
    }
    let person = talk.person()?.clone();
    let mut active: Vec<Activation> = tx.live_of(&person).await?;
    active.retain(|one| one.is_active() && seen_here(talk, one));
    match active.as_slice() {
        [only] => Ok(only.clone()),
        [] => refuse(Code::Gone, "you have no active grant here"),
        several => {
            let mut list = Vec::new();
            for one in several {
                list.push(format!("G-{} ({})", short(tx, one.id).await?, one.role));
            }
            refuse_hint(Code::Usage, "you have several active grants; say which", list.join(", "))
        }
    }
}

/// Whether this door shows an activation: a host's door those that are about that host.
pub(super) fn seen_here(talk: &Dialogue, activation: &Activation) -> bool {
    talk.here.as_ref().is_none_or(|here| activation.hosts.iter().any(|host| host.id == here.id))
}

/// A host's door widens rights on that host only.
pub(super) fn about_here_only(talk: &Dialogue, activation: &Activation) -> Told<()> {
    let Some(here) = &talk.here else { return Ok(()) };
    if !activation.hosts.is_empty() && activation.hosts.iter().all(|host| host.id == here.id) {
        return Ok(());
    }
    refuse_hint(
        Code::WrongDoor,
        format!("this is about more hosts than {}", here.name),
        "the same command on your own machine, with your own key",
    )
}

fn gone<T>(prefix: &IdPrefix) -> Told<T> {
    refuse_hint(
        Code::Gone,
        format!("no request or grant {} that you may see", prefix.letters()),
        "elevate status shows yours",
    )
}

async fn over<T>(tx: &mut Tx, activation: &Activation) -> Told<T> {
    let name = short(tx, activation.id).await?;
    refuse(Code::Gone, format!("G-{name} is not active"))
}
