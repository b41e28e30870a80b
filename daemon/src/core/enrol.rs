//! A new host: a token that an administrator made for it, two keys of its own, proof that it holds both.
//!
//! In: [`EnrolAsk`] over a connection that was authenticated with the link key. Out: who the host is and whom it trusts.
//! Threat H02: the token works once, for one name, for an hour at most, and is stored hashed.

use std::net::IpAddr;
use std::sync::PoisonError;

use elevate_audit::{Actor, Kind, Subject};
use elevate_protocol::document::EndCause;
use elevate_protocol::id::HostId;
use elevate_protocol::message::Versions;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply, Enrolled};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::State;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE};
use elevate_protocol::text::UntrustedText;
use ssh_key::{HashAlg, PublicKey};

use super::end::everything;
use super::fault::{Fault, Stop, Told, refuse, refuse_hint};
use super::mfa::token_hash;
use super::strangers::Entry;
use super::{Core, Inner, cas, host_names, random, replace, restore, room};
use crate::log::chain;
use crate::store::{Authority, HostRow, HostToken, Tx, Voice};

/// Longest key line.
const KEY_MAX: usize = 1024;

pub(super) async fn enrol(core: &Core, ask: EnrolAsk, link_key: &PublicKey, from: IpAddr) -> EnrolReply {
    let voice = Voice { actor: Actor::Unknown(from), door: None };
    match enrolled(core.inner(), &ask, link_key, &voice).await {
        Ok(enrolled) => EnrolReply::Enrolled(enrolled),
        Err(Stop::Refuse(refusal)) => {
            if let Err(fault) = record_refusal(core.inner(), (&voice, from), &refusal).await {
                crate::log::error(&chain(&fault));
            }
            EnrolReply::Refused(refusal)
        }
        Err(Stop::Fault(fault)) => EnrolReply::Refused(room::failed(core.inner(), &fault)),
        Err(Stop::Left) => EnrolReply::Refused(Refusal::new(Code::Internal, "the connection ended")),
    }
}

async fn record_refusal(
    core: &Inner,
    (voice, from): (&Voice, IpAddr),
    refusal: &Refusal,
) -> Result<(), Fault> {
    let why = match core.strangers.refused(from, core.clock.now()) {
        Entry::Record { left_out: 0 } => refusal.message.clone(),
        Entry::Record { left_out } => {
            format!("{} ({left_out} refusals before this one were not recorded)", refusal.message)
        }
        Entry::FirstLeftOut => {
            crate::log::warning(&format!("{from}: too many refused enrolments; not all are recorded"));
            return Ok(());
        }
        Entry::LeftOut => return Ok(()),
    };
    let mut tx = core.store.write().await?;
    let kind = Kind::HostEnrolRefused { why: UntrustedText::lossy(&why) };
    tx.record(voice.did(Subject::default(), kind)).await?;
    tx.commit().await?;
    Ok(())
}

async fn enrolled(core: &Inner, ask: &EnrolAsk, link_key: &PublicKey, voice: &Voice) -> Told<Enrolled> {
    if Versions::OURS.common(ask.versions).is_none() {
        return refuse(Code::Version, "this agent and the daemon speak no common version");
    }
    room::admit_new(core)?;
    let (link, vouch) = keys(ask, link_key)?;
    let mut tx = core.store.write().await?;
    let token = token(&mut tx, ask).await?;
    // The token may have been used since the backup.
    if restore::gate(&mut tx).await?.is_some() {
        return Err(Stop::Refuse(restore::refusal()));
    }
    if let Some(refusal) = replace::may(&mut tx, &token).await? {
        return Err(Stop::Refuse(refusal));
    }
    // Another host may have got one of its names since the invitation.
    host_names::fit(&mut tx, &token.name, (&token.names, &[])).await?;
    if !tx.burn_host_token(token.hash).await? {
        return bad_token();
    }
    let host = HostRow {
        id: HostId::from_random(random()?),
        name: token.name,
        labels: token.labels,
        names: token.names,
        link_fingerprint: link.fingerprint(HashAlg::Sha256).to_string(),
        link_key: line(&link)?,
        vouch_key: line(&vouch)?,
        enrolled_at: tx.now(),
        epoch: core.store.epoch(),
        issued: 0,
        reported: 0,
        seen_at: None,
        sudo: None,
        ssh: None,
        excused: false,
    };
    if core.policy().person_by_key(&link.fingerprint(HashAlg::Sha256)).is_some() {
        return refuse(Code::Integrity, "the link key is a person's key");
    }
    let before = take_place(core, &mut tx, &host).await?;
    tx.insert_host(&host).await?;
    record(&mut tx, voice, (&host, &vouch)).await?;
    // Before the commit: the first document that this host is told may be about the next key.
    let grant_signers = super::keys::signers(core, &mut tx).await?;
    let user_ca = cas::trusted(&mut tx, Authority::People).await?;
    let host_ca = cas::trusted(&mut tx, Authority::Hosts).await?;
    tx.touch_policy();
    tx.commit().await?;
    let_in(core, &host, &before);
    Ok(Enrolled {
        host: host.id,
        name: host.name,
        cluster: core.store.cluster(),
        epoch: host.epoch,
        grant_signers,
        user_ca,
        host_ca,
    })
}

