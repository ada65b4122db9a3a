//! Counters in shards. Each thread owns a shard while it lives, so it counts with a plain load and
//! store, in cache lines that no other thread writes to.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The number of shards that one thread owns: twice the maximum of `server.threads`. Threads beyond
/// it share one more shard, to which they write with atomic additions.
const OWNED_SHARDS: usize = GROUPS * GROUP_SHARDS;

/// The number of groups of shards. A group is allocated when one of its shards is first used.
const GROUPS: usize = 32;

/// The number of shards in a group.
const GROUP_SHARDS: usize = 64;

/// Whether this process counts: it does so if there is an admin listener.
static IS_ON: AtomicBool = AtomicBool::new(cfg!(test));

/// The number of shards that threads have owned so far.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Shards whose threads have ended. Another thread that takes one continues its counts.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

thread_local! {
    /// The thread's shard. Without a destructor and with a constant initial value, it is read like
    /// an ordinary variable.
    static OWN: Cell<Own> = const { Cell::new(Own::Unknown) };

    /// Gives the shard back at the end of the thread.
    static LEASE: Lease = Lease::take();
}

/// The shard of a thread.
#[derive(Clone, Copy)]
enum Own {
    Unknown,
    /// The thread is the only one that writes to it.
    Shard(usize),
    /// There are more threads than shards, or the thread is ending.
    Common,
}

/// Makes this process count from now on.
pub(crate) fn start_counting() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Returns whether this process counts.
#[inline]
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

struct Lease(Option<usize>);

impl Lease {
    fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let one_more = |used| (used < OWNED_SHARDS).then_some(used + 1);
        let shard = free.or_else(|| {
            let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
            USED.fetch_update(set, fetch, one_more).ok()
        });
        Self(shard)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        OWN.set(Own::Common);
        if let Some(shard) = self.0 {
            // The lock orders this thread's counts before those of the next owner.
            FREE.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(shard);
        }
    }
}

/// Returns the shard of this thread.
#[inline]
fn own() -> Own {
    match OWN.get() {
        Own::Unknown => first_own(),
        known => known,
    }
}

#[cold]
fn first_own() -> Own {
    let shard = LEASE.try_with(|lease| lease.0).ok().flatten();
    let own = shard.map_or(Own::Common, Own::Shard);
    OWN.set(own);
    own
}

/// The copies of one group, each allocated when its thread first counts something.
type Group<T> = [OnceLock<Box<T>>; GROUP_SHARDS];

/// Something that each thread has its own copy of.
#[derive(Debug)]
pub(super) struct Sharded<T> {
    groups: [OnceLock<Box<Group<T>>>; GROUPS],
    common: OnceLock<Box<T>>,
}

/// Counts in the copy of the current thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    is_only: bool,
}

impl Writer {
    /// Adds to a count in the copy that came with this writer.
    #[inline]
    pub(super) fn add(self, count: &AtomicU64, more: u64) {
        // Relaxed: no other memory access depends on it.
        if self.is_only {
            let sum = count.load(Ordering::Relaxed).wrapping_add(more);
            count.store(sum, Ordering::Relaxed);
        } else {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl<T: Default> Sharded<T> {
    pub(super) const fn new() -> Self {
        Self {
            groups: [const { OnceLock::new() }; GROUPS],
            common: OnceLock::new(),
        }
    }

    /// Returns the copy of this thread, with what may write to it. Returns none if the process
    /// doesn't count.
    #[inline]
    pub(super) fn own(&self) -> Option<(&T, Writer)> {
        if !is_on() {
            return None;
        }
        if let Own::Shard(shard) = own()
            && let Some(group) = self.groups.get(shard / GROUP_SHARDS)
            && let Some(copy) = group.get_or_init(new_group).get(shard % GROUP_SHARDS)
        {
            return Some((copy.get_or_init(Box::default), Writer { is_only: true }));
        }
        let common = self.common.get_or_init(Box::default);
        Some((common, Writer { is_only: false }))
    }

    /// Returns all copies that exist.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        let groups = self.groups.iter().filter_map(OnceLock::get);
        let copies = groups.flat_map(|group| group.iter());
        let copies = copies.chain([&self.common]);
        copies.filter_map(OnceLock::get).map(|copy| &**copy)
    }
}

fn new_group<T>() -> Box<Group<T>> {
    Box::new(array::from_fn(|_| OnceLock::new()))
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn sum(counts: &Sharded<AtomicU64>) -> u64 {
        counts
            .all()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    fn add(counts: &Sharded<AtomicU64>, more: u64) {
        let (count, writer) = counts.own().expect("it counts");
        writer.add(count, more);
    }

    #[test]
    fn no_count_is_lost_between_threads_that_live_at_the_same_time() {
        const THREADS: u64 = 100;
        const EACH: u64 = 10_000;
        let counts = Sharded::<AtomicU64>::new();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EACH).for_each(|_| add(&counts, 1)));
            }
        });
        assert_eq!(sum(&counts), THREADS * EACH);
    }

    #[test]
    fn threads_that_live_at_the_same_time_own_different_shards() {
        const THREADS: usize = GROUP_SHARDS + 8;
        let counts = Sharded::<AtomicU64>::new();
        let all_have_one = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let (_, writer) = counts.own().expect("it counts");
                    assert!(writer.is_only);
                    all_have_one.wait();
                });
            }
        });
        assert_eq!(counts.all().count(), THREADS);
    }

    #[test]
    fn threads_without_a_shard_count_together() {
        const EACH: u64 = 10_000;
        let counts = Sharded::<AtomicU64>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    OWN.set(Own::Common);
                    (0..EACH).for_each(|_| add(&counts, 1));
                });
            }
        });
        assert_eq!(sum(&counts), 4 * EACH);
        assert_eq!(counts.all().count(), 1);
    }

    #[test]
    fn threads_that_come_and_go_use_no_further_shards() {
        let counts = Sharded::<AtomicU64>::new();
        // Other tests own shards meanwhile: far fewer.
        for _ in 0..GROUP_SHARDS * 8 {
            std::thread::scope(|scope| {
                scope.spawn(|| add(&counts, 1)).join().expect("no panic");
            });
        }
        assert_eq!(sum(&counts), GROUP_SHARDS as u64 * 8);
        assert!(counts.all().count() < GROUP_SHARDS * 4);
    }
}
