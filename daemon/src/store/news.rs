//! Who is told of which commit: a host's connection of that host's documents and of policies, everybody else of the rest.
//!
//! In: what a commit touched. Out: wake-ups, none of them lost, several of them perhaps as one. With a thousand hosts connected
//! a commit wakes those whom it concerns and nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elevate_protocol::id::HostId;
use tokio::sync::{Notify, broadcast, watch};

use super::Change;

type Bells = HashMap<HostId, Arc<Notify>>;

/// Tells.
pub(super) struct Teller {
    changes: broadcast::Sender<Change>,
    head: watch::Sender<u64>,
    policies: watch::Sender<u64>,
    bells: Mutex<Bells>,
}

/// What concerns one host.
pub(crate) struct News {
    teller: Arc<Teller>,
    host: HostId,
    bell: Arc<Notify>,
    policies: watch::Receiver<u64>,
}

/// One piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There are new documents.
    Documents,
    /// Another policy is in force, or hosts came or went.
    Policy,
}

impl Teller {
    pub(super) fn new(kept: usize) -> Self {
        let (changes, _) = broadcast::channel(kept);
        let (head, _) = watch::channel(0);
        let (policies, _) = watch::channel(0);
        Self { changes, head, policies, bells: Mutex::default() }
    }

    fn bells(&self) -> MutexGuard<'_, Bells> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those whom a change concerns.
    pub(super) fn tell(&self, change: Change) {
        match change {
            Change::Documents(host) => {
                if let Some(bell) = self.bells().get(&host) {
                    bell.notify_one();
                }
                return;
            }
            Change::Policy => self.policies.send_modify(|count| *count = count.wrapping_add(1)),
            Change::Activation(_) | Change::Accounts(_) | Change::Locks | Change::Cas => {}
        }
        // Nobody listening is fine: whoever comes later reads the store.
        let heard = self.changes.send(change);
        drop(heard);
    }

    /// The number of the next event has grown to this, or is that already.
    pub(super) fn grown(&self, next: u64) {
        self.head.send_if_modified(|head| {
            let grown = next > *head;
            *head = next.max(*head);
            grown
        });
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

impl News {
    /// What concerns a host, from here on. A newer listener of the same host takes the place of the older.
    pub(super) fn of(teller: &Arc<Teller>, host: HostId) -> Self {
        let bell = Arc::new(Notify::new());
        teller.bells().insert(host, Arc::clone(&bell));
        Self { teller: Arc::clone(teller), host, bell, policies: teller.policies.subscribe() }
    }

    /// The next of it; none when the store is gone. Nothing is lost when this future is dropped.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        tokio::select! {
            () = self.bell.notified() => Some(Heard::Documents),
            changed = self.policies.changed() => changed.ok().map(|()| Heard::Policy),
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        let mut bells = self.teller.bells();
        if bells.get(&self.host).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            bells.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8) -> HostId {
        HostId::from_random([number; 16])
    }

    #[tokio::test]
    async fn a_host_hears_of_its_own_documents_and_of_policies_and_of_nothing_else() {
        let teller = Arc::new(Teller::new(8));
        let (mut one, mut other) = (News::of(&teller, host(1)), News::of(&teller, host(2)));
        teller.tell(Change::Documents(host(1)));
        teller.tell(Change::Documents(host(1)));
        teller.tell(Change::Accounts(host(2)));
        assert_eq!(one.next().await, Some(Heard::Documents));
        let quiet = tokio::time::timeout(std::time::Duration::ZERO, other.next()).await;
        assert!(quiet.is_err());
        teller.tell(Change::Policy);
        assert_eq!((one.next().await, other.next().await), (Some(Heard::Policy), Some(Heard::Policy)));
    }

    #[tokio::test]
    async fn a_newer_listener_of_a_host_keeps_its_place_when_the_older_goes() {
        let teller = Arc::new(Teller::new(8));
        let older = News::of(&teller, host(1));
        let mut newer = News::of(&teller, host(1));
        drop(older);
        teller.tell(Change::Documents(host(1)));
        assert_eq!(newer.next().await, Some(Heard::Documents));
        drop(newer);
        assert!(teller.bells().is_empty());
    }
}
