//! What a lock did, as it is told: ended, refused, withheld, and where nobody has confirmed an end.
//!
//! In: activations that were touched. Out: [`LockedView`], cut to what one answer carries. Hosts get 10 s to confirm.

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::lock::{LockView, LockedView, Touched, TouchedView, UnconfirmedView};
use elevate_protocol::message::view::{ActivationView, HostState};

use crate::core::Inner;
use crate::core::confirm::settled_all;
use crate::core::dialogue::Dialogue;
use crate::core::fault::{Fault, Told};
use crate::core::view::short;
use crate::store::{Activation, Tx};

/// Activations told of in each list, and hosts that have not confirmed. A frame carries all of them together.
const TOLD_MAX: usize = 150;
const UNCONFIRMED_MAX: usize = 300;

/// What a lock touched.
#[derive(Default)]
pub(super) struct Touching {
    pub(super) ended: Vec<Activation>,
    pub(super) refused: Vec<Activation>,
    pub(super) withheld: Vec<Activation>,
    pub(super) approved: Vec<Activation>,
}

/// Waits for the hosts, 10 s at most, and tells.
pub(super) async fn report(
    core: &Inner,
    talk: &mut Dialogue,
    lock: LockView,
    touching: Touching,
) -> Told<LockedView> {
    let ids: Vec<ActivationId> = touching.ended.iter().map(|one| one.id).collect();
    let settled = settled_all(core, talk, &ids).await?;
    let mut tx = core.store.read().await?;
    let mut unconfirmed: Vec<UnconfirmedView> = settled.iter().flat_map(open_hosts).collect();
    let unconfirmed_count = count(unconfirmed.len());
    unconfirmed.truncate(UNCONFIRMED_MAX);
    Ok(LockedView {
        lock,
        ended: touched(&mut tx, &touching.ended).await?,
        refused: touched(&mut tx, &touching.refused).await?,
        withheld: touched(&mut tx, &touching.withheld).await?,
        approved: touched(&mut tx, &touching.approved).await?,
        unconfirmed,
        unconfirmed_count,
    })
}

/// Hosts that may still honour what was ended.
fn open_hosts(view: &ActivationView) -> Vec<UnconfirmedView> {
    let is_open = |state: &HostState| match state {
        HostState::Unsigned | HostState::Sent | HostState::Offline { .. } => true,
        HostState::None | HostState::Confirmed | HostState::Refused { .. } | HostState::Ended { .. } => false,
    };
    let open = view.hosts.iter().filter(|host| is_open(&host.state));
    open.map(|host| UnconfirmedView {
        short: view.short.clone(),
        person: view.person.clone(),
        host: host.name.clone(),
        state: host.state.clone(),
        until: view.ends_at,
    })
    .collect()
}

async fn touched(tx: &mut Tx, list: &[Activation]) -> Result<Touched, Fault> {
    let mut first = Vec::new();
    for one in list.iter().take(TOLD_MAX) {
        first.push(TouchedView {
            id: one.id,
            short: short(tx, one.id).await?,
            person: one.person.clone(),
            role: one.role.clone(),
        });
    }
    Ok(Touched { count: count(list.len()), first })
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
