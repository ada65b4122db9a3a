//! A component of fewer core instances.
//!
//! An instance is made for each request, and a component's toolchain has it made of several: a
//! program, a small module through which it calls what needs its memory, and another that fills
//! that one's table; of Python's, fourteen, as it has a module for each shared library. Each takes
//! time. A library's functions are put into a table of the program's, one by one and in each
//! instance anew, where wasmtime would have laid out a module's own table when it compiled.
//!
//! So what is linked within a component is linked here, once: its core modules become one, or one
//! and a second that fills tables. Others than a compiler don't see it. What isn't understood is
//! refused, and then the component stays as it is.
//!
//! - `outer` and `inner` take a component and its modules apart; `members` are the instances in
//!   question, with what they have from each other.
//! - `plan` says which of them become one, and why that changes nothing.
//! - `numbers`, `constant`, `slots`, `shims`, `copy` and `merge` make the module; `reindex` and
//!   `rewrite` the component.
//! - `program`, `contract` and `glue` make a module of all of it that is called directly, where it
//!   is an application that has nothing but the gateway.

mod constant;
mod contract;
mod copy;
mod glue;
mod inner;
mod members;
mod merge;
mod numbers;
mod outer;
mod plan;
mod program;
mod refusal;
mod reindex;
mod rewrite;
mod shims;
mod slots;

use wasmparser::types::Types;
use wasmparser::{Parser, ValidPayload, Validator};

pub(super) use contract::GATEWAY;
use members::Members;
use outer::Outer;
use plan::Plan;
pub(super) use refusal::Refusal;

/// Goes into the names of compiled code: raise it when the same component comes out in another way,
/// or what is said in `direct::abi` or done in `bulk` changes.
pub(super) const REVISION: u32 = 4;

/// What a component has become.
pub(super) enum Fused {
    /// A core module that the host calls directly (`direct`).
    Program(Vec<u8>),
    /// A component that does the same with fewer core instances.
    Component(Vec<u8>),
}

/// Fuses a component.
///
/// # Errors
///
/// Says why it stays as it is. It may be that it is broken: that is for its compiler to say.
pub(super) fn component(bytes: &[u8]) -> Result<Fused, Refusal> {
    let types = validate(bytes)?;
    let outer = Outer::of(bytes)?;
    let members = Members::of(&outer);
    match program::module(&members, &types) {
        Ok(module) => return Ok(Fused::Program(module)),
        Err(why) => tracing::debug!("not called directly: {why}"),
    }
    match Plan::of(&members) {
        Some(plan) => rewrite::component(&members, &plan).map(Fused::Component),
        None => Err(Refusal::new("there is nothing to fuse")),
    }
}

/// Fuses a component to one of fewer core instances, even if it could be called directly.
pub(super) fn members_of_component(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    validate(bytes)?;
    let outer = Outer::of(bytes)?;
    let members = Members::of(&outer);
    match Plan::of(&members) {
        Some(plan) => rewrite::component(&members, &plan),
        None => Err(Refusal::new("there is nothing to fuse")),
    }
}

/// Checks all but the functions' bodies, so that what is taken apart is known to fit together.
fn validate(bytes: &[u8]) -> Result<Types, Refusal> {
    // No more than what is usual: what the engine would refuse may be left out by a merged module.
    let mut validator = Validator::new();
    let mut types = None;
    for payload in Parser::new(0).parse_all(bytes) {
        if let ValidPayload::End(of) = validator.payload(&payload?)? {
            // The component itself is what ends last.
            types = Some(of);
        }
    }
    types.ok_or(Refusal::new("it has no end"))
}

#[cfg(test)]
mod linear;
#[cfg(test)]
mod tests;
