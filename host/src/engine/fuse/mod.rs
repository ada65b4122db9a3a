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
//! - `numbers`, `constant`, `slots`, `copy` and `merge` make the module; `reindex` and `rewrite`
//!   the component.

mod constant;
mod copy;
mod inner;
mod members;
mod merge;
mod numbers;
mod outer;
mod plan;
mod refusal;
mod reindex;
mod rewrite;
mod slots;

use wasmparser::{Parser, Validator, WasmFeatures};

use members::Members;
use outer::Outer;
use plan::Plan;
pub(super) use refusal::Refusal;

/// Goes into the names of compiled code: raise it when the same component comes out in another way.
pub(super) const REVISION: u32 = 1;

/// A component that does the same with fewer core instances.
///
/// # Errors
///
/// Says why there is none. It may be that the component is broken: that is for its compiler to say.
pub(super) fn component(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    validate(bytes)?;
    let outer = Outer::of(bytes)?;
    let members = Members::of(&outer);
    match Plan::of(&members) {
        Some(plan) => rewrite::component(&members, &plan),
        None => Err(Refusal::new("there is nothing to fuse")),
    }
}

/// Checks all but the functions' bodies, so that what is taken apart is known to fit together.
fn validate(bytes: &[u8]) -> Result<(), Refusal> {
    // Whether the engine has a feature is for the engine to say.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(bytes) {
        validator.payload(&payload?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
