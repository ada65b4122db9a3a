//! `println!`, `eprintln!` and `dbg!` without WASI: they write to `wsgi.errors`.
//!
//! The standard library of `wasm32-wasip2` reaches its streams through libc's `write`, and libc's
//! opens WASI's standard streams, terminals and all. As a panic may always print, that makes every
//! handler import a dozen interfaces, and the server build a WASI context for each request. So
//! this module brings a `write` and a `getenv` of its own (`getenv` is asked for `RUST_BACKTRACE`
//! by a panic); the linker takes them first, and libc's are left out.
//!
//! The price: files can't be written through `std::fs`. A handler that has been granted files
//! turns the feature `stdio` off, and imports WASI.

#![allow(unsafe_code)] // Symbols that the linker is to prefer, and the slice that one is given.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend;
use crate::environ::Environ;

/// Whose `wsgi.errors` the streams are: that of the latest request.
static CURRENT: Mutex<Option<Arc<backend::Environ>>> = Mutex::new(None);

/// Has what is printed from now on go to `wsgi.errors` of this environ.
pub(crate) fn attach(environ: &Environ) {
    let current = Some(Arc::clone(environ.backend()));
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = current;
}

/// In place of libc's: standard output and standard error are the error log.
///
/// # Safety
/// As for libc's `write`: `text` points at `length` bytes that can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, text: *const c_void, length: usize) -> isize {
    assert!(
        descriptor <= 2,
        "to write files, turn off the feature `stdio` of wasgi-sdk"
    );
    // SAFETY: what the caller promises.
    let text = unsafe { std::slice::from_raw_parts(text.cast(), length) };
    if let Some(environ) = &*CURRENT.lock().unwrap_or_else(PoisonError::into_inner) {
        environ.write_errors(text);
    }
    length.cast_signed()
}

/// In place of libc's: a handler has no environment (its variables are the environ's).
#[unsafe(no_mangle)]
extern "C" fn getenv(_name: *const c_char) -> *const c_char {
    std::ptr::null()
}
