//! A bounded cache of values that were read or computed. It never blocks.
//!
//! Eviction is by second chance: entries form a queue, and an entry that was used since its last
//! turn moves to the end of the queue instead of being evicted. So entries that are requested
//! repeatedly stay, regardless of how many others are requested once. The cache does not check
//! validity: its users choose keys whose entries remain valid, or check the entries themselves.
//!
//! All reactors share one cache. A lookup holds a read lock for the time of a hash lookup. If
//! another thread is writing, a lookup finds nothing instead of blocking; if others are reading, an
//! insertion is skipped. Either costs only the work that the cache would have saved.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{RwLock, TryLockError};

/// The overhead of an entry beside its content, in bytes: key, queue entry, table. Rather an
/// overestimate, since it also limits the number of entries.
const ENTRY_BYTES: usize = 512;

/// The minimum number of entries of the maximum size that must fit: a cache filled by one entry
/// would be useless.
const MIN_ENTRIES: usize = 8;

/// The maximum number of second chances in one insertion, which bounds its time.
const MAX_CHANCES: usize = 32;

/// A bounded cache from `K` to `V`, both cheap to clone.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    table: RwLock<Table<K, V>>,
    max_bytes: usize,
}

#[derive(Debug)]
struct Table<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Each key of `entries` once; the first is the next candidate for eviction.
    line: VecDeque<K>,
    /// The total size of all entries.
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: AtomicBool,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Creates an empty cache of up to `max_bytes`. With 0 it stays empty.
    pub(super) fn new(max_bytes: usize) -> Cache<K, V> {
        Cache {
            table: RwLock::new(Table {
                entries: HashMap::new(),
                line: VecDeque::new(),
                bytes: 0,
            }),
            max_bytes,
        }
    }

    /// Returns the value of this key, if it is cached.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let table = match self.table.try_read() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let entry = table.entries.get(key)?;
        // Read first: an unconditional write would invalidate the cache line of the other reactors
        // each time.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.value.clone())
    }

    /// Inserts a value with this size, replacing the previous value of the key.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        if bytes > self.max_bytes / MIN_ENTRIES {
            return;
        }
        let mut table = match self.table.try_write() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let entry = Entry {
            value,
            bytes,
            used: AtomicBool::new(false),
        };
        table.bytes += bytes;
        match table.entries.insert(key.clone(), entry) {
            Some(old) => table.bytes -= old.bytes,
            None => table.line.push_back(key),
        }
        table.shrink(self.max_bytes);
    }

    /// Returns the total size and the number of the entries.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let table = self.table.read().expect("not poisoned");
        assert_eq!(table.line.len(), table.entries.len());
        (table.bytes, table.entries.len())
    }
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// Evicts entries until the rest is at most `max_bytes` in size.
    fn shrink(&mut self, max_bytes: usize) {
        let mut chances = MAX_CHANCES;
        while self.bytes > max_bytes {
            let Some(key) = self.line.pop_front() else {
                return;
            };
            let used = self.entries.get(&key).map(|entry| &entry.used);
            if chances > 0 && used.is_some_and(|used| used.swap(false, Ordering::Relaxed)) {
                chances -= 1;
                self.line.push_back(key);
            } else if let Some(old) = self.entries.remove(&key) {
                self.bytes -= old.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inserted_value_is_found() {
        let cache = Cache::<u32, &str>::new(1 << 20);
        cache.put(1, "one", 3);
        cache.put(2, "two", 3);
        assert_eq!((cache.get(&1), cache.get(&3)), (Some("one"), None));
        cache.put(1, "another", 7);
        assert_eq!(cache.get(&1), Some("another"));
        assert_eq!(cache.size(), (2 * ENTRY_BYTES + 10, 2));
    }

    #[test]
    fn the_size_stays_within_the_limit() {
        let max_bytes = 100 * ENTRY_BYTES;
        let cache = Cache::<u32, u32>::new(max_bytes);
        for number in 0..10_000 {
            cache.put(number, number, (number as usize * 37) % (4 * ENTRY_BYTES));
            if number % 3 == 0 {
                cache.get(&(number / 2));
            }
            assert!(cache.size().0 <= max_bytes);
        }
        assert!(cache.size().1 > 20);
    }

    #[test]
    fn an_entry_that_is_used_is_not_evicted() {
        let cache = Cache::<u32, u32>::new(10 * ENTRY_BYTES);
        cache.put(0, 0, 0);
        for number in 1..1_000 {
            assert_eq!(cache.get(&0), Some(0), "{number}");
            cache.put(number, number, 0);
        }
        assert_eq!(cache.get(&500), None);
    }

    /// The time of an insertion is bounded, even if all entries have been used since the last one.
    #[test]
    fn an_insertion_gives_a_bounded_number_of_second_chances() {
        let cache = Cache::<u32, u32>::new(1_000 * ENTRY_BYTES);
        for number in 0..1_000 {
            cache.put(number, number, 0);
            cache.get(&number);
        }
        cache.put(1_000, 1_000, 0);
        assert_eq!(cache.size().1, 1_000);
        assert_eq!(cache.get(&(MAX_CHANCES as u32)), None);
        assert_eq!(cache.get(&0), Some(0));
    }

    #[test]
    fn a_value_that_is_too_large_is_not_inserted() {
        let cache = Cache::<u32, u32>::new(80 * ENTRY_BYTES);
        cache.put(1, 1, 10 * ENTRY_BYTES);
        assert_eq!(cache.get(&1), None);
        cache.put(1, 1, usize::MAX);
        assert_eq!(cache.get(&1), None);
        cache.put(1, 1, 9 * ENTRY_BYTES);
        assert_eq!(cache.get(&1), Some(1));
        let none = Cache::<u32, u32>::new(0);
        none.put(1, 1, 0);
        assert_eq!(none.get(&1), None);
    }

    #[test]
    fn a_contended_cache_never_blocks() {
        let cache = Cache::<u32, u32>::new(1 << 20);
        cache.put(1, 1, 0);
        let reading = cache.table.read().expect("free");
        assert_eq!(cache.get(&1), Some(1));
        cache.put(2, 2, 0);
        drop(reading);
        assert_eq!(cache.get(&2), None);
        let writing = cache.table.write().expect("free");
        assert_eq!(cache.get(&1), None);
        drop(writing);
    }
}
