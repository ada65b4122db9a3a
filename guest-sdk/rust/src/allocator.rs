//! Memory for a program that lives for one request.
//!
//! Such a program seldom frees anything that it could use again, and each page that it touches has
//! to be reset before the next instance can have it. So blocks are cut off one after the other,
//! from a small arena beside the program's data, and from grown memory once that is used up. A
//! freed block waits in a list for the next one of its size; the latest block is taken back, or
//! grown in place.
//!
//! Sizes are rounded up to one of four steps per power of two, so at most a fifth of a block is
//! wasted (from 64 bytes on). Freed blocks are never joined: a program that frees many of one size
//! and then wants another needs new memory for those.
//!
//! It takes what libc's allocator leaves alone (its own static arena, and pages that it grew
//! itself), so both can be in one program.

#![allow(unsafe_code)] // An allocator hands out pointers.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

/// The arena that is there from the start, in bytes. A request that needs no more never grows
/// memory, which on the host is a system call for each instance, and one to take it back. With
/// the stack of 32 KiB and the data of a small handler this fits one page of WebAssembly.
const ARENA_BYTES: usize = 16 * 1024;

/// Least growth in bytes: four pages, as each growth costs the same. Memory that is grown and not
/// touched costs the host nothing.
const GROWTH_MIN_BYTES: usize = 256 * 1024;

/// A page of WebAssembly, in bytes.
const PAGE_BYTES: usize = 64 * 1024;

/// Every block begins at a multiple of this, in bytes, and is as long as one.
const GRAIN_BYTES: usize = 16;

/// Classes of sizes: four per power of two, up to 2 GiB.
const CLASSES: usize = 4 * 27;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(dead_code, reason = "tests take a `State`")
)]
static ALLOCATOR: Allocator = Allocator {
    state: UnsafeCell::new(State {
        next: 0,
        end: 0,
        free: [None; CLASSES],
    }),
    arena: UnsafeCell::new([Grain([0; GRAIN_BYTES]); ARENA_BYTES / GRAIN_BYTES]),
};

/// The state is written first of all, and the arena's first blocks are right behind it: all of
/// that is likely to be in one page.
#[repr(C)]
struct Allocator {
    state: UnsafeCell<State>,
    arena: UnsafeCell<[Grain; ARENA_BYTES / GRAIN_BYTES]>,
}

/// Aligns the arena. Its bytes are only ever reached through pointers.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Grain(#[expect(dead_code, reason = "space")] [u8; GRAIN_BYTES]);

// SAFETY: `wasm32-wasip2` has one thread, and no method of the allocator calls out while it holds
// a reference to the state.
unsafe impl Sync for Allocator {}

/// What is free.
struct State {
    /// Where the next block is cut off: `next <= end`. Both are 0 until the first is asked for.
    next: usize,
    end: usize,
    /// Freed blocks, by class.
    free: [Option<NonNull<Free>>; CLASSES],
}

/// What a freed block holds: the next one of its class.
struct Free {
    next: Option<NonNull<Free>>,
}

impl State {
    fn take(&mut self, size: usize, align: usize) -> *mut u8 {
        let class = class_of(size);
        if align <= GRAIN_BYTES
            && let Some(block) = self.free[class]
        {
            // SAFETY: a block in a list is nobody's, and begins with a `Free`.
            self.free[class] = unsafe { block.as_ref() }.next;
            return block.as_ptr().cast();
        }
        self.cut(size_of_class(class), align.max(GRAIN_BYTES))
    }

    /// Cuts a block off what was never used.
    fn cut(&mut self, size: usize, align: usize) -> *mut u8 {
        loop {
            if let Some(start) = self.next.checked_next_multiple_of(align)
                && let Some(end) = start.checked_add(size)
                && end <= self.end
            {
                self.next = end;
                return ptr::with_exposed_provenance_mut(start);
            }
            if !self.grow(size.saturating_add(align)) {
                return ptr::null_mut();
            }
        }
    }

