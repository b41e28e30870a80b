//! Which of a person's grants a certificate is to be under, or what stands between them and one.
//!
//! In: what was asked, what the person has. Out: [`Chosen`], or a refusal that says what to type.

use elevate_policy::Policy;
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::CertificateAsk;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::Name;

use super::choose;
use super::dialogue::Dialogue;
use super::facts::host_facts;
use super::fault::{Told, refuse, refuse_hint};
use super::host_names::{called, is_for};
use super::view::{short, short_beside};
use crate::store::{Activation, AsSeen, Standing, Tx};

/// What a certificate is to be under.
pub(super) struct Chosen {
    pub(super) grant: Activation,
    /// Its shortest name.
    pub(super) short: String,
    /// The host that was asked for.
    pub(super) host: Option<Name>,
    /// Where the row is the same and nothing is locked, everything that was found of it holds.
    pub(super) seen: Option<AsSeen>,
}

impl Chosen {
    fn of(one: &Standing, host: Option<Name>) -> Self {
        let Standing { activation, neighbours, seen } = one.clone();
        Self { short: short_beside(activation.id, &neighbours), host, grant: activation, seen }
    }
}

/// The person's own active grant that is asked for and opens SSH there, of those that stand.
pub(super) async fn chosen(
    tx: &mut Tx,
    (policy, talk): (&Policy, &Dialogue),
    (wanted, standing): (&CertificateAsk, &[Standing]),
) -> Told<Chosen> {
    let host = known(tx, (policy, talk.person()?), (wanted, standing)).await?;
    let sought = Sought { host: host.as_ref(), login: wanted.login.as_ref() };
    if let Some(prefix) = &wanted.grant {
        let grant = named(tx, talk, (prefix, sought)).await?;
        return Ok(Chosen { short: short(tx, grant.id).await?, host, grant, seen: None });
    }
    let of_role = |one: &&Standing| wanted.role.as_ref().is_none_or(|role| one.activation.role == *role);
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    for one in standing.iter().filter(of_role) {
        match obstacle(&one.activation, sought) {
            None => fit.push(one),
            Some(obstacle) => unfit.push((obstacle, &one.activation)),
        }
    }
    match fit.as_slice() {
        [only] => Ok(Chosen::of(only, host)),
        [] => none_fits(tx, (policy, wanted), (host.as_ref(), unfit)).await,
        several => {
            let mut list = Vec::new();
            for one in several {
                list.push(format!("G-{} ({})", Chosen::of(one, None).short, one.activation.role));
            }
            refuse_hint(Code::Usage, "several of your grants fit; say which", list.join(", "))
        }
    }
}

/// The host that is asked for. One that the person has no grant on and no role for is refused, with the same words whether there is one or
/// not.
async fn known(
    tx: &mut Tx,
    (policy, person): (&Policy, &Name),
    (wanted, standing): (&CertificateAsk, &[Standing]),
) -> Told<Option<Name>> {
    let Some(host) = &wanted.host else { return Ok(None) };
    let mut parts = standing.iter().flat_map(|one| &one.activation.hosts);
    if let Some(part) = parts.find(|part| *host == part.name) {
        return Ok(Some(part.name.clone()));
    }
    if let Some(row) = called(tx, (policy, person), host).await?
        && is_for(policy, (person, tx.now()), &row)
    {
        return Ok(Some(row.name));
    }
    refuse_hint(
        Code::UnknownHost,
        format!("there is no host {host} that you may ask for"),
        "elevate list --eligible shows your roles and their hosts",
    )
}

