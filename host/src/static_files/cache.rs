//! A bounded store of what was read or made once. It never lets anybody wait.
//!
//! Which entries go when it is full is decided by second chance: they stand in line, and one that
//! was used since its last turn goes to the end of the line instead. So what is asked for again and
//! again stays, whatever else is asked for once. It knows nothing of validity: who puts something
//! in under a key decides what the key means, and when it still holds.
//!
//! All reactors share one. A lookup takes a lock for reading, for the time of a hash lookup; where
//! another thread is just writing, it finds nothing instead of waiting, and where others are
//! reading, nothing is put in. Both only cost the work that the cache would have saved.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{RwLock, TryLockError};

/// What an entry weighs beside its content, in bytes: key, place in the line, table. Rather too
/// much than too little, since it also limits how many entries there can be.
const ENTRY_BYTES: usize = 512;

/// An entry weighs at most one part in this many of the whole: a cache that one entry fills is
/// none.
const MIN_ENTRIES: usize = 8;

/// Second chances that one insertion gives, so that its time is bounded.
const MAX_CHANCES: usize = 32;

/// A bounded store, from `K` to `V`, both cheap to clone.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    table: RwLock<Table<K, V>>,
    max_bytes: usize,
}

#[derive(Debug)]
struct Table<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Each key of `entries` once; the one in front is the next to go.
    line: VecDeque<K>,
    /// What all entries weigh.
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: AtomicBool,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty one for up to `max_bytes`. With 0 it stays empty.
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

    /// What was put in under this key, if it is still there.
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
        // Read first: a write would take the line away from the other reactors' caches each time.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.value.clone())
    }

    /// Puts in a value of so many bytes, in place of the one that was there under this key.
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

    /// What all entries weigh, and how many there are.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let table = self.table.read().expect("not poisoned");
        assert_eq!(table.line.len(), table.entries.len());
        (table.bytes, table.entries.len())
    }
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// Lets entries go until the rest weighs `max_bytes` or less.
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
    fn what_is_put_in_is_there() {
        let cache = Cache::<u32, &str>::new(1 << 20);
        cache.put(1, "one", 3);
        cache.put(2, "two", 3);
        assert_eq!((cache.get(&1), cache.get(&3)), (Some("one"), None));
        cache.put(1, "another", 7);
        assert_eq!(cache.get(&1), Some("another"));
        assert_eq!(cache.size(), (2 * ENTRY_BYTES + 10, 2));
    }

    #[test]
    fn it_stays_within_its_limit() {
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
    fn what_is_used_stays() {
        let cache = Cache::<u32, u32>::new(10 * ENTRY_BYTES);
        cache.put(0, 0, 0);
        for number in 1..1_000 {
            assert_eq!(cache.get(&0), Some(0), "{number}");
            cache.put(number, number, 0);
        }
        assert_eq!(cache.get(&500), None);
    }

    /// An insertion ends soon, even if everything has been used since the last.
    #[test]
    fn second_chances_are_counted() {
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
    fn what_is_too_large_stays_out() {
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
    fn nobody_waits() {
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
