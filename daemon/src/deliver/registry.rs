//! Which hosts are connected, and that each is connected once: the newest connection of a host replaces the older.
//!
//! In: connections that said hello. Out: a [`Seat`] each. Only in memory: after a restart nobody is connected.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elevate_protocol::id::HostId;
use tokio::sync::oneshot;

use super::offers::Offers;

type Slots = HashMap<HostId, Slot>;

/// Connected hosts.
#[derive(Default)]
pub(crate) struct Registry {
    slots: Arc<Mutex<Slots>>,
    /// Counts policies: how many times hosts had to be asked which accounts they have.
    asked: AtomicU64,
    /// Hosts that are not served before their root has said that this epoch begins.
    waiting: Mutex<HashMap<HostId, u32>>,
    /// What connected hosts were offered; most of them the same.
    offers: Mutex<Vec<Arc<Offers>>>,
}

struct Slot {
    generation: u64,
    skewed: bool,
    /// Up to which count of `asked` the host has answered; none: not at all.
    answered: Option<u64>,
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
        self.waiting().remove(&host);
        let mut slots = locked(&self.slots);
        let generation = slots.get(&host).map_or(0, |slot| slot.generation.saturating_add(1));
        slots.insert(host, Slot { generation, skewed, answered: None, _end: end });
        Seat { slots: Arc::clone(&self.slots), host, generation, gone }
    }

    /// A host was told that it waits for this epoch.
    pub(super) fn has_to_wait(&self, host: HostId, epoch: u32) {
        self.waiting().insert(host, epoch);
    }

    /// The epoch that waits for the word of a host's root; none: nothing waits, or the host has not said hello since the start.
    #[must_use]
    pub(crate) fn waits_for(&self, host: HostId) -> Option<u32> {
        self.waiting().get(&host).copied()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<HostId, u32>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a host's agent is connected.
    #[must_use]
    pub(crate) fn is_connected(&self, host: HostId) -> bool {
        locked(&self.slots).contains_key(&host)
    }

    /// Whether a connected host's clock is too far from ours for new grants.
    #[must_use]
    pub(crate) fn is_skewed(&self, host: HostId) -> bool {
        locked(&self.slots).get(&host).is_some_and(|slot| slot.skewed)
    }

    /// Whether a connected host has yet to answer which accounts it has.
    #[must_use]
    pub(crate) fn owes_accounts(&self, host: HostId) -> bool {
        locked(&self.slots).get(&host).is_some_and(|slot| slot.answered < Some(self.asked()))
    }

    /// Another policy is in force: every host has to be asked again which accounts it has.
    pub(crate) fn ask_again(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// The count to which an answer to offers of the policy in force belongs. Fetch it before the policy.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// These offers, kept once for all hosts that have the same.
    pub(super) fn shared(&self, offers: Offers) -> Arc<Offers> {
        let mut kept = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| Arc::strong_count(one) > 1);
        if let Some(same) = kept.iter().find(|one| ***one == offers) {
            return Arc::clone(same);
        }
        let fresh = Arc::new(offers);
        kept.push(Arc::clone(&fresh));
        fresh
    }

    /// Ends a host's connection.
    pub(crate) fn drop_host(&self, host: HostId) {
        locked(&self.slots).remove(&host);
        self.waiting().remove(&host);
    }

    /// Ends every connection.
    pub(crate) fn clear(&self) {
        locked(&self.slots).clear();
    }
}

impl Seat {
    /// Whether this connection still has the place.
    pub(super) fn is_held(&self) -> bool {
        locked(&self.slots).get(&self.host).is_some_and(|slot| slot.generation == self.generation)
    }

    /// Notes whether the host's clock is too far from ours; true when that is new.
    pub(super) fn has_skew(&self, skewed: bool) -> bool {
        let mut slots = locked(&self.slots);
        let slot = slots.get_mut(&self.host).filter(|slot| slot.generation == self.generation);
        slot.is_some_and(|slot| std::mem::replace(&mut slot.skewed, skewed) != skewed)
    }

    /// Notes up to which count the host has answered.
    pub(super) fn has_answered(&self, count: u64) {
        if let Some(slot) = locked(&self.slots).get_mut(&self.host)
            && slot.generation == self.generation
        {
            slot.answered = Some(count);
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
