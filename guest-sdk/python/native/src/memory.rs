//! The allocator, which uses the component's shared C library, and the panic handler.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(address: *mut c_void);
}

struct CLibrary;

#[global_allocator]
static ALLOCATOR: CLibrary = CLibrary;

/// The alignment of `malloc` for 32-bit pointers, in bytes.
const MALLOC_ALIGNMENT: usize = 8;

// SAFETY: `malloc` and `free` fulfil the contract for alignments up to theirs, and larger ones are
// refused.
unsafe impl GlobalAlloc for CLibrary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > MALLOC_ALIGNMENT {
            return core::ptr::null_mut();
        }
        // SAFETY: `malloc` accepts any size.
        unsafe { malloc(layout.size()).cast() }
    }

    unsafe fn dealloc(&self, address: *mut u8, _: Layout) {
        // SAFETY: by the caller's contract, the address is from `alloc`, and so from `malloc`.
        unsafe { free(address.cast()) }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
