//! The second factor for one use of sudo on a host, asked by its agent for the person who sits there.
//!
//! In: [`AtUseAsk`] through that host's door. Out: yes, after a code for exactly this use; the code is used up with it (threats D01, D06, D13).

use elevate_protocol::message::person::{Ask, AtUseAsk, Outcome};
use elevate_protocol::message::refusal::Code;

use super::Core;
use super::dialogue::{Demand, Dialogue, Recovery};
use super::fault::{Told, refuse, refuse_hint};
use crate::issue::about;
use crate::store::Activation;

/// Most grants of one use: as many as the PAM gate reads for one call of sudo.
const GRANTS_MAX: usize = 64;

pub(super) async fn at_use(core: &Core, talk: &mut Dialogue, ask: &Ask, asked: &AtUseAsk) -> Told<Outcome> {
    let inner = core.inner();
    let Some(here) = talk.here.clone() else {
        return refuse_hint(
            Code::WrongDoor,
            "a use is on a managed host, and its agent asks for it",
            "there: sudo COMMAND",
        );
    };
    let used = grants(core, talk, asked).await?;
    let Some(first) = used.first() else { return refuse(Code::Usage, "a use is of one grant at least") };
    let roles: Vec<&str> = used.iter().map(|grant| grant.role.as_str()).collect();
    let demand = Demand {
        ask,
        bound_to: ask.digest()?,
        purpose: "use",
        what: format!("use {} on {}: {}", roles.join(", "), here.name, asked.shown.escaped()),
        subject: about(first),
        recovery: Recovery::Refused,
    };
    talk.challenge(inner, demand).await?;
    // Typing takes its time: what was given back or revoked meanwhile is not used any more.
    grants(core, talk, asked).await?;
    Ok(Outcome::Ok)
}

/// The grants of a use: the speaker's own, active, on this host.
async fn grants(core: &Core, talk: &Dialogue, asked: &AtUseAsk) -> Told<Vec<Activation>> {
    let person = talk.person()?;
    if asked.grants.len() > GRANTS_MAX {
        return refuse(Code::Usage, "too many grants for one use");
    }
    let mut tx = core.inner().store.read().await?;
    let mut found = Vec::new();
    for id in &asked.grants {
        let mine = tx.activation(*id).await?.filter(|one| {
            let here =
                |host: &crate::store::HostPart| talk.here.as_ref().is_some_and(|row| row.id == host.id);
            one.person == *person && one.is_active() && one.hosts.iter().any(here)
        });
        match mine {
            Some(activation) => found.push(activation),
            None => return refuse(Code::Gone, "a grant of this use is not active any more, run it again"),
        }
    }
    Ok(found)
}
