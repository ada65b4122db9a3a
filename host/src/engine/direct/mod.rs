//! Applications that are called directly, without a component's instance around them.
//!
//! Each request needs a new instance. Besides its program, a component has parts that cost as much
//! again: resources, their tables, functions that are lifted and lowered from descriptions of their
//! types, and a core instance that connects them. An application that imports only the gateway
//! needs none of these: the contract has few functions, and this module implements their canonical
//! ABI (component-model, CanonicalABI.md) once. `fuse` turns such an application into a core
//! module, whose imports and exports are named in `abi`.
//!
//! - `lift` reads values from an application's memory, and `lower` writes them.
//! - `handles` are the application's handles for an environ, a start-response and its blocks.
//! - `host` has the functions that it imports, `Instance` those that it exports, `returned` the
//!   results of these.
//!
//! The semantics are the same either way: this traps wherever a component's instance would.
//! `fuse::program` rejects an application for which that can't be guaranteed.

mod handles;
mod host;
mod instance;
mod lift;
mod lower;
mod returned;
mod state;
#[cfg(test)]
mod tests;

use wasgi_component::abi;

pub(super) use host::add_to_linker;
pub(super) use instance::{Instance, Pre};
pub(super) use state::Direct;