/// What is nearest to a certificate is what is told. A grant that is elsewhere says something only where its role is for that host.
async fn none_fits<T>(
    tx: &mut Tx,
    (policy, wanted): (&Policy, &CertificateAsk),
    (host, mut unfit): (Option<&Name>, Vec<(Obstacle<'_>, &Activation)>),
) -> Told<T> {
    if let Some(host) = host
        && let Some(row) = tx.host_named(host).await?
    {
        let facts = host_facts(&row);
        let is_for = |role: &Name| policy.role(role).is_some_and(|role| role.covers(&facts).is_ok());
        let may_be_elsewhere =
            |obstacle: &Obstacle<'_>| matches!(obstacle, Obstacle::Host(_) | Obstacle::NoSsh);
        unfit.retain(|(obstacle, one)| !may_be_elsewhere(obstacle) || is_for(&one.role));
    }
    match unfit.into_iter().min_by(|(one, _), (other, _)| one.cmp(other)) {
        Some((obstacle, one)) => refused(tx, one, obstacle).await,
        None => refuse_hint(Code::Gone, "no grant of yours opens SSH there", request(wanted)),
    }
}

async fn named(tx: &mut Tx, talk: &Dialogue, (prefix, sought): (&IdPrefix, Sought<'_>)) -> Told<Activation> {
    let mine = choose::own(tx, talk, prefix).await?;
    match obstacle(&mine, sought) {
        None => Ok(mine),
        Some(obstacle) => refused(tx, &mine, obstacle).await,
    }
}

/// The door that a certificate is to open.
#[derive(Debug, Clone, Copy)]
struct Sought<'a> {
    host: Option<&'a Name>,
    login: Option<&'a Name>,
}

/// Why a grant gives no certificate for what is asked, the nearest to one first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle<'a> {
    Waits,
    Login(&'a Name),
    Host(&'a Name),
    NoSsh,
    Over,
}

fn obstacle<'a>(one: &Activation, sought: Sought<'a>) -> Option<Obstacle<'a>> {
    let there = |name: &Name| one.hosts.iter().any(|host| host.name == *name && host.lost.is_none());
    if !one.is_open() && !one.is_active() {
        return Some(Obstacle::Over);
    }
    if one.is_active() && one.ssh.is_none() {
        return Some(Obstacle::NoSsh);
    }
    if let Some(host) = sought.host.filter(|name| !there(name)) {
        return Some(Obstacle::Host(host));
    }
    let Some(ssh) = &one.ssh else { return Some(Obstacle::Waits) };
    let login = sought.login.filter(|name| !ssh.logins().contains(name));
    login.map(Obstacle::Login)
}

async fn refused<T>(tx: &mut Tx, one: &Activation, obstacle: Obstacle<'_>) -> Told<T> {
    let (name, role) = (short(tx, one.id).await?, &one.role);
    match obstacle {
        Obstacle::Waits => refuse_hint(
            Code::Pending,
            format!("R-{name} ({role}) is {}: there is no grant yet", one.state.word()),
            format!("elevate R-{name}"),
        ),
        Obstacle::Over => refuse_hint(
            Code::Gone,
            format!("G-{name} ({role}) is {}", one.state.word()),
            format!("elevate {role}"),
        ),
        Obstacle::NoSsh => {
            refuse(Code::NotEligible, format!("G-{name} ({role}) opens no SSH: its role has no ssh"))
        }
        Obstacle::Host(host) => refuse_hint(
            Code::NotEligible,
            format!("G-{name} ({role}) is not in force on {host}"),
            format!("elevate {role} -H {host}"),
        ),
        Obstacle::Login(login) => {
            let logins: Vec<&str> = one.ssh.iter().flat_map(|ssh| ssh.logins()).map(Name::as_str).collect();
            refuse_hint(
                Code::NotEligible,
                format!("G-{name} ({role}) does not open the account {login}"),
                format!("it opens {}", logins.join(", ")),
            )
        }
    }
}

/// What to type for a grant.
fn request(wanted: &CertificateAsk) -> String {
    let host = wanted.host.as_ref().map(|host| format!(" -H {host}")).unwrap_or_default();
    match &wanted.role {
        Some(role) => format!("elevate {role}{host}"),
        None => "elevate list --eligible shows your roles; then elevate ROLE".to_owned(),
    }
}