    /// Has `size` bytes more at the end, or, where memory has been grown by someone else, a new
    /// `next` with so many behind it.
    fn grow(&mut self, size: usize) -> bool {
        let least = size.div_ceil(PAGE_BYTES);
        for pages in [least.max(GROWTH_MIN_BYTES / PAGE_BYTES), least] {
            let Some(start) = grow_memory(pages) else {
                continue;
            };
            if start != self.end {
                self.next = start;
            }
            self.end = start + pages * PAGE_BYTES;
            return true;
        }
        false
    }

    /// Whether the block at this address could be given another size where it is.
    fn resize(&mut self, block: usize, old: usize, new: usize) -> bool {
        let old = size_of_class(class_of(old));
        let new = size_of_class(class_of(new));
        if old == new {
            return true;
        }
        if block + old != self.next {
            return false;
        }
        let Some(end) = block.checked_add(new) else {
            return false;
        };
        // Growing may move `next` away from the block.
        if end > self.end && !(self.grow(end - self.end) && self.next == block + old) {
            return false;
        }
        self.next = end;
        true
    }

    fn give(&mut self, block: NonNull<u8>, size: usize) {
        let class = class_of(size);
        if block.addr().get() + size_of_class(class) == self.next {
            self.next = block.addr().get();
            return;
        }
        let block = block.cast::<Free>();
        let freed = Free {
            next: self.free[class],
        };
        // SAFETY: the block is nobody's from now on, and has room for a `Free`.
        unsafe { block.write(freed) };
        self.free[class] = Some(block);
    }
}

impl Allocator {
    /// # Safety
    /// To be called where no reference that an earlier call gave is alive.
    #[expect(
        clippy::mut_from_ref,
        reason = "what the cell is for; the caller promises"
    )]
    unsafe fn state(&self) -> &mut State {
        // SAFETY: there is one thread, and the caller holds no other reference.
        let state = unsafe { &mut *self.state.get() };
        if state.end == 0 {
            state.next = self.arena.get().expose_provenance();
            state.end = state.next + ARENA_BYTES;
        }
        state
    }
}

// SAFETY: blocks that are handed out don't overlap, as they are cut off one after the other and
// are in at most one list; each is as long and as aligned as asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: nothing here calls another method of this.
        unsafe { self.state() }.take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: as in `alloc`.
            unsafe { self.state() }.give(block, layout.size());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `alloc`; the reference is gone before the calls below.
        if unsafe { self.state() }.resize(block.addr(), layout.size(), size) {
            return block;
        }
        // SAFETY: the caller promises that `size` fits the alignment, and that the block is its
        // own and has `layout.size()` bytes; the new one is another.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// The smallest class whose blocks hold `size` bytes: 16, 32, 48, 64, then 80, 96, 112, 128, then
/// 160, 192, 224, 256, and so on.
fn class_of(size: usize) -> usize {
    let last = size.max(1) - 1;
    match last.checked_ilog2() {
        // Steps of a quarter of the power of two below.
        Some(power @ 6..) => (power as usize - 6) * 4 + (last >> (power - 2)),
        _ => last / GRAIN_BYTES,
    }
}

/// The length of a class's blocks, in bytes.
fn size_of_class(class: usize) -> usize {
    match class.checked_sub(4) {
        Some(above) => (above % 4 + 5) << (above / 4 + 4),
        None => (class + 1) * GRAIN_BYTES,
    }
}

/// Grows memory. The address of the first new page.
#[cfg(target_arch = "wasm32")]
fn grow_memory(pages: usize) -> Option<usize> {
    let before = core::arch::wasm32::memory_grow::<0>(pages);
    (before != usize::MAX).then(|| before * PAGE_BYTES)
}

