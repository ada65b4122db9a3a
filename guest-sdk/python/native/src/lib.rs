//! The Python module `wasgi.guest._native`: functions that the sandbox's CPython lacks, or that
//! would be too slow in Python. It is linked into a component as a shared library, which
//! `cargo xtask python-native` builds.
//!
//! Its only callers are `wasgi.guest.hashes` and `wasgi.guest.stack`, which check their arguments.

#![no_std]

extern crate alloc;

mod hashes;
mod memory;
mod module;
mod python;
mod stack;
