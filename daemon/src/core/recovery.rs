//! Recovery codes: making a set with one's own key and factor. What they are good for is asked where it is done.
//!
//! In: [`Ask::RecoveryMake`]. Out: the codes, once, to that person's own key. They never approve and never activate.

use elevate_audit::{Kind, Subject};
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;

use super::Core;
use super::dialogue::{Demand, Dialogue, Recovery};
use super::fault::{Told, refuse};
use super::locks;
use crate::factor::{self, FactorError};

pub(super) async fn make(core: &Core, talk: &mut Dialogue, ask: &Ask) -> Told<Outcome> {
    let inner = core.inner();
    let person = talk.person()?.clone();
    let subject = Subject { person: Some(person.clone()), ..Subject::default() };
    let demand = Demand {
        ask,
        bound_to: ask.digest()?,
        purpose: "recovery",
        what: "make recovery codes; earlier ones are worth nothing then".to_owned(),
        subject: subject.clone(),
        recovery: Recovery::Refused,
    };
    talk.challenge(inner, demand).await?;
    let (codes, set) = match factor::fresh_recovery(&inner.hasher).await {
        Err(FactorError::Busy) => return refuse(Code::Busy, "others are at it; try again"),
        made => made?,
    };
    let mut tx = inner.store.write().await?;
    locks::unlocked(&mut tx, talk, None).await?;
    tx.set_recovery(&person, &set).await?;
    tx.record(talk.voice.did(subject, Kind::RecoveryMade {})).await?;
    tx.commit().await?;
    Ok(Outcome::Recovery(codes))
}