#[cfg(not(target_arch = "wasm32"))]
use tests::grow_memory;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A memory of 64 MiB per test.
    const MEMORY_BYTES: usize = 64 << 20;

    thread_local! {
        static MEMORY: usize = {
            let memory = vec![0_u8; MEMORY_BYTES + PAGE_BYTES].leak();
            memory.as_mut_ptr().expose_provenance().next_multiple_of(PAGE_BYTES)
        };
        static GROWN: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn grow_memory(pages: usize) -> Option<usize> {
        let before = GROWN.get();
        let after = before + pages * PAGE_BYTES;
        if after > MEMORY_BYTES {
            return None;
        }
        GROWN.set(after);
        Some(MEMORY.with(|memory| memory + before))
    }

    fn state() -> State {
        State {
            next: 0,
            end: 0,
            free: [None; CLASSES],
        }
    }

    #[test]
    fn a_class_is_the_smallest_that_fits() {
        let sizes: Vec<usize> = (0..12).map(size_of_class).collect();
        assert_eq!(
            sizes,
            [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256]
        );
        for size in (0..100_000).chain([1 << 20, (1 << 30) + 1, (1 << 31) - 1]) {
            let class = class_of(size);
            assert!(class < CLASSES);
            assert!(size_of_class(class) >= size, "{size}");
            assert!(class == 0 || size_of_class(class - 1) < size, "{size}");
        }
    }

    #[test]
    fn a_freed_block_is_used_again() {
        let mut state = state();
        let first = state.take(100, 8);
        let second = state.take(100, 8);
        assert_ne!(first, second);
        state.give(NonNull::new(first).unwrap(), 100);
        assert_eq!(state.take(112, 8), first);
        // The latest is taken back, and may get another size.
        state.give(NonNull::new(second).unwrap(), 100);
        assert_eq!(state.take(5000, 8), second);
    }

    #[test]
    fn the_latest_block_grows_in_place() {
        let mut state = state();
        let block = state.take(64, 8).addr();
        let mut size = 64;
        while size < 1 << 20 {
            assert!(state.resize(block, size, size * 2));
            size *= 2;
        }
        assert!(state.resize(block, size, 16));
        let next = state.take(16, 8).addr();
        assert_eq!(next, block + 16);
        assert!(!state.resize(block, 16, 17));
    }

    #[test]
    fn streaming_needs_no_more_memory_than_a_block() {
        let mut state = state();
        for _ in 0..1000 {
            let block = state.take(64 * 1024, 1);
            let other = state.take(24, 4);
            state.give(NonNull::new(block).unwrap(), 64 * 1024);
            state.give(NonNull::new(other).unwrap(), 24);
        }
        assert_eq!(GROWN.get(), GROWTH_MIN_BYTES);
    }

    #[test]
    fn what_is_too_large_is_refused_and_the_rest_goes_on() {
        let mut state = state();
        assert!(state.take(MEMORY_BYTES + 1, 8).is_null());
        assert!(state.take((1 << 31) - 1, 8).is_null());
        assert!(!state.take(16, 8).is_null());
    }

    #[test]
    fn blocks_never_overlap() {
        let mut state = state();
        let mut random = 42_u64;
        let mut next = |below: u64| {
            // Knuth's MMIX generator; its upper bits are the good ones.
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((random >> 33) % below) as usize
        };
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        for _ in 0..20_000 {
            if blocks.len() < 50 || next(2) == 0 {
                let power = next(14);
                let size = 1 + next(1 << power);
                let align = 1 << next(8);
                let block = state.take(size, align).addr();
                assert!(block != 0 && block.is_multiple_of(align));
                blocks.push((block, size));
            } else {
                let chosen = next(blocks.len() as u64);
                let (block, size) = blocks.swap_remove(chosen);
                state.give(
                    NonNull::new(ptr::with_exposed_provenance_mut(block)).unwrap(),
                    size,
                );
            }
        }
        blocks.sort_unstable();
        assert!(
            blocks
                .windows(2)
                .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
        );
    }
}
