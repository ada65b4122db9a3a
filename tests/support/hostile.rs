//! Files that are expensive to load: deeply nested, long, large, or truncated. Each has at most 2
//! MB and is as well-formed as its kind allows.

/// A file and its name.
#[derive(Clone, Debug)]
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// The preamble of a core module (core specification, 5.5.16) and of a component (component-model,
/// Binary.md).
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

// Sections of a core module.
const CUSTOM: u8 = 0;
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const MEMORIES: u8 = 5;
const EXPORTS: u8 = 7;
const CODES: u8 = 10;

// Sections of a component.
const NESTED_COMPONENT: u8 = 4;
const COMPONENT_TYPES: u8 = 7;

const I32: u8 = 0x7f;

// Instructions.
const LOOP: u8 = 0x03;
const BLOCK: u8 = 0x02;
const BR_IF: u8 = 0x0d;
const END: u8 = 0x0b;
const CALL: u8 = 0x10;
const DROP: u8 = 0x1a;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I32_CONST: u8 = 0x41;
const I32_ADD: u8 = 0x6a;
const NO_RESULT: u8 = 0x40;

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
    // Each level is a component type with one declaration, which is itself a type.
    let outer = [0x41, 0x01, 0x01].repeat(depth);
    let innermost = [0x41, 0x00];
    let types = [&[1][..], &outer, &innermost].concat();
    [COMPONENT, &section(COMPONENT_TYPES, &types)].concat()
}

/// Returns a core module that describes its interfaces with nested component types, in the section
/// that `wit-component` reads.
pub(crate) fn module_with_nested_types(depth: usize) -> Vec<u8> {
    let content = [&name("component-type:x")[..], &nested_types(depth)].concat();
    let mut module = command(&[], &[], &[]);
    module.extend(section(CUSTOM, &content));
    module
}

/// Returns components that are nested to the given depth.
pub(crate) fn nested_components(depth: usize) -> Vec<u8> {
    // The sizes have to be computed from the inside out, and are written from the outside in.
    let mut sizes = vec![COMPONENT.len()];
    for _ in 0..depth {
        let inner = sizes.last().copied().unwrap_or_default();
        sizes.push(COMPONENT.len() + 1 + number(inner).len() + inner);
    }
    let mut bytes = Vec::new();
    for inner in sizes.iter().rev().skip(1) {
        bytes.extend_from_slice(COMPONENT);
        bytes.push(NESTED_COMPONENT);
        bytes.extend(number(*inner));
    }
    bytes.extend_from_slice(COMPONENT);
    bytes
}

/// Returns a function of nested loops, each of which has a thousand parameters.
pub(crate) fn block_parameters(depth: usize) -> Vec<u8> {
    const VALUES: usize = 1_000;
    let many = vector(&vec![vec![I32]; VALUES]);
    let ty = [&[0x60][..], &many, &many].concat();
    let mut code = [I32_CONST, 0].repeat(VALUES);
    // The type's index is 1, behind that of `_start`.
    code.extend([LOOP, 1].repeat(depth));
    code.extend([END].repeat(depth));
    code.extend([DROP].repeat(VALUES));
    command(&[ty], &[0], &[body(0, &code)])
}

/// Returns a loop that assigns to many locals and contains many blocks with branches out of them.
pub(crate) fn locals_and_blocks(locals: usize, blocks: usize) -> Vec<u8> {
    let mut code = vec![LOOP, NO_RESULT];
    for local in 0..locals {
        let local = number(local);
        code.push(LOCAL_GET);
        code.extend(&local);
        code.extend([I32_CONST, 1, I32_ADD, LOCAL_SET]);
        code.extend(&local);
    }
    code.extend([BLOCK, NO_RESULT, LOCAL_GET, 0, BR_IF, 0, END].repeat(blocks));
    code.extend([LOCAL_GET, 0, BR_IF, 0, END]);
    command(&[], &[0], &[body(locals, &code)])
}

/// Returns a function that consists of calls.
pub(crate) fn calls(count: usize) -> Vec<u8> {
    let ty = vec![0x60, 1, I32, 1, I32];
    let mut code = vec![I32_CONST, 0];
    code.extend([CALL, 1].repeat(count));
    code.push(DROP);
    let called = body(0, &[LOCAL_GET, 0]);
    command(&[ty], &[1, 0], &[called, body(0, &code)])
}

/// Returns a command without its last three bytes.
pub(crate) fn truncated() -> Vec<u8> {
    let mut bytes = command(&[], &[], &[]);
    bytes.truncate(bytes.len() - 3);
    bytes
}

/// Returns a module with a memory and an empty `_start`, followed by the given types, functions and
/// bodies.
fn command(types: &[Vec<u8>], functions: &[usize], bodies: &[Vec<u8>]) -> Vec<u8> {
    let types = [&[vec![0x60, 0, 0]], types].concat();
    let functions: Vec<Vec<u8>> = [&[0], functions].concat().into_iter().map(number).collect();
    let bodies = [&[body(0, &[])], bodies].concat();
    let exports = vec![
        [&name("memory")[..], &[2, 0]].concat(),
        [&name("_start")[..], &[0, 0]].concat(),
    ];
    [
        MODULE,
        &section(TYPES, &vector(&types)),
        &section(FUNCTIONS, &vector(&functions)),
        &section(MEMORIES, &[1, 0, 1]),
        &section(EXPORTS, &vector(&exports)),
        &section(CODES, &vector(&bodies)),
    ]
    .concat()
}

/// Encodes a function's body, with locals of type `i32`.
fn body(locals: usize, code: &[u8]) -> Vec<u8> {
    let groups = match locals {
        0 => Vec::new(),
        _ => vec![[&number(locals)[..], &[I32]].concat()],
    };
    let content = [&vector(&groups)[..], code, &[END]].concat();
    [&number(content.len())[..], &content].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [number(items.len()), items.concat()].concat()
}

fn name(text: &str) -> Vec<u8> {
    [&number(text.len())[..], text.as_bytes()].concat()
}

/// Encodes a number as LEB128 (core specification, 5.2.2).
pub(crate) fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
