//! Which hosts are connected, and that each is connected once: the newest connection of a host replaces the older.
//!
//! In: connections that said hello. Out: a [`Seat`] each. Only in memory: after a restart nobody is connected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elevate_protocol::id::HostId;
use tokio::sync::oneshot;

type Slots = HashMap<HostId, Slot>;

/// Connected hosts.
#[derive(Default)]
pub(crate) struct Registry(Arc<Mutex<Slots>>);

struct Slot {
    generation: u64,
    skewed: bool,
    told_accounts: bool,
    // Dropped with the slot, which is how the connection hears that it was replaced.
    _end: oneshot::Sender<()>,
}

/// A connection's place; given up when dropped.
pub(super) struct Seat {
    slots: Arc<Mutex<Slots>>,
    host: HostId,
    generation: u64,
    /// Resolves when another connection took the place.
    pub(super) gone: oneshot::Receiver<()>,
}

fn locked(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Takes a host's place, from whoever had it.
    pub(super) fn enter(&self, host: HostId, skewed: bool) -> Seat {
        let (end, gone) = oneshot::channel();
        let mut slots = locked(&self.0);
        let generation = slots.get(&host).map_or(0, |slot| slot.generation.saturating_add(1));
        slots.insert(host, Slot { generation, skewed, told_accounts: false, _end: end });
        Seat { slots: Arc::clone(&self.0), host, generation, gone }
    }

    /// Whether a host's agent is connected.
    #[must_use]
    pub(crate) fn is_connected(&self, host: HostId) -> bool {
        locked(&self.0).contains_key(&host)
    }

    /// Whether a connected host's clock is too far from ours for new grants.
    #[must_use]
    pub(crate) fn is_skewed(&self, host: HostId) -> bool {
        locked(&self.0).get(&host).is_some_and(|slot| slot.skewed)
    }

    /// Whether a connected host has yet to answer which accounts it has.
    #[must_use]
    pub(crate) fn owes_accounts(&self, host: HostId) -> bool {
        locked(&self.0).get(&host).is_some_and(|slot| !slot.told_accounts)
    }

    /// Ends a host's connection.
    pub(crate) fn drop_host(&self, host: HostId) {
        locked(&self.0).remove(&host);
    }

    /// Ends every connection.
    pub(crate) fn clear(&self) {
        locked(&self.0).clear();
    }
}

impl Seat {
    /// Whether this connection still has the place.
    pub(super) fn is_held(&self) -> bool {
        locked(&self.slots).get(&self.host).is_some_and(|slot| slot.generation == self.generation)
    }

    /// Notes whether the host has answered the latest offers.
    pub(super) fn accounts_told(&self, told: bool) {
        if let Some(slot) = locked(&self.slots).get_mut(&self.host)
            && slot.generation == self.generation
        {
            slot.told_accounts = told;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut slots = locked(&self.slots);
        if slots.get(&self.host).is_some_and(|slot| slot.generation == self.generation) {
            slots.remove(&self.host);
        }
    }
}
