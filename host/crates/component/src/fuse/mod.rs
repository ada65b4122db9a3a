//! Reduces the number of core instances of a component.
//!
//! Each request needs a new instance, and toolchains build a component from several core instances:
//! a program, a small module through which it calls functions that need its memory, and another
//! that fills the table of that module. A Python component has fourteen, because each shared
//! library is a module. Each instance takes time. A library's functions are written to the table of
//! the program one by one, anew in each instance, while wasmtime would lay out a module's own table
//! at compilation.
//!
//! This module links them ahead of time: the core modules become one, or one and a second that
//! fills tables. Nothing but a compiler can see the difference. A component with a feature that is
//! not understood is refused and stays unchanged.
//!
//! - `component` and `core_module` parse a component and its modules. `members` are the instances
//!   to merge, and their links.
//! - `plan` decides which of them become one, and why that preserves the behaviour.
//! - `numbers`, `constant`, `slots`, `shims`, `member_reencoder` and `merge` build the module;
//!   `reindex` and `rewrite` build the component.
//! - `split` divides the merged module of a snapshot into code and state, and `frame` writes the
//!   component that imports them. `portable` puts the three together again.
//! - `program`, `contract` and `glue` build a single module that the host calls directly, for an
//!   application that imports only the gateway.

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
mod portable;
mod program;
mod reindex;
mod rewrite;
mod shims;
mod slots;
mod split;
mod unsupported;

use std::ops::Range;

use wasmparser::types::Types;
use wasmparser::{Parser, ValidPayload, Validator};

use component::ParsedComponent;
pub use contract::{APPLICATION, GATEWAY};
use members::Members;
use plan::Plan;
pub use portable::parts as parts_of_portable;
pub use split::{GLOBAL_PREFIX, snapshot};
pub use unsupported::Unsupported;

/// Part of the names of compiled code. Increase it when the output for the same component changes,
/// or when `abi` or `bulk` changes.
pub const REVISION: u32 = 6;

/// A component whose core modules are linked.
pub enum Linked {
    /// A core module that the host calls directly (`direct`).
    Program(Vec<u8>),
    /// A component with the same behaviour and fewer core instances.
    Component(Vec<u8>),
    /// A component made from a snapshot, in parts.
    Apart(Apart),
}

/// A component made from a snapshot, in three parts. The first two are identical, bit for bit, for
/// all snapshots of one interpreter.
pub struct Apart {
    /// Identifies the code and the frame.
    pub key: CodeKey,
    /// A core module with all functions, which imports its memory.
    pub code: Vec<u8>,
    /// A component that imports the other two as core modules, [`CODE`] and [`STATE`].
    pub frame: Vec<u8>,
    /// A core module with the memory and its content, and no function.
    pub state: Vec<u8>,
    /// The place of the two imports, with their types, in the frame.
    imports: Range<usize>,
}

/// Options for a component in parts.
#[derive(Default)]
pub struct Ends {
    /// Functions of the code to export, by their names in the name section.
    exported: &'static [&'static str],
    /// The frame is for taking a snapshot.
    is_loader: bool,
}

/// An interpreter without an application.
pub struct Runtime {
    /// The interpreter in its initial state, in parts.
    pub apart: Apart,
    /// A frame for the same code that also exports [`CAPTURE`] and therefore imports [`MEMORY`] and
    /// [`GLOBAL`].
    pub loader: Vec<u8>,
}

/// A function that a loader exports: resets the host's values in the C library and WASI's adapter,
/// then calls the two functions below.
pub const CAPTURE: &str = "wasgi-capture";

/// A function that a loader calls once, with all bytes of its memory.
pub const MEMORY: &str = "wasgi-memory";

/// A function that a loader calls for each global of a state, with its number and its bits.
pub const GLOBAL: &str = "wasgi-global";

/// Functions that reset an interpreter before a snapshot is taken: the files that its preview 1
/// adapter has opened, and the preopened folders and environment variables of its C library. All
/// are read again in each instance.
const RESETS: &[&str] = &[
    "reset_adapter_state",
    "__wasilibc_reset_preopens",
    "__wasilibc_deinitialize_environ",
];

