//! Applications that are called directly: without a component's instance around them.
//!
//! An instance is made for each request, and what a component has beside its program costs as much
//! again as the program: resources, their tables, functions that are lifted and lowered by a
//! description of their types, a core instance that ties them together. An application that has
//! nothing but the gateway needs none of it: the contract's functions are few, and what the
//! canonical ABI (component-model, CanonicalABI.md) makes of them is written down here once. So
//! `fuse` makes a core module of it, whose imports and exports are named in `abi`.
//!
//! - `lift` takes values out of an application's memory, and `lower` puts them in.
//! - `handles` are the numbers by which it knows an environ, a start-response and its blocks.
//! - `host` has the functions that it imports, `Instance` those that it exports, `returned` what
//!   these return.
//!
//! What one may do is the same either way, and what a component's instance would trap at, this
//! traps at. What it can't be sure of is never called like this: `fuse::program` says when.

mod handles;
mod host;
mod instance;
mod lift;
mod lower;
mod returned;
#[cfg(test)]
mod tests;

use wasgi_component::abi;
use wasmtime::Memory;

use handles::Handles;
pub(super) use host::add_to_linker;
pub(super) use instance::{Instance, Pre};
use lower::Lowering;
use returned::Returned;

/// What a store holds for an application that is called directly.
#[derive(Default)]
pub(super) struct Direct {
    /// Where its values are. None before there is an instance.
    memory: Option<Memory>,
    handles: Handles,
    phase: Phase,
}

/// What an application is at, and so what it may call (`may_leave`, as the canonical ABI has it).
#[derive(Default)]
enum Phase {
    /// Its own work: it may call the host.
    #[default]
    Working,
    /// It allocates for a result of the host's, and may call nothing.
    Allocating(Lowering),
    /// It has returned, and its result was read. What it does after that (`post-return`) may call
    /// nothing.
    Returned(Returned),
}
