//! `println!`, `eprintln!` and `dbg!` without WASI: they write to `wsgi.errors`.
//!
//! The standard library of `wasm32-wasip2` uses libc's `write`, which opens WASI's standard
//! streams, including terminals. Since a panic can always print, every handler would import a dozen
//! interfaces, and the server would create a WASI context for each request. Therefore this module
//! defines `write` and `getenv` (a panic calls `getenv` for `RUST_BACKTRACE`); the linker prefers
//! them to libc's.
//!
//! As a consequence, `std::fs` can't write files. A handler with access to files disables the
//! feature `stdio`, and imports WASI.

#![allow(unsafe_code)] // Symbols that the linker is to prefer, and the slice that one is given.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend;
use crate::environ::Environ;

/// The environ whose `wsgi.errors` the streams write to: that of the latest request.
static CURRENT: Mutex<Option<Arc<backend::Environ>>> = Mutex::new(None);

/// Redirects the standard streams to `wsgi.errors` of this environ.
pub(crate) fn attach(environ: &Environ) {
    let current = Some(Arc::clone(environ.backend()));
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = current;
}

/// Replaces libc's `write`: standard output and standard error go to the error log.
///
/// # Safety
/// As for libc's `write`: `text` must point at `length` readable bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, text: *const c_void, length: usize) -> isize {
    assert!(
        descriptor <= 2,
        "to write files, disable the feature `stdio` of wasgi-sdk"
    );
    // SAFETY: the caller guarantees that `text` points at `length` readable bytes.
    let text = unsafe { std::slice::from_raw_parts(text.cast(), length) };
    if let Some(environ) = &*CURRENT.lock().unwrap_or_else(PoisonError::into_inner) {
        environ.write_errors(text);
    }
    length.cast_signed()
}

/// Replaces libc's `getenv`, which would make every handler import WASI: no variable is set. A
/// handler reads those that are granted to it with [`variable`](crate::variable()).
#[unsafe(no_mangle)]
extern "C" fn getenv(_name: *const c_char) -> *const c_char {
    std::ptr::null()
}
