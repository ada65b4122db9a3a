//! Limits the memory of all instances together. No request can exceed the limit.
//!
//! Memory counts when a guest *may touch* it, because the kernel provides it at that time: linear
//! memories at their size, and tables. Pages that a program's file initializes are an exception:
//! they belong to the file until the guest writes to them, which is rare. A Python program begins
//! with 20 to 60 MiB of such pages, of which a request writes to an eighth or less; so a quarter of
//! them counts ([`IMAGE_SHARE`]).
//!
//! A request reserves the initial memory of its program before the instance exists, with one atomic
//! operation, and releases everything with another when its store is dropped. Growth is added when
//! it happens. If the total is too small, idle instances, which wait for another request (`reuse`),
//! are dropped first.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::ResourcesRequired;

/// The size of a WebAssembly page, in bytes.
const PAGE_BYTES: usize = 64 * 1024;

/// The size of a table element, in bytes: a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// The fraction of memory initialized by the program's file that counts, as a divisor. A request to
/// the demo's Flask application touches some 670 pages of 4 KiB (see `settings`), 2.6 MiB, while
/// Python programs begin with 20 to 60 MiB.
const IMAGE_SHARE: usize = 4;

/// The minimum file size for that exception: the memory of programs with smaller files counts in
/// full.
const MIN_IMAGE_BYTES: usize = 1 << 20;

/// A program that may have idle instances.
pub(in crate::engine) trait Evict: Send + Sync {
    /// Drops an idle instance, which releases its memory. Returns `false` if there is none.
    fn evict(&self) -> bool;
}

/// The total of one process.
#[derive(Debug)]
pub(in crate::engine) struct MemoryTotal {
    limit: AtomicUsize,
    used: AtomicUsize,
    /// Programs that may have idle instances.
    idle: Mutex<Vec<Weak<dyn Evict>>>,
}

/// The memory of the instances of one program, as a part of the total.
#[derive(Debug)]
pub(in crate::engine) struct ProgramMemory {
    total: Arc<MemoryTotal>,
    /// Changed before and after each request, as the reference count is, which is beside it.
    used: AtomicUsize,
}

/// The initial memory of an instance of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Beginning {
    /// An upper bound of linear memory and tables, in bytes.
    bytes: usize,
    /// The part of it that counts.
    charge: usize,
}

/// The memory that one instance has reserved. Released on drop.
pub(in crate::engine) struct Reservation {
    memory: Arc<ProgramMemory>,
    charged: usize,
    beginning: Beginning,
    /// The initial bytes that no memory or table has used yet.
    unused_bytes: usize,
}

/// The total is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Short {
    /// The limit of all instances together, in bytes.
    pub(in crate::engine) limit: usize,
}

/// Whether a program is in the list of those that may have idle instances.
#[derive(Debug, Default)]
pub(in crate::engine) struct IsListed(AtomicBool);

impl MemoryTotal {
    /// Creates a total without a limit.
    pub(in crate::engine) fn new() -> Self {
        Self {
            limit: AtomicUsize::new(usize::MAX),
            used: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// Limits later reservations. Existing ones remain.
    pub(in crate::engine) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Returns the reserved memory, in bytes.
    pub(in crate::engine) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn list<P: Evict + 'static>(&self, program: &Arc<P>, is_listed: &IsListed) {
        if !is_listed.0.swap(true, Ordering::Relaxed) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|program| program.strong_count() > 0);
            let program = Arc::downgrade(program);
            idle.push(program);
        }
    }

    fn take(&self, bytes: usize) -> Result<(), Short> {
        loop {
            let limit = self.limit.load(Ordering::Relaxed);
            // Relaxed: the counter orders no other memory.
            let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
            let taken = self
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
            if taken.is_ok() {
                return Ok(());
            }
            if bytes > limit || !self.evict() {
                return Err(Short { limit });
            }
        }
    }

    /// Drops an idle instance. Returns `false` if there is none.
    fn evict(&self) -> bool {
        let programs = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut programs = programs.iter().filter_map(Weak::upgrade);
        programs.any(|program| program.evict())
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl ProgramMemory {
    /// Creates the memory of a program without instances.
    pub(in crate::engine) fn new(total: Arc<MemoryTotal>) -> Arc<Self> {
        let used = AtomicUsize::new(0);
        Arc::new(Self { total, used })
    }

    /// Returns the reserved memory of the program's instances, in bytes.
    pub(in crate::engine) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves the initial memory of an instance before it is created.
    ///
    /// # Errors
    ///
    /// Fails if the total is too small even after dropping all idle instances.
    pub(in crate::engine) fn reserve(
        memory: &Arc<Self>,
        beginning: Beginning,
    ) -> Result<Reservation, Short> {
        memory.take(beginning.charge)?;
        Ok(Reservation {
            memory: memory.clone(),
            charged: beginning.charge,
            beginning,
            unused_bytes: beginning.bytes,
        })
    }

    /// Allows the idle instances of the program to be dropped when the total is too small.
    pub(in crate::engine) fn list<P: Evict + 'static>(
        &self,
        program: &Arc<P>,
        is_listed: &IsListed,
    ) {
        self.total.list(program, is_listed);
    }

    fn take(&self, bytes: usize) -> Result<(), Short> {
        self.total.take(bytes)?;
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.total.give_back(bytes);
    }
}

