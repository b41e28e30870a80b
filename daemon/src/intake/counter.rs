//! Counts what is there at once, by whom, and refuses what is too much.
//!
//! In: a key (a source address, a person). Out: a [`Seat`], given back when it is dropped, also by a panic.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// At most so many seats for one key, and so many in all.
#[derive(Debug)]
pub(crate) struct Counter<K: Eq + Hash + Clone> {
    taken: Arc<Mutex<HashMap<K, u32>>>,
    each: u32,
    all: u32,
}

/// One of the counted.
#[derive(Debug)]
pub(crate) struct Seat<K: Eq + Hash + Clone> {
    taken: Arc<Mutex<HashMap<K, u32>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Counter<K> {
    /// Nobody yet.
    pub(crate) fn new(each: u32, all: u32) -> Self {
        Self { taken: Arc::default(), each, all }
    }

    /// A seat, unless there are too many.
    pub(crate) fn take(&self, key: K) -> Option<Seat<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = taken.values().fold(0u32, |sum, count| sum.saturating_add(*count));
        let mine = taken.get(&key).copied().unwrap_or(0);
        if all >= self.all || mine >= self.each {
            return None;
        }
        taken.insert(key.clone(), mine.saturating_add(1));
        Some(Seat { taken: Arc::clone(&self.taken), key })
    }
}

impl<K: Eq + Hash + Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.key) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            Some(_) => drop(taken.remove(&self.key)),
            None => {}
        }
    }
}

/// The source that an address is counted under: itself, or the /64 of an IPv6 address, which is one customer's.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h09_seats_are_limited_for_one_and_for_all_and_come_back() {
        let counter = Counter::new(2, 3);
        let first = counter.take("a").unwrap();
        let second = counter.take("a").unwrap();
        assert!(counter.take("a").is_none());
        let other = counter.take("b").unwrap();
        assert!(counter.take("c").is_none());
        drop(first);
        assert!(counter.take("c").is_some(), "and it is given back at once");
        drop((second, other));
        assert!(counter.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn an_ipv6_source_is_its_network_and_a_mapped_address_is_ipv4() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(source("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
