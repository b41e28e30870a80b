//! A person's certificate for SSH, under a grant that is there: asked for with one's own key, and again as long as the grant lives.
//!
//! In: [`CertificateAsk`]. Out: [`Outcome::Certificate`], after its event is durable. Nothing for what waits, is over, is another's or is
//! on another host. A code is asked for where the role wants one at every use: a certificate is one.

use elevate_policy::{Factor, Role};
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::CertificateView;
use elevate_protocol::person_key;

use super::certifiable::{Chosen, chosen};
use super::dialogue::{Demand, Dialogue, Recovery};
use super::fault::{Fault, Told, refuse_hint};
use super::view::host_list;
use super::{Core, Inner, cas, locks};
use crate::issue::about;
use crate::issue::ca::Which;
use crate::issue::certificate::{CertificateError, Issued, Live, Opens, Unrecorded};
use crate::log::chain;
use crate::store::{Activation, AsSeen};

pub(super) async fn certificate(
    core: &Core,
    talk: &mut Dialogue,
    (ask, wanted): (&Ask, &CertificateAsk),
) -> Told<Outcome> {
    let (inner, person) = (core.inner(), talk.person()?.clone());
    // What is seen here only says what to sign: the change that records it goes by it only where it is the same.
    let mut tx = inner.store.glance().await?;
    let standing = tx.standing_of(&person).await?;
    // As before every ask: on the way on which the rest was read it was seen whether anything is locked.
    if let Some(lock) = locks::barred(&mut tx, talk, ask).await? {
        drop(tx);
        return locks::keep_out(inner, talk, (ask, &lock)).await;
    }
    let key = match person_key::parse(wanted.key.trim_end()) {
        Ok(key) => key,
        Err(error) => return told(CertificateError::Key(error)),
    };
    let Chosen { grant, short, host, seen } =
        chosen(&mut tx, (&inner.policy(), talk), (wanted, &standing)).await?;
    drop(tx);
    let id = grant.id;
    let (live, seen, given) = match asks_for_code(inner, &grant) {
        false => (Live::of(grant, &person, inner.clock.now()), seen, Given::Nothing),
        true => {
            at_use(core, talk, (ask, &grant)).await?;
            (Live::find(&mut inner.store.glance().await?, &person, id).await, None, Given::Code)
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
    let issued = recorded(inner, talk, (&live, seen, given), &unrecorded).await?;
    let host = host.filter(|host| wanted.host.as_ref().is_some_and(|word| *word != *host));
    Ok(Outcome::Certificate(Box::new(CertificateView { host, ..view(&live, issued, short) })))
}

/// What the person gave for it, but for the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Nothing: nothing was asked for.
    Nothing,
    /// A code.
    Code,
}

/// Records it, durably, while the grant lives as it did and nothing bars it.
async fn recorded(
    inner: &Inner,
    talk: &Dialogue,
    (live, seen, given): (&Live, Option<AsSeen>, Given),
    unrecorded: &Unrecorded,
) -> Told<Issued> {
    if let Some(seen) = seen {
        let mut tx = inner.store.write().await?;
        // An agent may take its time to sign: who asks may be nobody by now, and the policy another.
        talk.stands(inner)?;
        enough(inner, live, given)?;
        let done = match unrecorded.record_under(&mut tx, &talk.voice, (live, &seen)).await {
            Ok(issued) => tx.commit().await.map(|()| issued).map_err(CertificateError::from),
            Err(error) => Err(error),
        };
        match done {
            // Something is another thing than it was; what, is looked at.
            Err(CertificateError::Store(error)) if error.is_otherwise() => {}
            Err(error) => return told(error),
            Ok(issued) => return Ok(issued),
        }
    }
    let mut tx = inner.store.write().await?;
    talk.stands(inner)?;
    let (grant, issued) = match unrecorded.record(&mut tx, &talk.voice, talk.person()?).await {
        Ok(recorded) => recorded,
        Err(error) => return told(error),
    };
    enough(inner, &grant, given)?;
    locks::unlocked(&mut tx, talk, Some(grant.activation())).await?;
    tx.commit().await?;
    Ok(issued)
}

/// Refuses where the policy asks for a code by now and none was given.
fn enough(inner: &Inner, live: &Live, given: Given) -> Told<()> {
    let grant = live.activation();
    if given == Given::Code || !asks_for_code(inner, grant) {
        return Ok(());
    }
    refuse_hint(
        Code::Factor,
        format!("the policy was changed meanwhile: {} takes a code for every certificate", grant.role),
        "ask again",
    )
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
fn asks_for_code(inner: &Inner, grant: &Activation) -> bool {
    let role_does = |role: &Role| role.factor == Factor::EveryUse;
    grant.factor_at_use || inner.policy().role(&grant.role).is_some_and(role_does)
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
        host: None,
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
                "an administrator sees why: sudo elevatectl key list, and the log of elevated",
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
