//! How many connections there are, in all and from each address: whether one more may come in.
//!
//! All reactors count together. The total is an atomic; addresses are dealt out to shards, each
//! with a lock of its own that is held for one look into a table.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::options::Limits;

/// Tables that the addresses are dealt out to. More than there are threads to meet at one.
const SHARDS: usize = 64;

/// The count of open connections.
#[derive(Debug)]
pub(super) struct Admission {
    total: AtomicU32,
    /// Entries are as many as there are connections at most: an address without one has none.
    shards: [Mutex<HashMap<Address, u32>>; SHARDS],
    hasher: RandomState,
}

/// What becomes of a connection that has just been accepted.
#[derive(Debug)]
pub(super) enum Entry {
    /// It may come in.
    Welcome(Place),
    /// Its address has as many as it may: it is told so, and closed. It has a place until then, and
    /// there are as many of these to an address as of the others.
    Refused(Place),
    /// There is no place for it, not even to be told.
    Full,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    address: Address,
}

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Address {
    V4(u32),
    /// A network of 64 bits: whoever has one address in there has them all (RFC 6177).
    V6Network(u64),
}

impl Admission {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            total: AtomicU32::new(0),
            shards: [(); SHARDS].map(|()| Mutex::default()),
            hasher: RandomState::new(),
        })
    }

    /// Takes a place for a connection from `peer`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Entry {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        if before >= limits.connections_count {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Entry::Full;
        }
        let address = Address::of(peer);
        let limit = limits.connections_per_address_count;
        let before = {
            let mut shard = self.shard(address);
            let count = shard.entry(address).or_insert(0);
            let before = *count;
            // One that is at twice its limit has an entry, so nothing was put in above.
            if before < limit.saturating_mul(2) {
                *count += 1;
            }
            before
        };
        if before >= limit.saturating_mul(2) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Entry::Full;
        }
        let place = Place {
            admission: self.clone(),
            address,
        };
        if before < limit {
            Entry::Welcome(place)
        } else {
            Entry::Refused(place)
        }
    }

    fn shard(&self, address: Address) -> MutexGuard<'_, HashMap<Address, u32>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut shard = self.admission.shard(self.address);
            if let Some(count) = shard.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    shard.remove(&self.address);
                }
            }
        }
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Address {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6Network((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections_count: u32, connections_per_address_count: u32) -> Limits {
        Limits {
            connections_count,
            connections_per_address_count,
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_at_its_limit_is_told_and_no_other_is() {
        let admission = Admission::new();
        let limits = limits(100, 2);
        let enter = |text| admission.enter(ip(text), &limits);
        let first = enter("192.0.2.1");
        assert!(matches!(first, Entry::Welcome(_)));
        let _second = enter("::ffff:192.0.2.1");
        let third = enter("192.0.2.1");
        assert!(matches!(third, Entry::Refused(_)), "{third:?}");
        let _fourth = enter("192.0.2.1");
        assert!(
            matches!(enter("192.0.2.1"), Entry::Full),
            "told often enough"
        );
        assert!(matches!(enter("192.0.2.2"), Entry::Welcome(_)));
        drop((first, third));
        let fifth = enter("192.0.2.1");
        assert!(
            matches!(fifth, Entry::Refused(_)),
            "those that are told count until they close"
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let admission = Admission::new();
        let limits = limits(100, 1);
        let _one = admission.enter(ip("2001:db8::1"), &limits);
        assert!(matches!(
            admission.enter(ip("2001:db8::2:1"), &limits),
            Entry::Refused(_)
        ));
        assert!(matches!(
            admission.enter(ip("2001:db8:0:1::1"), &limits),
            Entry::Welcome(_)
        ));
    }

    #[test]
    fn the_total_is_for_all_and_nothing_is_left_behind() {
        let admission = Admission::new();
        let limits = limits(2, 2);
        let places = [ip("192.0.2.1"), ip("192.0.2.2")].map(|ip| admission.enter(ip, &limits));
        assert!(matches!(
            admission.enter(ip("192.0.2.3"), &limits),
            Entry::Full
        ));
        drop(places);
        assert_eq!(admission.total.load(Ordering::Relaxed), 0);
        for shard in &admission.shards {
            assert!(shard.lock().expect("no panic").is_empty());
        }
    }
}
