//! One-time tokens: for a host to enrol, for a person to enrol a factor. Handed out once as a paste string, kept hashed.
//!
//! In: an administrator's word. Out: the line. Threat H02: bound to one name, short-lived, single use.

use std::collections::BTreeMap;

use elevate_audit::{Kind, Subject};
use elevate_protocol::host_ssh::HostName;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::admin::AdminOutcome;
use elevate_protocol::message::refusal::Code;
use elevate_protocol::name::Name;
use elevate_protocol::paste::{Paste, PasteKind};
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use super::dialogue::Dialogue;
use super::fault::{Told, refuse, refuse_hint};
use super::mfa::token_hash;
use super::{Inner, changes, host_names, random, replace};
use crate::store::{HostToken, Tx};

/// Longest life of a host's token, and what it is when nobody says.
const HOST_VALID_MAX: Span = Span::HOUR;
/// Longest life of a person's invitation.
const PERSON_VALID_MAX: Span = Span(72 * 3600);
pub(super) const LABELS_MAX: usize = 32;

fn fresh_token() -> Result<Secret, getrandom::Error> {
    Ok(Secret::new(Nonce::from_random(random()?).to_string()))
}

fn paste(
    core: &Inner,
    kind: PasteKind,
    token: Secret,
    (valid, counts_at): (Span, Option<Timestamp>),
) -> AdminOutcome {
    let paste = Paste {
        kind,
        address: core.advertised.clone(),
        fingerprint: core.fingerprint.clone(),
        token: Some(token),
    };
    AdminOutcome::Paste { line: paste.to_line(), valid, counts_at }
}

fn within(valid: Option<Span>, default: Span, most: Span) -> Told<Span> {
    match valid.unwrap_or(default) {
        Span::ZERO => refuse(Code::Usage, "an invitation is valid longer than no time"),
        span if span > most => refuse(Code::Usage, format!("an invitation is valid for at most {most}")),
        span => Ok(span),
    }
}

pub(super) async fn person(
    core: &Inner,
    talk: &Dialogue,
    person: &Name,
    valid: Option<Span>,
) -> Told<AdminOutcome> {
    let valid = within(valid, Span::DAY, PERSON_VALID_MAX)?;
    let mut tx = core.store.write().await?;
    let now = tx.now();
    match core.policy().person(person) {
        None => return refuse(Code::NotEligible, format!("{person} is not in the policy")),
        Some(entry) if entry.is_over(now) => {
            return refuse(Code::NotEligible, format!("the entry of {person} ended at {}", entry.end_text()));
        }
        Some(_) => {}
    }
    let token = invitation(&mut tx, talk, person, valid).await?;
    tx.commit().await?;
    Ok(paste(core, PasteKind::Person, token, (valid, None)))
}

async fn invitation(tx: &mut Tx, talk: &Dialogue, person: &Name, valid: Span) -> Told<Secret> {
    let token = fresh_token()?;
    let valid_until = tx.now().after(valid);
    tx.insert_invitation(token_hash(&token), person, (valid_until, &talk.voice.actor)).await?;
    let subject = Subject { person: Some(person.clone()), ..Subject::default() };
    tx.record(talk.voice.did(subject, Kind::PersonInvited { valid_until })).await?;
    Ok(token)
}

/// Whoever lost the phone: the factor counts no longer from now on, and a new one waits like any that takes another's place.
pub(super) async fn reset(
    core: &Inner,
    talk: &Dialogue,
    person: &Name,
    reason: &UntrustedText,
) -> Told<AdminOutcome> {
    let mut tx = core.store.write().await?;
    if core.policy().person(person).is_none() || !tx.had_factor(person).await? {
        return refuse_hint(
            Code::Usage,
            format!("{person} has no factor to reset"),
            format!("elevatectl person invite {person}"),
        );
    }
    tx.drop_factor(person).await?;
    tx.drop_recovery(person).await?;
    changes::withdraw_factor(&mut tx, &talk.voice, person).await?;
    let subject = Subject { person: Some(person.clone()), ..Subject::default() };
    tx.record(talk.voice.did(subject, Kind::FactorReset { reason: reason.clone() })).await?;
    let token = invitation(&mut tx, talk, person, Span::DAY).await?;
    tx.commit().await?;
    Ok(paste(core, PasteKind::Person, token, (Span::DAY, None)))
}

pub(super) async fn host(
    core: &Inner,
    talk: &Dialogue,
    (name, labels, names): (&Name, &BTreeMap<Name, Name>, &[HostName]),
    valid: Option<Span>,
) -> Told<AdminOutcome> {
    let valid = within(valid, HOST_VALID_MAX, HOST_VALID_MAX)?;
    if labels.len() > LABELS_MAX {
        return refuse(Code::Usage, format!("a host has at most {LABELS_MAX} labels"));
    }
    let mut tx = core.store.write().await?;
    host_names::fit(&mut tx, name, (names, &[])).await?;
    let token = fresh_token()?;
    let waits = replace::waits(&mut tx, talk, name, valid).await?;
    let counts_at = waits.as_ref().and_then(|waits| waits.counts_at);
    let valid_until = counts_at.unwrap_or(tx.now()).after(valid);
    let row = HostToken {
        hash: token_hash(&token),
        name: name.clone(),
        labels: labels.clone(),
        names: names.to_vec(),
        valid_until,
        used_at: None,
        by: talk.voice.actor.clone(),
        waits,
    };
    tx.insert_host_token(&row).await?;
    let subject = Subject { host: Some(name.clone()), ..Subject::default() };
    let kind = Kind::HostInvited { labels: labels.clone(), names: names.to_vec(), valid_until };
    tx.record(talk.voice.did(subject.clone(), kind)).await?;
    if let Some(counts_at) = counts_at {
        let kind = Kind::ChangeWaits { what: UntrustedText::lossy(replace::WHAT), counts_at };
        tx.record(talk.voice.did(subject, kind)).await?;
    }
    tx.commit().await?;
    Ok(paste(core, PasteKind::Host, token, (valid, counts_at)))
}
