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
//! - `component` and `core_module` take a component and its modules apart; `members` are the
//!   instances in question, with what they have from each other.
//! - `plan` says which of them become one, and why that changes nothing.
//! - `numbers`, `constant`, `slots`, `shims`, `member_reencoder` and `merge` make the module;
//!   `reindex` and `rewrite` the component.
//! - `split` takes the merged module of a snapshot apart, as code and state, and `frame` writes
//!   what a component needs that has them as imports.
//! - `program`, `contract` and `glue` make a module of all of it that is called directly, where it
//!   is an application that has nothing but the gateway.

mod component;
mod constant;
mod contract;
mod core_module;
mod frame;
mod glue;
mod member_reencoder;
mod members;
mod merge;
mod numbers;
mod plan;
mod program;
mod refusal;
mod reindex;
mod rewrite;
mod shims;
mod slots;
mod split;

use wasmparser::types::Types;
use wasmparser::{Parser, ValidPayload, Validator};

use component::ParsedComponent;
pub use contract::{APPLICATION, GATEWAY};
use members::Members;
use plan::Plan;
pub use refusal::Refusal;
pub use split::{GLOBAL_PREFIX, snapshot};

/// Goes into the names of compiled code: raise it when the same component comes out in another way,
/// or what is said in `direct::abi` or done in `bulk` changes.
pub const REVISION: u32 = 6;

/// What a component has become.
pub enum Fused {
    /// A core module that the host calls directly (`direct`).
    Program(Vec<u8>),
    /// A component that does the same with fewer core instances.
    Component(Vec<u8>),
    /// The same of a component that was made from a snapshot.
    Apart(Apart),
}

/// A component of a snapshot in three parts. The first two are the same for all snapshots of one
/// interpreter, to the bit.
pub struct Apart {
    /// Names the code and the frame.
    pub key: CodeKey,
    /// A core module with all functions, which imports its memory.
    pub code: Vec<u8>,
    /// A component that imports the two others as core modules, [`CODE`] and [`STATE`].
    pub frame: Vec<u8>,
    /// A core module with the memory and what is in it, and no function.
    pub state: Vec<u8>,
}

/// What is wanted of a component in parts.
#[derive(Default)]
pub struct Ends {
    /// Functions of the code's that are exported by the names that they have in it.
    exported: &'static [&'static str],
    /// The frame is one for taking a snapshot.
    is_loader: bool,
}

/// What an interpreter without an application becomes.
pub struct Runtime {
    /// The interpreter as it begins, in parts.
    pub apart: Apart,
    /// A frame for the same code which also exports [`CAPTURE`]; for that it imports [`MEMORY`] and
    /// [`GLOBAL`].
    pub loader: Vec<u8>,
}

/// A function of a loader's: resets what the C library and WASI's adapter know of the host, and
/// calls the two functions below.
pub const CAPTURE: &str = "wasgi-capture";

/// A function that a loader calls once, with all bytes of its memory.
pub const MEMORY: &str = "wasgi-memory";

/// A function that a loader calls for each global of a state, with its number and its bits.
pub const GLOBAL: &str = "wasgi-global";

/// What is reset in an interpreter before a snapshot is taken: what its preview 1 adapter has
/// opened, and the folders that its C library has been given. Both ask anew in each instance.
const RESETS: &[&str] = &["reset_adapter_state", "__wasilibc_reset_preopens"];

/// A hash of the code and the frame of a component in parts: what is compiled once for all
/// components that have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    fn of(code: &[u8], frame: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(code.len() as u64).to_le_bytes());
        hasher.update(code).update(frame);
        Self(*hasher.finalize().as_bytes())
    }

    /// The name of an export by which a state says which code it belongs to.
    pub fn mark(self) -> String {
        format!("{CODE}:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }

    /// The key in such a name.
    pub fn from_mark(name: &str) -> Option<Self> {
        let hex = name.strip_prefix(CODE)?.strip_prefix(':')?;
        Some(Self(*blake3::Hash::from_hex(hex).ok()?.as_bytes()))
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The name by which a frame imports its code.
pub const CODE: &str = "wasgi-code";

/// The name by which a frame imports its state.
pub const STATE: &str = "wasgi-state";

/// Data of a component from which on it is taken for one of a snapshot, in bytes. A Python
/// interpreter begins with some 10 MiB; what others have as tables and texts is mostly less, and
/// its code is nobody else's.
const MIN_SNAPSHOT_BYTES: u64 = 1 << 20;

/// Fuses a component.
///
/// # Errors
///
/// Says why it stays as it is. It may be that it is broken: that is for its compiler to say.
pub fn component(bytes: &[u8]) -> Result<Fused, Refusal> {
    let types = validate(bytes)?;
    let parsed = ParsedComponent::of(bytes)?;
    let members = Members::of(&parsed);
    match program::module(&members, &types) {
        Ok(module) => return Ok(Fused::Program(module)),
        Err(why) => tracing::debug!("not called directly: {why}"),
    }
    let Some(plan) = Plan::of(&members) else {
        return Err(Refusal::new("there is nothing to fuse"));
    };
    if data_bytes(&members, &plan) >= MIN_SNAPSHOT_BYTES {
        match rewrite::apart(&members, &plan, &Ends::default()) {
            Ok(apart) => return Ok(Fused::Apart(apart)),
            Err(why) => tracing::debug!("code and state stay together: {why}"),
        }
    }
    rewrite::component(&members, &plan).map(Fused::Component)
}

/// How many bytes are in the first group's memory when an instance begins.
fn data_bytes(members: &Members<'_, '_>, plan: &Plan) -> u64 {
    let first = plan.members(plan::Group::First).iter();
    first
        .flat_map(|member| &members.list[*member].inner.data)
        .map(|segment| segment.data.len() as u64)
        .fold(0, u64::saturating_add)
}

/// Takes a component apart, however little data it has.
pub fn apart(bytes: &[u8]) -> Result<Apart, Refusal> {
    validate(bytes)?;
    let parsed = ParsedComponent::of(bytes)?;
    let members = Members::of(&parsed);
    match Plan::of(&members) {
        Some(plan) => rewrite::apart(&members, &plan, &Ends::default()),
        None => Err(Refusal::new("there is nothing to fuse")),
    }
}

/// Takes an interpreter apart that has no application yet.
///
/// # Errors
///
/// Says what it has that is not understood, or lacks.
pub fn runtime(bytes: &[u8]) -> Result<Runtime, Refusal> {
    validate(bytes)?;
    let parsed = ParsedComponent::of(bytes)?;
    let members = Members::of(&parsed);
    let Some(plan) = Plan::of(&members) else {
        return Err(Refusal::new("there is nothing to fuse"));
    };
    let ends = |is_loader| Ends {
        exported: RESETS,
        is_loader,
    };
    Ok(Runtime {
        apart: rewrite::apart(&members, &plan, &ends(false))?,
        loader: rewrite::loader(&members, &plan, &ends(true))?,
    })
}

/// Fuses a component to one of fewer core instances, even if it could be called directly.
pub fn members_of_component(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    validate(bytes)?;
    let parsed = ParsedComponent::of(bytes)?;
    let members = Members::of(&parsed);
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
