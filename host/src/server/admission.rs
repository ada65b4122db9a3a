//! Limits the number of open connections, in total and per client address.
//!
//! All reactors share the counts. The total is a number of permits. Addresses are distributed over
//! shards, each with its own lock, which is held for one table lookup.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::options::Limits;
use crate::permits::{Permit, Permits};

/// The number of shards. Larger than the usual number of threads, so that they rarely contend.
const SHARDS: usize = 64;

/// The counts of open connections.
#[derive(Debug)]
pub(super) struct Admission {
    total: Arc<Permits>,
    /// At most one entry per connection: an address without connections has no entry.
    shards: [Mutex<HashMap<Address, u32>>; SHARDS],
    hasher: RandomState,
}

/// A connection's permit, released on drop.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    /// Its permit among all connections.
    _permit: Permit,
    admission: Arc<Admission>,
    /// The address that it counts for; `None` while the client is unknown.
    address: Option<Address>,
}

/// The decision on a connection, once its client is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// Serve it.
    Serve,
    /// Its address is at its limit: send a rejection and close. It counts until then; the limit of
    /// pending rejections per address equals the limit of its connections.
    Reject,
    /// Too many rejections are pending: close without a response.
    Drop,
}

/// The unit that counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Address {
    V4(u32),
    /// A network of 64 bits: a client with one address in it controls all of them (RFC 6177).
    V6Network(u64),
}

impl Admission {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            total: Arc::default(),
            shards: [(); SHARDS].map(|()| Mutex::default()),
            hasher: RandomState::new(),
        })
    }

    /// Returns the number of open connections.
    pub(super) fn count(&self) -> usize {
        self.total.taken()
    }

    /// Returns a permit for a connection, unless the total is at its limit.
    pub(super) fn enter(self: &Arc<Self>, limits: &Limits) -> Option<ConnectionPermit> {
        let limit = limits.connections_count as usize;
        Some(ConnectionPermit {
            _permit: Permits::try_acquire(&self.total, limit)?,
            admission: self.clone(),
            address: None,
        })
    }

    fn shard(&self, address: Address) -> MutexGuard<'_, HashMap<Address, u32>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Counts the connection for this address and no longer for the previous one.
    pub(super) fn claim(&mut self, address: IpAddr, limits: &Limits) -> Admit {
        self.give_up();
        let address = Address::from_peer(address);
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

    /// Removes the connection from the count of its address.
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
    }
}

impl Address {
    fn from_peer(peer: IpAddr) -> Self {
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
        assert_eq!(admission.total.taken(), 0);
        for shard in &admission.shards {
            assert!(shard.lock().expect("no panic").is_empty());
        }
    }
}