/// The link key opens the door from now on, and those of the hosts before it do not.
fn let_in(core: &Inner, host: &HostRow, before: &[HostId]) {
    let mut known = core.link_keys.write().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, id| !before.contains(id));
    known.insert(host.link_fingerprint.clone(), host.id);
    drop(known);
    before.iter().for_each(|id| core.agents.drop_host(*id));
}

/// Both keys, of types that sign here, the link key that of the connection, the vouch key proven.
fn keys(ask: &EnrolAsk, link_key: &PublicKey) -> Told<(PublicKey, PublicKey)> {
    let parse = |text: &str| (text.len() <= KEY_MAX).then(|| PublicKey::from_openssh(text).ok()).flatten();
    let (Some(link), Some(vouch)) = (parse(&ask.link_key), parse(&ask.vouch_key)) else {
        return refuse(Code::Integrity, "a key of the host is not in OpenSSH's form");
    };
    if link.key_data() != link_key.key_data() {
        return refuse(Code::Integrity, "the link key is not the one of this connection");
    }
    if link.key_data() == vouch.key_data() {
        return refuse(Code::Integrity, "link key and vouch key are the same");
    }
    let Ok(trusted) = TrustedKeys::one(vouch.clone()) else {
        return refuse(Code::Integrity, "a vouch key is Ed25519");
    };
    let proof = SignedBody { body: ask.token.expose().to_owned(), signature: ask.vouch_proof.clone() };
    if proof.verify(&trusted, VOUCH_NAMESPACE).is_err() {
        return refuse(Code::Integrity, "the host did not prove that it holds its vouch key");
    }
    Ok((link, vouch))
}

async fn record(tx: &mut Tx, voice: &Voice, (host, vouch): (&HostRow, &PublicKey)) -> Result<(), Fault> {
    let kind = Kind::HostEnrolled {
        labels: host.labels.clone(),
        names: host.names.clone(),
        link_key: UntrustedText::lossy(&host.link_fingerprint),
        vouch_key: UntrustedText::lossy(&vouch.fingerprint(HashAlg::Sha256).to_string()),
    };
    let subject = Subject { host: Some(host.name.clone()), host_id: Some(host.id), ..Subject::default() };
    tx.record(voice.did(subject, kind)).await?;
    Ok(())
}

async fn token(tx: &mut Tx, ask: &EnrolAsk) -> Told<HostToken> {
    match tx.host_token(token_hash(&ask.token)).await? {
        Some(token) if token.used_at.is_none() && tx.now() < token.valid_until => Ok(token),
        Some(_) | None => bad_token(),
    }
}

/// One answer for unknown, used and expired: it says nothing about tokens.
fn bad_token<T>() -> Told<T> {
    refuse_hint(
        Code::NotEligible,
        "this enrolment token is not valid: unknown, used or expired",
        "on the daemon's machine: elevatectl host invite NAME",
    )
}

/// A host of the same name or link key that was there before gives way: its rights end, its key is nobody's.
async fn take_place(core: &Inner, tx: &mut Tx, host: &HostRow) -> Told<Vec<HostId>> {
    let before: Vec<HostId> = tx.hosts_alike(&host.name, &host.link_fingerprint).await?;
    if before.is_empty() {
        return Ok(before);
    }
    let why = UntrustedText::lossy(&format!("{} enrolled anew", host.name));
    for mut one in everything(tx).await? {
        if !one.hosts.iter().any(|part| before.contains(&part.id)) {
            continue;
        }
        if one.is_active() {
            core.issuer.end(tx, &Voice::DAEMON, (EndCause::NotEnforced, Some(&why)), &mut one).await?;
        } else {
            one.state = State::Refused { reason: why.escaped() };
            tx.update_activation(&one).await?;
            let kind = Kind::RequestRefused { why: why.clone() };
            tx.record(Voice::DAEMON.did(crate::issue::about(&one), kind)).await?;
        }
    }
    for id in &before {
        tx.retire_host(*id).await?;
    }
    Ok(before)
}

fn line(key: &PublicKey) -> Told<String> {
    let mut plain = key.clone();
    // Comments are free text of a stranger.
    plain.set_comment("");
    Ok(plain.to_openssh().map_err(|_| Fault::Broken { what: "a key that was just read" })?)
}
