//! A person's certificate for SSH, under a grant that is there: asked for with one's own key, and again as long as the grant lives.
//!
//! In: [`CertificateAsk`]. Out: [`Outcome::Certificate`], after its event is durable. Nothing for what waits, is over, is another's or is
//! on another host. A code is asked for where the role wants one at every use: a certificate is one.

use elevate_policy::{Factor, Role};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::CertificateView;
use elevate_protocol::name::Name;
use elevate_protocol::person_key;

use super::dialogue::{Demand, Dialogue, Recovery};
use super::fault::{Fault, Told, refuse, refuse_hint};
use super::view::{host_list, short};
use super::{Core, cas, choose, locks};
use crate::issue::about;
use crate::issue::ca::Which;
use crate::issue::certificate::{CertificateError, Issued, Live, Opens};
use crate::log::chain;
use crate::store::{Activation, Tx};

pub(super) async fn certificate(
    core: &Core,
    talk: &mut Dialogue,
    (ask, wanted): (&Ask, &CertificateAsk),
) -> Told<Outcome> {
    let key = match person_key::parse(wanted.key.trim_end()) {
        Ok(key) => key,
        Err(error) => return told(CertificateError::Key(error)),
    };
    let (inner, person) = (core.inner(), talk.person()?.clone());
    // What is seen here only says what to sign: the change that records it looks at all of it again.
    let mut tx = inner.store.glance().await?;
    let seen = chosen(&mut tx, talk, wanted).await?;
    let short = short(&mut tx, seen.id).await?;
    drop(tx);
    let id = seen.id;
    let live = match asks_for_code(core, &seen) {
        false => Live::of(seen, &person, inner.clock.now()),
        true => {
            at_use(core, talk, (ask, &seen)).await?;
            Live::find(&mut inner.store.glance().await?, &person, id).await
        }
    };
    let live = match live {
        Ok(live) => live,
        Err(error) => return told(error),
    };
    let opens = opens(&live, wanted)?;
    let which = match &opens {
        Opens::Hosts => cas::known_to(inner, id).await?,
        // An export of before the last rotation knows this one.
        Opens::Accounts(_) => Which::Oldest,
    };
    let unrecorded = match inner.user_ca.certify((&live, &opens), key, (which, inner.clock.now())).await {
        Ok(unrecorded) => unrecorded,
        Err(error) => return told(error),
    };
    let mut tx = inner.store.write().await?;
    // An agent may take its time to sign: who asks may be nobody by now.
    talk.stands(inner)?;
    let issued = match unrecorded.record(&mut tx, &talk.voice, &person).await {
        Ok(issued) => issued,
        Err(error) => return told(error),
    };
    locks::unlocked(&mut tx, talk, Some(live.activation())).await?;
    tx.commit().await?;
    Ok(Outcome::Certificate(Box::new(view(&live, issued, short))))
}

/// What the certificate is to name. Accounts only where it is asked for, and where the role says so.
fn opens(live: &Live, wanted: &CertificateAsk) -> Told<Opens> {
    if !wanted.agentless {
        return Ok(Opens::Hosts);
    }
    if !live.is_agentless() {
        let role = &live.activation().role;
        return refuse_hint(
            Code::NotEligible,
            format!("{role} has no certificates for machines without agent: its ssh does not say agentless"),
            "enrol the machine, or ask who writes the policy",
        );
    }
    Ok(Opens::Accounts(match &wanted.login {
        Some(login) => vec![login.clone()],
        None => live.logins().to_vec(),
    }))
}

/// Whether the grant was made to ask for the second factor at every use, or its role does since.
fn asks_for_code(core: &Core, grant: &Activation) -> bool {
    let role_does = |role: &Role| role.factor == Factor::EveryUse;
    grant.factor_at_use || core.inner().policy().role(&grant.role).is_some_and(role_does)
}

/// The second factor.
async fn at_use(core: &Core, talk: &mut Dialogue, (ask, grant): (&Ask, &Activation)) -> Told<()> {
    let inner = core.inner();
    locks::unlocked(&mut inner.store.glance().await?, talk, Some(grant)).await?;
    let demand = Demand {
        ask,
        bound_to: ask.digest()?,
        purpose: "use",
        what: format!("log in by SSH with {} on {}", grant.role, host_list(grant)),
        subject: about(grant),
        recovery: Recovery::Refused,
    };
    talk.challenge(inner, demand).await.map(drop)
}