impl Beginning {
    /// Returns the initial memory of a program whose compiled file has `file_bytes`. For a
    /// component that imports modules, it is unknown in advance.
    pub(in crate::engine) fn new(needed: Option<&ResourcesRequired>, file_bytes: usize) -> Self {
        let Some(needed) = needed else {
            return Self::default();
        };
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let size = |size: Option<u64>| usize::try_from(size.unwrap_or(0)).unwrap_or(usize::MAX);
        let memory = count(needed.num_memories)
            .saturating_mul(size(needed.max_initial_memory_size))
            .saturating_mul(PAGE_BYTES);
        let tables = count(needed.num_tables)
            .saturating_mul(size(needed.max_initial_table_size))
            .saturating_mul(ELEMENT_BYTES);
        let bytes = memory.saturating_add(tables);
        let image = match memory.min(file_bytes) {
            small if small < MIN_IMAGE_BYTES => 0,
            image => image,
        };
        Self {
            bytes,
            charge: bytes - (image - image / IMAGE_SHARE),
        }
    }

    /// Returns the part of `bytes` that counts.
    fn share(&self, bytes: usize) -> usize {
        let share = bytes as u128 * self.charge as u128 / (self.bytes as u128).max(1);
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

impl Reservation {
    /// Reserves the growth of a linear memory. Its initial size is part of the beginning.
    pub(in crate::engine) fn grow_memory(&mut self, from: usize, to: usize) -> Result<(), Short> {
        self.grow(from == 0, to.saturating_sub(from))
    }

    /// Reserves the growth of a table, in elements. Its initial size is part of the beginning.
    pub(in crate::engine) fn grow_table(&mut self, from: usize, to: usize) -> Result<(), Short> {
        let more = to.saturating_sub(from).saturating_mul(ELEMENT_BYTES);
        self.grow(from == 0, more)
    }

    /// Releases the unused part of the initial reservation, after the instance was created.
    pub(in crate::engine) fn settle(&mut self) {
        let unused = std::mem::take(&mut self.unused_bytes);
        if unused > 0 {
            let back = self.beginning.share(unused).min(self.charged);
            self.charged -= back;
            self.memory.give_back(back);
        }
    }

    fn grow(&mut self, is_first: bool, bytes: usize) -> Result<(), Short> {
        let covered = if is_first {
            bytes.min(self.unused_bytes)
        } else {
            0
        };
        self.unused_bytes -= covered;
        let more = bytes - covered;
        if more > 0 {
            self.memory.take(more)?;
            self.charged += more;
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.give_back(self.charged);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("charged", &self.charged)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(memories: u32, pages: u64, file_bytes: usize) -> Beginning {
        let needed = ResourcesRequired {
            num_memories: memories,
            max_initial_memory_size: Some(pages),
            num_tables: 1,
            max_initial_table_size: Some(2),
        };
        Beginning::new(Some(&needed), file_bytes)
    }

    fn total(limit: usize) -> Arc<ProgramMemory> {
        let total = MemoryTotal::new();
        total.set_limit(limit);
        ProgramMemory::new(Arc::new(total))
    }

    #[test]
    fn all_that_is_taken_is_given_back() {
        let total = total(10 * PAGE_BYTES);
        let beginning = beginning(1, 2, 0);
        let mut first = ProgramMemory::reserve(&total, beginning).expect("room");
        assert_eq!(total.used(), 2 * PAGE_BYTES + 16);
        // The initial memory is already reserved.
        first.grow_memory(0, 2 * PAGE_BYTES).expect("taken");
        first.grow_table(0, 2).expect("taken");
        first.settle();
        assert_eq!(total.used(), 2 * PAGE_BYTES + 16);
        first
            .grow_memory(2 * PAGE_BYTES, 8 * PAGE_BYTES)
            .expect("room");
        assert_eq!(
            ProgramMemory::reserve(&total, beginning).map(drop),
            Err(Short {
                limit: 10 * PAGE_BYTES
            })
        );
        assert!(first.grow_memory(8 * PAGE_BYTES, 10 * PAGE_BYTES).is_err());
        assert!(first.grow_table(2, 4).is_ok());
        assert_eq!(
            total.used(),
            8 * PAGE_BYTES + 32,
            "what was refused was not taken"
        );
        drop(first);
        assert_eq!(total.used(), 0);
    }

    #[test]
    fn programs_count_their_part_of_the_total() {
        let one = total(usize::MAX);
        let other = ProgramMemory::new(one.total.clone());
        let beginning = beginning(1, 2, 0);
        let first = ProgramMemory::reserve(&one, beginning).expect("room");
        let mut second = ProgramMemory::reserve(&other, beginning).expect("room");
        second
            .grow_memory(2 * PAGE_BYTES, 3 * PAGE_BYTES)
            .expect("room");
        assert_eq!(one.used(), 2 * PAGE_BYTES + 16);
        assert_eq!(other.used(), 3 * PAGE_BYTES + 16);
        assert_eq!(one.total.used(), one.used() + other.used());
        drop(first);
        assert_eq!((one.used(), one.total.used()), (0, other.used()));
        drop(second);
        assert_eq!((other.used(), one.total.used()), (0, 0));
    }

    #[test]
    fn a_memory_of_no_page_does_not_grow_for_nothing() {
        let total = total(usize::MAX);
        let mut one = ProgramMemory::reserve(&total, Beginning::default()).expect("room");
        one.grow_memory(0, 0).expect("room");
        one.settle();
        one.grow_memory(0, 5 * PAGE_BYTES).expect("room");
        assert_eq!(total.used(), 5 * PAGE_BYTES);
    }

    #[test]
    fn memories_that_turn_out_smaller_are_not_counted_for_long() {
        let total = total(usize::MAX);
        let mut one = ProgramMemory::reserve(&total, beginning(3, 4, 0)).expect("room");
        assert_eq!(total.used(), 12 * PAGE_BYTES + 16);
        for pages in [4, 1, 0] {
            one.grow_memory(0, pages * PAGE_BYTES).expect("taken");
        }
        one.grow_table(0, 2).expect("taken");
        one.settle();
        assert_eq!(total.used(), 5 * PAGE_BYTES + 16);
    }

    #[test]
    fn of_what_a_file_fills_a_quarter_is_counted() {
        let mib = 1 << 20;
        let whole = beginning(1, 32, 0);
        assert_eq!(whole.charge, 2 * mib + 16);
        assert_eq!(beginning(1, 32, mib - 1), whole, "a small file");
        assert_eq!(beginning(1, 32, mib).charge, mib + mib / 4 + 16);
        assert_eq!(beginning(1, 32, 9 * mib).charge, mib / 2 + 16);
        assert_eq!(Beginning::new(None, mib), Beginning::default());
        let absurd = beginning(u32::MAX, u64::MAX, usize::MAX);
        assert!(absurd.charge <= absurd.bytes);
    }

    #[test]
    fn threads_never_exceed_the_limit_together() {
        let total = total(3 * PAGE_BYTES);
        let beginning = beginning(1, 1, 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let one = ProgramMemory::reserve(&total, beginning);
                        assert!(total.used() <= 3 * PAGE_BYTES);
                        drop(one);
                    }
                });
            }
        });
        assert_eq!(total.used(), 0);
    }
}
