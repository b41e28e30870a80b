//! The names of a host beside its own, which stand in its certificates: given with the invitation or later, never by the host.
//!
//! In: an administrator's word. Out: names, an event; what certificates say; the host that somebody calls by one. A managed name is its
//! own host's alone (threat E19).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use elevate_audit::{Kind, Subject};
use elevate_policy::{Policy, eligible_roles};
use elevate_protocol::host_ssh::{HostName, HostNames};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::{HostWord, Name};
use elevate_protocol::time::Timestamp;

use super::Inner;
use super::dialogue::Dialogue;
use super::facts::host_facts;
use super::fault::{Fault, Told, refuse, refuse_hint};
use crate::store::{HostRow, Tx};

/// The host that is called so, where it is another one.
async fn other_of(tx: &mut Tx, own: &Name, name: &HostName) -> Result<Option<Name>, Fault> {
    match name.as_str().parse::<Name>() {
        Ok(name) if name != *own => Ok(tx.host_named(&name).await?.map(|host| host.name)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The first part of a name of DNS: how a host is called where names are short.
fn first_part(name: &HostName) -> Option<HostName> {
    let (first, _) = name.as_str().split_once('.')?;
    if name.as_str().parse::<IpAddr>().is_ok() { None } else { first.parse().ok() }
}

/// The other host whose name this is: it is called so, or so up to the first dot, or it was given this name.
async fn taken_by(tx: &mut Tx, own: &Name, name: &HostName) -> Result<Option<Name>, Fault> {
    for called in std::iter::once(name.clone()).chain(first_part(name)) {
        if let Some(other) = other_of(tx, own, &called).await? {
            return Ok(Some(other));
        }
    }
    let has_it = |host: &HostRow| host.name != *own && host.names.contains(name);
    Ok(tx.hosts().await?.into_iter().find(has_it).map(|host| host.name))
}

/// What a host's certificates say at this moment; none: its own name is none that ssh looks for.
///
/// # Errors
/// A [`Fault`] of the store.
pub(crate) async fn certified(tx: &mut Tx, host: &HostRow) -> Result<Option<HostNames>, Fault> {
    let mut others = Vec::new();
    for name in &host.names {
        // A host may have enrolled under it since: it is that host's from then on.
        if other_of(tx, &host.name, name).await?.is_none() {
            others.push(name.clone());
        }
    }
    Ok(HostNames::of(&host.name, &others).ok())
}

/// Looks whether a host can have these names beside its own, of which it has `had` some.
pub(super) async fn fit(tx: &mut Tx, own: &Name, (names, had): (&[HostName], &[HostName])) -> Told<()> {
    for name in names.iter().filter(|name| !had.contains(name)) {
        if let Some(other) = taken_by(tx, own, name).await? {
            return refuse_hint(
                Code::Usage,
                format!("{name} is the host {other}"),
                format!("a name that {other} was given: elevatectl host name {other} {name}- takes it away"),
            );
        }
    }
    match HostNames::of(own, names) {
        // A name that ssh cannot look for is no reason to refuse a host that asks for no others.
        Err(_) if names.is_empty() => Ok(()),
        Err(error) => refuse(Code::Usage, error.to_string()),
        Ok(_) => Ok(()),
    }
}

/// The further names by which hosts are found: none that another host is called, and none that two were given.
pub(super) fn leading(hosts: &[HostRow]) -> BTreeMap<&HostName, &HostRow> {
    let managed: BTreeSet<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let mut found: BTreeMap<&HostName, Vec<&HostRow>> = BTreeMap::new();
    for host in hosts {
        for name in host.names.iter().filter(|name| !managed.contains(name.as_str())) {
            found.entry(name).or_default().push(host);
        }
    }
    found.retain(|_, hosts| hosts.len() == 1);
    found.into_iter().filter_map(|(name, hosts)| Some((name, *hosts.first()?))).collect()
}

/// The same names, of each host by its own.
pub(super) fn beside(hosts: &[HostRow]) -> BTreeMap<&Name, Vec<HostName>> {
    let mut found: BTreeMap<&Name, Vec<HostName>> = BTreeMap::new();
    for (name, host) in leading(hosts) {
        found.entry(&host.name).or_default().push(name.clone());
    }
    found
}

/// The host that somebody calls so. By a further name only where a role of theirs is for it: nobody else learns which host an address is.
pub(super) async fn called(
    tx: &mut Tx,
    (policy, person): (&Policy, &Name),
    word: &HostWord,
) -> Result<Option<HostRow>, Fault> {
    if let Ok(name) = word.as_str().parse::<Name>()
        && let Some(host) = tx.host_named(&name).await?
    {
        return Ok(Some(host));
    }
    let Ok(name) = word.as_str().parse::<HostName>() else { return Ok(None) };
    let hosts = tx.hosts().await?;
    let host = leading(&hosts).get(&name).map(|host| (*host).clone());
    Ok(host.filter(|host| is_for(policy, (person, tx.now()), host)))
}

/// Whether a role that the person may activate is for this host.
pub(super) fn is_for(policy: &Policy, (person, now): (&Name, Timestamp), host: &HostRow) -> bool {
    let facts = host_facts(host);
    eligible_roles(policy, person, now).iter().any(|eligible| eligible.role.covers(&facts).is_ok())
}

pub(super) async fn change(
    core: &Inner,
    talk: &Dialogue,
    name: &Name,
    (add, remove): (&[HostName], &[HostName]),
) -> Told<()> {
    let mut tx = core.store.write().await?;
    let Some(host) = tx.host_named(name).await? else {
        return refuse(Code::UnknownHost, format!("{name} is not enrolled"));
    };
    let mut names = host.names.clone();
    for gone in remove {
        if !names.contains(gone) {
            return refuse(Code::Usage, format!("{name} has no name {gone} that could be taken away"));
        }
        names.retain(|one| one != gone);
    }
    for new in add.iter().filter(|new| new.as_str() != name.as_str()) {
        if !names.contains(new) {
            names.push(new.clone());
        }
    }
    fit(&mut tx, name, (&names, &host.names)).await?;
    if names == host.names {
        return Ok(());
    }
    tx.set_names(host.id, &names).await?;
    let subject = Subject { host: Some(name.clone()), host_id: Some(host.id), ..Subject::default() };
    tx.record(talk.voice.did(subject, Kind::HostNamed { names })).await?;
    tx.commit().await?;
    // Its connection knows the names before; the next one, in a moment, the new ones.
    core.agents.drop_host(host.id);
    Ok(())
}
