//! The guard of CPython against a stack that is full.
//!
//! CPython 3.14 compares the address of the C stack with a limit, and raises `RecursionError`
//! behind it. WebAssembly has two stacks: addresses are those in the linear memory, and what
//! overflows first is the engine's own, of which a program sees nothing (`wasgi.recursion`).

use core::ffi::c_void;
use core::ptr;

use crate::python::{self, Arguments, Object, PyThreadState_Get};

/// How far below the limit the stack is at its end, in bytes: what handles the exception has so
/// much. CPython aborts there.
const MARGIN_BYTES: u32 = 48 << 10;

/// Words of a thread's state that are looked through.
const WORDS: usize = 512;

/// `set_stack_limit(bytes)`: lets the C stack have so many bytes from its beginning on before
/// `RecursionError` is raised. Returns how many it had.
///
/// # Safety
///
/// Called by CPython, with a tuple.
pub(crate) unsafe extern "C" fn set_limit(_: *mut Object, tuple: *mut Object) -> *mut Object {
    // SAFETY: see above.
    let arguments = unsafe { Arguments::new(tuple) };
    let Some(limit) = arguments.number::<u32>(0) else {
        return ptr::null_mut();
    };
    // SAFETY: this thread has a state, since it runs Python.
    let state = unsafe { PyThreadState_Get() };
    // SAFETY: it is that state.
    match unsafe { limits(state) } {
        Some(words) => {
            // SAFETY: three words in the state, as `limits` has found them.
            let [top, soft, _] = unsafe { words.read() };
            if limit > top.saturating_sub(MARGIN_BYTES) {
                return python::refuse(c"there is no such stack");
            }
            // SAFETY: the same three words.
            unsafe { words.write([top, top - limit, top - limit - MARGIN_BYTES]) };
            python::number(i64::from(top - soft))
        }
        None => python::refuse(c"the limits of the stack were not found"),
    }
}

/// Where a thread's state has the top of its stack, the soft limit and the hard one: three words of
/// which the address of a variable here is between the first two, and the third a little less.
///
/// # Safety
///
/// `state` is a thread's state.
unsafe fn limits(state: *mut c_void) -> Option<*mut [u32; 3]> {
    let here = &raw const state as u32;
    let words: *mut u32 = state.cast();
    (0..WORDS).find_map(|at| {
        // SAFETY: the state is part of a larger structure, the interpreter's, which goes on for
        // more than these words.
        let found = unsafe { words.add(at) }.cast::<[u32; 3]>();
        // SAFETY: three words in that structure, which are numbers whatever they stand for.
        let [top, soft, hard] = unsafe { found.read() };
        let is_found = top >= here
            && here > soft
            && soft > hard
            && top - soft <= 16 << 20
            && soft - hard <= 64 << 10;
        is_found.then_some(found)
    })
}
