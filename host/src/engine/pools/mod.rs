//! The instances of handlers and their memory.
//!
//! - `instances` is a pool, in which programs are linked. `settings` are those of its engine, and
//!   `overflow` is the largest pool, created on demand.
//! - `memory` limits the memory of all instances together.
//! - `warm` keeps instances that wait for another request.
//! - `image` determines how a program's initial memory is compiled.

pub(super) mod image;
pub(super) mod instances;
pub(super) mod memory;
pub(super) mod overflow;
pub(super) mod settings;
pub(super) mod warm;
