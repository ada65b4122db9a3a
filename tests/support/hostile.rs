//! Files that are expensive to load: deeply nested, long, large, or truncated. Each has at most 2
//! MB and is as well-formed as its kind allows.

use super::generator::binary::{
    COMPONENT_TYPE, CUSTOM, Command, END, code, name, nested_component_types, nested_components,
    number, section, vector,
};
use super::generator::opcodes::{
    BLOCK, CALL, DROP, I32, I32_ADD, I32_CONST, LOCAL_GET, LOCAL_SET, LOOP, NO_RESULT,
};

/// A file and its name.
#[derive(Clone, Debug)]
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// The instruction that branches if a condition holds.
const BR_IF: u8 = 0x0d;

/// Returns one file of each kind.
pub(crate) fn all() -> Vec<Hostile> {
    [
        ("types-1k", nested_types(1_000)),
        ("types-100k", nested_types(100_000)),
        ("section-types-1k", module_with_nested_types(1_000)),
        ("components", nested_components(14_000)),
        ("parameters", block_parameters(30_000)),
        ("locals", locals_and_blocks(50_000, 3_000)),
        ("calls", calls(1_000_000)),
        ("truncated", truncated()),
        ("empty", Vec::new()),
        ("garbage", (0..=u8::MAX).cycle().take(16 * 1024).collect()),
    ]
    .map(|(name, bytes)| Hostile { name, bytes })
    .into()
}

/// Returns a component that declares nested component types, to the given depth.
pub(crate) fn nested_types(depth: usize) -> Vec<u8> {
    nested_component_types(COMPONENT_TYPE, depth)
}

/// Returns a core module that describes its interfaces with nested component types, in the section
/// that `wit-component` reads.
pub(crate) fn module_with_nested_types(depth: usize) -> Vec<u8> {
    let content = [&name(b"component-type:x")[..], &nested_types(depth)].concat();
    let mut module = command(&[], &[], &[]);
    module.extend(section(CUSTOM, &content));
    module
}

/// Returns a function of nested loops, each of which has a thousand parameters.
pub(crate) fn block_parameters(depth: usize) -> Vec<u8> {
    const VALUES: usize = 1_000;
    let many = vector(&vec![vec![I32]; VALUES]);
    let ty = [&[0x60][..], &many, &many].concat();
    let mut instructions = [I32_CONST, 0].repeat(VALUES);
    // The type's index is 1, behind that of `_start`.
    instructions.extend([LOOP, 1].repeat(depth));
    instructions.extend([END].repeat(depth));
    instructions.extend([DROP].repeat(VALUES));
    command(&[ty], &[0], &[code(&[], &instructions)])
}

/// Returns a loop that assigns to many locals and contains many blocks with branches out of them.
pub(crate) fn locals_and_blocks(locals: usize, blocks: usize) -> Vec<u8> {
    let mut instructions = vec![LOOP, NO_RESULT];
    for local in 0..locals {
        let local = number(local);
        instructions.push(LOCAL_GET);
        instructions.extend(&local);
        instructions.extend([I32_CONST, 1, I32_ADD, LOCAL_SET]);
        instructions.extend(&local);
    }
    instructions.extend([BLOCK, NO_RESULT, LOCAL_GET, 0, BR_IF, 0, END].repeat(blocks));
    instructions.extend([LOCAL_GET, 0, BR_IF, 0, END]);
    command(&[], &[0], &[code(&[(locals, I32)], &instructions)])
}

/// Returns a function that consists of calls.
pub(crate) fn calls(count: usize) -> Vec<u8> {
    let ty = vec![0x60, 1, I32, 1, I32];
    let mut instructions = vec![I32_CONST, 0];
    instructions.extend([CALL, 1].repeat(count));
    instructions.push(DROP);
    let called = code(&[], &[LOCAL_GET, 0]);
    command(&[ty], &[1, 0], &[called, code(&[], &instructions)])
}

/// Returns a command without its last three bytes.
pub(crate) fn truncated() -> Vec<u8> {
    let mut bytes = command(&[], &[], &[]);
    bytes.truncate(bytes.len() - 3);
    bytes
}

/// Returns a command with additional types, functions and codes.
fn command(types: &[Vec<u8>], functions: &[usize], codes: &[Vec<u8>]) -> Vec<u8> {
    let mut command = Command::new();
    command.types.extend_from_slice(types);
    command.functions.extend_from_slice(functions);
    command.codes.extend_from_slice(codes);
    command.bytes()
}
