//! Memory from the C library that the whole component shares, and what happens on a panic.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(address: *mut c_void);
}

struct CLibrary;

#[global_allocator]
static ALLOCATOR: CLibrary = CLibrary;

/// What `malloc` aligns to where a pointer has 32 bits, in bytes.
const MALLOC_ALIGNMENT: usize = 8;

// SAFETY: `malloc` and `free` keep the contract for alignments up to theirs, and larger ones are
// refused.
unsafe impl GlobalAlloc for CLibrary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > MALLOC_ALIGNMENT {
            return core::ptr::null_mut();
        }
        // SAFETY: `malloc` takes any size.
        unsafe { malloc(layout.size()).cast() }
    }

    unsafe fn dealloc(&self, address: *mut u8, _: Layout) {
        // SAFETY: the caller's contract: the address is one of `alloc`'s, and so of `malloc`'s.
        unsafe { free(address.cast()) }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
