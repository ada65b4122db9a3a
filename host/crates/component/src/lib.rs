//! Transformations of a handler's bytes before they are compiled: bytes in, bytes out.
//!
//! - [`componentize`] turns a core module into a component.
//! - [`bulk`] splits long copies into pieces, so that a guest can yield between them.
//! - [`fuse`] links the core modules of a component ahead of time, and splits a component made from
//!   a snapshot into code and state.
//! - [`lines`] finds the lines of the source that positions in the result belong to.
//! - [`abi`] names the imports and exports of a module that is called without a component around
//!   it.
//!
//! This crate neither compiles nor runs code. It reads untrusted input with limits. Input that it
//! doesn't understand is rejected or left unchanged, with a reason.

pub mod abi;
pub mod bulk;
pub mod componentize;
pub mod fuse;
pub mod lines;

pub use componentize::from_module;
pub use fuse::{Linked, Unsupported, link};
