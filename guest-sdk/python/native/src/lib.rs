//! The Python module `wasgi.guest._native`: what the sandbox's CPython lacks, and what Python is
//! too slow for. It is linked into a component as a shared library (`cargo xtask python-native`
//! builds it).
//!
//! `wasgi.guest.hashes` and `wasgi.guest.stack` check what they pass, and are the only callers.

#![no_std]

extern crate alloc;

mod hashes;
mod memory;
mod python;
mod stack;
