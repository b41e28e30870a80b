//! Who may be connected without having authenticated: few of each source, and when all seats are taken the source that has most of
//! them gives one up. So no number of half-open connections keeps anybody out (threat H09).
//!
//! In: source addresses. Out: a [`Seat`] each, given back when dropped, and the word that it has to be left.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts the unauthenticated.
pub(super) struct Crowd {
    seats: Arc<Mutex<Seats>>,
    each: usize,
    all: usize,
}

#[derive(Default)]
struct Seats {
    /// Of each source with at least one seat, oldest first.
    of: HashMap<IpAddr, VecDeque<Sitting>>,
    taken: usize,
    next: u64,
}

struct Sitting {
    number: u64,
    leave: Arc<Notify>,
}

/// One of the unauthenticated.
pub(super) struct Seat {
    seats: Arc<Mutex<Seats>>,
    source: IpAddr,
    number: u64,
}

fn locked(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    /// At most so many for one source, and so many in all.
    pub(super) fn new(each: u32, all: u32) -> Self {
        let many = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self { seats: Arc::default(), each: many(each), all: many(all) }
    }

    /// A seat, unless the source has its share, and what resolves when it has to be left for somebody else.
    pub(super) fn take(&self, source: IpAddr) -> Option<(Seat, Arc<Notify>)> {
        let mut seats = locked(&self.seats);
        if seats.of.get(&source).map_or(0, VecDeque::len) >= self.each {
            return None;
        }
        if seats.taken >= self.all {
            seats.clear_one(source)?;
        }
        let number = seats.next;
        seats.next = seats.next.wrapping_add(1);
        seats.taken = seats.taken.saturating_add(1);
        let leave = Arc::new(Notify::new());
        let sitting = Sitting { number, leave: Arc::clone(&leave) };
        seats.of.entry(source).or_default().push_back(sitting);
        Some((Seat { seats: Arc::clone(&self.seats), source, number }, leave))
    }
}

impl Seats {
    /// Of the source with most seats the oldest has to leave; of sources with equally many, the one that came first. Nobody leaves for
    /// one of a source that has as many itself.
    fn clear_one(&mut self, newcomer: IpAddr) -> Option<()> {
        let of_newcomer = self.of.get(&newcomer).map_or(0, VecDeque::len);
        let first = |sitting: &VecDeque<Sitting>| sitting.front().map_or(u64::MAX, |first| first.number);
        let most = |(_, one): &(&IpAddr, &VecDeque<Sitting>)| (one.len(), u64::MAX.wrapping_sub(first(one)));
        let source = *self.of.iter().filter(|(_, one)| one.len() > of_newcomer).max_by_key(most)?.0;
        let number = self.of.get(&source)?.front()?.number;
        self.remove(source, number)?.leave.notify_one();
        Some(())
    }

    fn remove(&mut self, source: IpAddr, number: u64) -> Option<Sitting> {
        let of_source = self.of.get_mut(&source)?;
        let place = of_source.iter().position(|sitting| sitting.number == number)?;
        let sitting = of_source.remove(place)?;
        if of_source.is_empty() {
            self.of.remove(&source);
        }
        self.taken = self.taken.saturating_sub(1);
        Some(sitting)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // None: it was taken away before.
        drop(locked(&self.seats).remove(self.source, self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn has_to_leave(leave: &Notify) -> bool {
        use std::future::Future;
        let mut waiting = std::pin::pin!(leave.notified());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn h09_when_all_seats_are_taken_the_greediest_source_gives_its_oldest_up() {
        let crowd = Crowd::new(3, 5);
        let greedy: Vec<_> = (0..3).map(|_| crowd.take(from(1)).unwrap()).collect();
        assert!(crowd.take(from(1)).is_none(), "three are its share");
        let modest: Vec<_> = (0..2).map(|_| crowd.take(from(2)).unwrap()).collect();
        let (alice, stays) = crowd.take(from(3)).unwrap();
        assert!(has_to_leave(&greedy[0].1) && !has_to_leave(&greedy[1].1) && !has_to_leave(&modest[0].1));
        // Two have two each: the one that came first.
        let bob = crowd.take(from(4)).unwrap();
        assert!(has_to_leave(&greedy[1].1) && !has_to_leave(&modest[0].1));
        // The greedy one has one left and comes again: the one with two gives way, never one with one.
        let again = crowd.take(from(1)).unwrap();
        assert!(has_to_leave(&modest[0].1) && !has_to_leave(&stays) && !has_to_leave(&bob.1));
        drop((greedy, modest, alice, bob, again));
        let seats = locked(&crowd.seats);
        assert!(seats.of.is_empty() && seats.taken == 0);
    }

    #[test]
    fn h09_among_sources_with_one_seat_each_the_oldest_gives_way_to_a_new_source() {
        let crowd = Crowd::new(3, 2);
        let (first, second) = (crowd.take(from(1)).unwrap(), crowd.take(from(2)).unwrap());
        let third = crowd.take(from(3)).unwrap();
        assert!(has_to_leave(&first.1) && !has_to_leave(&second.1), "the oldest of them");
        assert!(
            crowd.take(from(3)).is_none(),
            "a second one of the same source is no reason to end another's only one"
        );
        drop(third);
        assert!(crowd.take(from(3)).is_some(), "and it is given back at once");
    }
}