/// A hash of the code and the frame of a component in parts. Components with the same key share one
/// compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    fn new(code: &[u8], frame: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(code.len() as u64).to_le_bytes());
        hasher.update(code).update(frame);
        Self(*hasher.finalize().as_bytes())
    }

    /// Returns the name of the export with which a state names its code.
    pub fn mark(self) -> String {
        format!("{CODE}:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }

    /// Parses the key from such a name.
    pub fn from_mark(name: &str) -> Option<Self> {
        let hex = name.strip_prefix(CODE)?.strip_prefix(':')?;
        Some(Self(*blake3::Hash::from_hex(hex).ok()?.as_bytes()))
    }

    /// Returns the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The name by which a frame imports its code.
pub const CODE: &str = "wasgi-code";

/// The name by which a frame imports its state.
pub const STATE: &str = "wasgi-state";

/// The minimum size of data, in bytes, of a component that is treated as a snapshot. A Python
/// interpreter begins with about 10 MiB. The tables and texts of other components are mostly
/// smaller, and they share their code with no other component.
const MIN_SNAPSHOT_BYTES: u64 = 1 << 20;

/// Links the core modules of a component ahead of time.
///
/// # Errors
///
/// Fails if the component stays unchanged, with the reason and the item at fault. The component may
/// be invalid, which its compiler reports.
pub fn link(bytes: &[u8]) -> Result<Linked, Unsupported> {
    let types = validate(bytes)?;
    let parsed = ParsedComponent::parse(bytes)?;
    let members = Members::from_component(&parsed);
    match program::module(&members, &types) {
        Ok(module) => return Ok(Linked::Program(module)),
        Err(why) => tracing::debug!("not called directly: {why}"),
    }
    let Some(plan) = Plan::for_members(&members) else {
        return Err(Unsupported::apart(members.list.len()));
    };
    if data_bytes(&members, &plan) >= MIN_SNAPSHOT_BYTES {
        match rewrite::apart(&members, &plan, &Ends::default()) {
            Ok(apart) => return Ok(Linked::Apart(apart)),
            Err(why) => tracing::debug!("code and state are not split: {why}"),
        }
    }
    rewrite::component(&members, &plan).map(Linked::Component)
}

/// Returns the size of the initial data in the memory of the first group.
fn data_bytes(members: &Members<'_, '_>, plan: &Plan) -> u64 {
    let first = plan.members(plan::Group::First).iter();
    first
        .flat_map(|member| &members.list[*member].inner.data)
        .map(|segment| segment.data.len() as u64)
        .fold(0, u64::saturating_add)
}

/// Splits a component into parts, regardless of the size of its data.
pub fn apart(bytes: &[u8]) -> Result<Apart, Unsupported> {
    validate(bytes)?;
    let parsed = ParsedComponent::parse(bytes)?;
    let members = Members::from_component(&parsed);
    match Plan::for_members(&members) {
        Some(plan) => rewrite::apart(&members, &plan, &Ends::default()),
        None => Err(Unsupported::apart(members.list.len())),
    }
}

/// Splits an interpreter without an application into parts.
///
/// # Errors
///
/// Fails if the interpreter has a feature that is not understood, or lacks a required one.
pub fn runtime(bytes: &[u8]) -> Result<Runtime, Unsupported> {
    validate(bytes)?;
    let parsed = ParsedComponent::parse(bytes)?;
    let members = Members::from_component(&parsed);
    let Some(plan) = Plan::for_members(&members) else {
        return Err(Unsupported::apart(members.list.len()));
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

/// Fuses a component into one with fewer core instances, even if the host could call it directly.
pub fn members_of_component(bytes: &[u8]) -> Result<Vec<u8>, Unsupported> {
    validate(bytes)?;
    let parsed = ParsedComponent::parse(bytes)?;
    let members = Members::from_component(&parsed);
    match Plan::for_members(&members) {
        Some(plan) => rewrite::component(&members, &plan),
        None => Err(Unsupported::apart(members.list.len())),
    }
}

/// Validates everything except the bodies of functions, so that the parsed parts are known to be
/// consistent.
fn validate(bytes: &[u8]) -> Result<Types, Unsupported> {
    // Default features only: the merged module may omit a part that the engine would reject.
    let mut validator = Validator::new();
    let mut types = None;
    for payload in Parser::new(0).parse_all(bytes) {
        if let ValidPayload::End(of) = validator.payload(&payload?)? {
            // The outermost component ends last.
            types = Some(of);
        }
    }
    types.ok_or(Unsupported::new("the component is incomplete"))
}

#[cfg(test)]
mod linear;
#[cfg(test)]
mod tests;
