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

/// A connection's permit, given back when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    admission: Arc<Admission>,
    /// Whom it is counted for. Nobody in particular, before it is known who that is.
    address: Option<Address>,
}

/// What becomes of a connection, now that it is known whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// It may come in.
    Serve,
    /// Its address has as many as it may: it is told so, and closed. It counts until then, and
    /// there are as many of these to an address as of the others.
    Reject,
    /// There are even too many to be told.
    Drop,
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

    /// A permit for a connection, if there is one left.
    pub(super) fn enter(self: &Arc<Self>, limits: &Limits) -> Option<ConnectionPermit> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit {
            admission: self.clone(),
            address: None,
        };
        // Dropping the permit takes the one away again.
        (before < limits.connections_count).then_some(permit)
    }

    fn shard(&self, address: Address) -> MutexGuard<'_, HashMap<Address, u32>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Counts the connection for an address, and for no other.
    pub(super) fn claim(&mut self, address: IpAddr, limits: &Limits) -> Admit {
        self.give_up();
        let address = Address::of(address);
        let limit = limits.connections_per_address_count;
        let mut shard = self.admission.shard(address);
        let before = shard.get(&address).copied().unwrap_or(0);
        if before >= limit.saturating_mul(2) {
            return Admit::Drop;
        }
        shard.insert(address, before + 1);
        self.address = Some(address);
        if before < limit {
            Admit::Serve
        } else {
            Admit::Reject
        }
    }

    /// Counts the connection for nobody.
    fn give_up(&mut self) {
        let Some(address) = self.address.take() else {
            return;
        };
        let mut shard = self.admission.shard(address);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.give_up();
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

    fn enter(
        admission: &Arc<Admission>,
        limits: &Limits,
        address: &str,
    ) -> (ConnectionPermit, Admit) {
        let mut permit = admission.enter(limits).expect("there is a permit");
        let admit = permit.claim(ip(address), limits);
        (permit, admit)
    }

    #[test]
    fn an_address_at_its_limit_is_told_and_no_other_is() {
        let admission = Admission::new();
        let limits = limits(100, 2);
        let enter = |text| enter(&admission, &limits, text);
        let (first, admit) = enter("192.0.2.1");
        assert_eq!(admit, Admit::Serve);
        let (_second, admit) = enter("::ffff:192.0.2.1");
        assert_eq!(admit, Admit::Serve);
        let (third, admit) = enter("192.0.2.1");
        assert_eq!(admit, Admit::Reject);
        let (_fourth, admit) = enter("192.0.2.1");
        assert_eq!(admit, Admit::Reject);
        assert_eq!(enter("192.0.2.1").1, Admit::Drop, "told often enough");
        assert_eq!(enter("192.0.2.2").1, Admit::Serve);
        drop((first, third));
        assert_eq!(enter("192.0.2.1").1, Admit::Reject, "two are left");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let admission = Admission::new();
        let limits = limits(100, 1);
        let (_one, _) = enter(&admission, &limits, "2001:db8::1");
        assert_eq!(enter(&admission, &limits, "2001:db8::2:1").1, Admit::Reject);
        assert_eq!(
            enter(&admission, &limits, "2001:db8:0:1::1").1,
            Admit::Serve
        );
    }

    #[test]
    fn a_place_is_counted_for_the_last_who_claims_it() {
        let admission = Admission::new();
        let limits = limits(100, 1);
        let (mut permit, _) = enter(&admission, &limits, "192.0.2.1");
        assert_eq!(permit.claim(ip("192.0.2.2"), &limits), Admit::Serve);
        assert_eq!(enter(&admission, &limits, "192.0.2.1").1, Admit::Serve);
        assert_eq!(enter(&admission, &limits, "192.0.2.2").1, Admit::Reject);
    }

    #[test]
    fn the_total_is_for_all_and_nothing_is_left_behind() {
        let admission = Admission::new();
        let limits = limits(2, 2);
        let places = ["192.0.2.1", "192.0.2.2"].map(|ip| enter(&admission, &limits, ip));
        assert!(admission.enter(&limits).is_none());
        drop(places);
        assert_eq!(admission.total.load(Ordering::Relaxed), 0);
        for shard in &admission.shards {
            assert!(shard.lock().expect("no panic").is_empty());
        }
    }
}
