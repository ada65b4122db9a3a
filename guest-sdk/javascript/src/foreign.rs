//! The functions of C that have no safe form in Rust.

#![allow(unsafe_code)]

use rquickjs::{Ctx, Exception, Result, TypedArray};

/// Copies the bytes of a view.
///
/// # Errors
///
/// Throws a `TypeError` if its buffer was transferred.
pub(crate) fn copy(cx: &Ctx<'_>, bytes: &TypedArray<'_, u8>) -> Result<Vec<u8>> {
    // SAFETY: no JavaScript runs while the slice exists, so nothing changes or frees the buffer.
    let bytes = unsafe { bytes.as_bytes() }.map(<[u8]>::to_vec);
    bytes.ok_or_else(|| Exception::throw_type(cx, "the buffer was transferred"))
}

/// Makes the C library forget the folders that the host has preopened: their handles are those of
/// this instance. It asks again when the next file is opened.
pub(crate) fn forget_folders() {
    // SAFETY: the function has this signature in wasi-libc, and no file is open.
    unsafe extern "C" {
        safe fn __wasilibc_reset_preopens();
    }
    __wasilibc_reset_preopens();
}
