//! CPython's guard against a stack overflow.
//!
//! CPython 3.14 compares the address of the C stack with a limit, and raises `RecursionError` below
//! it. WebAssembly has two stacks: addresses refer to the one in the linear memory, but the
//! engine's own stack, which a program can't observe, overflows first (`wasgi.recursion`).

use core::ffi::c_void;
use core::ptr;

use crate::python::{self, Arguments, Object, PyThreadState_Get};

/// The distance from the limit to the end of the stack, in bytes, which is available for handling
/// the exception. CPython aborts at the end.
const MARGIN_BYTES: u32 = 48 << 10;

/// The number of words of a thread's state that are searched.
const WORDS: usize = 512;

/// Implements `set_stack_limit(bytes)`: sets how many bytes of the C stack may be used before
/// `RecursionError` is raised. Returns the previous value.
///
/// # Safety
///
/// The caller must be CPython, with a tuple of arguments.
pub(crate) unsafe extern "C" fn set_limit(_: *mut Object, tuple: *mut Object) -> *mut Object {
    // SAFETY: CPython passes a tuple, which outlives the call.
    let arguments = unsafe { Arguments::new(tuple) };
    let Some(limit) = arguments.number::<u32>(0) else {
        return ptr::null_mut();
    };
    // SAFETY: this thread has a state, since it runs Python.
    let state = unsafe { PyThreadState_Get() };
    // SAFETY: the pointer is this thread's state.
    match unsafe { limits(state) } {
        Some(words) => {
            // SAFETY: `limits` found these three words in the state.
            let [top, soft, _] = unsafe { words.read() };
            if limit > top.saturating_sub(MARGIN_BYTES) {
                return python::refuse(c"there is no such stack");
            }
            // SAFETY: they are the same three words.
            unsafe { words.write([top, top - limit, top - limit - MARGIN_BYTES]) };
            python::number(i64::from(top - soft))
        }
        None => python::refuse(c"the limits of the stack were not found"),
    }
}

/// Finds the three words of a thread's state that contain the top of its stack, the soft limit and
/// the hard limit. The address of a local variable is between the first two, and the third is
/// slightly below the second.
///
/// # Safety
///
/// `state` must be a thread's state.
unsafe fn limits(state: *mut c_void) -> Option<*mut [u32; 3]> {
    let here = &raw const state as u32;
    let words: *mut u32 = state.cast();
    (0..WORDS).find_map(|at| {
        // SAFETY: the state is part of the interpreter's structure, which extends beyond these
        // words.
        let found = unsafe { words.add(at) }.cast::<[u32; 3]>();
        // SAFETY: three words in that structure, which are valid as numbers.
        let [top, soft, hard] = unsafe { found.read() };
        let is_found = top >= here
            && here > soft
            && soft > hard
            && top - soft <= 16 << 20
            && soft - hard <= 64 << 10;
        is_found.then_some(found)
    })
}