fn view(live: &Live, issued: Issued, short: String) -> CertificateView {
    let grant = live.activation();
    CertificateView {
        certificate: issued.certificate,
        id: grant.id,
        short,
        role: grant.role.clone(),
        hosts: grant.hosts.iter().filter(|host| host.lost.is_none()).map(|host| host.name.clone()).collect(),
        logins: live.logins().to_vec(),
        serial: issued.serial,
        fingerprint: issued.fingerprint,
        principals: issued.principals,
        valid_after: issued.valid_after,
        valid_before: issued.valid_before,
        ends_at: live.ends_at(),
    }
}

/// What the person is told. What is nobody's input goes to the log.
fn told<T>(error: CertificateError) -> Told<T> {
    let why = error.to_string();
    match error {
        CertificateError::Key(_) => refuse_hint(
            Code::Usage,
            why,
            "a fresh key, of this certificate alone: elevate cert -o FILE, without --key",
        ),
        CertificateError::Often => refuse_hint(Code::Busy, why, "use the one that you have until it is over"),
        CertificateError::Ended => refuse_hint(Code::Gone, why, "elevate status shows what is"),
        CertificateError::Sign(error) => {
            crate::log::error(&format!("no certificate can be signed: {}", chain(&error)));
            let message = "the daemon cannot sign certificates at the moment";
            refuse_hint(
                Code::Internal,
                message,
                "what stands behind keys.ssh_user_ca does not sign; its log says why",
            )
        }
        CertificateError::Own
        | CertificateError::Principals { .. }
        | CertificateError::KeyId
        | CertificateError::Kind
        | CertificateError::Validity
        | CertificateError::Option { .. }
        | CertificateError::Serial
        | CertificateError::NoKey
        | CertificateError::Form(_)
        | CertificateError::Random(_)
        | CertificateError::Store(_) => Err(Fault::from(error).into()),
    }
}

/// The person's own active grant that is asked for and opens SSH there.
async fn chosen(tx: &mut Tx, talk: &Dialogue, wanted: &CertificateAsk) -> Told<Activation> {
    if let Some(prefix) = &wanted.grant {
        return named(tx, talk, (prefix, wanted)).await;
    }
    let live = tx.live_of(talk.person()?).await?;
    let of_role = |one: &&Activation| wanted.role.as_ref().is_none_or(|role| one.role == *role);
    let mut fit = Vec::new();
    let mut why = None;
    for one in live.iter().filter(of_role) {
        match obstacle(one, wanted) {
            None => fit.push(one),
            // What is nearest to a certificate is what is told.
            Some(obstacle) if why.as_ref().is_none_or(|(_, other)| obstacle < *other) => {
                why = Some((one, obstacle));
            }
            Some(_) => {}
        }
    }
    match (fit.as_slice(), why) {
        ([only], _) => Ok((*only).clone()),
        ([], Some((one, obstacle))) => refused(tx, one, obstacle).await,
        ([], None) => refuse_hint(Code::Gone, "no grant of yours opens SSH there", request(wanted)),
        (several, _) => {
            let mut list = Vec::new();
            for one in several {
                list.push(format!("G-{} ({})", short(tx, one.id).await?, one.role));
            }
            refuse_hint(Code::Usage, "several of your grants fit; say which", list.join(", "))
        }
    }
}

async fn named(
    tx: &mut Tx,
    talk: &Dialogue,
    (prefix, wanted): (&IdPrefix, &CertificateAsk),
) -> Told<Activation> {
    let mine = choose::own(tx, talk, prefix).await?;
    match obstacle(&mine, wanted) {
        None => Ok(mine),
        Some(obstacle) => refused(tx, &mine, obstacle).await,
    }
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

fn obstacle<'a>(one: &Activation, wanted: &'a CertificateAsk) -> Option<Obstacle<'a>> {
    let there = |name: &Name| one.hosts.iter().any(|host| host.name == *name && host.lost.is_none());
    if !one.is_open() && !one.is_active() {
        return Some(Obstacle::Over);
    }
    if one.is_active() && one.ssh.is_none() {
        return Some(Obstacle::NoSsh);
    }
    if let Some(host) = wanted.host.as_ref().filter(|name| !there(name)) {
        return Some(Obstacle::Host(host));
    }
    let Some(ssh) = &one.ssh else { return Some(Obstacle::Waits) };
    let login = wanted.login.as_ref().filter(|name| !ssh.logins().contains(name));
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
