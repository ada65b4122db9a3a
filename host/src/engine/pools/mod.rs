//! The instances of handlers and their memory.
//!
//! - `settings` are those of the engines: each has a pool of instances. `overflow` is the largest
//!   one, created on demand.
//! - `memory` limits the memory of all instances together.
//! - `warm` keeps instances that wait for another request.
//! - `image` determines how a program's initial memory is compiled.

pub(super) mod image;
pub(super) mod memory;
pub(super) mod overflow;
pub(super) mod settings;
pub(super) mod warm;
