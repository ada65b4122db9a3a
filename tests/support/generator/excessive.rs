//! Files that contain an excessive amount of one thing.

use super::MAX_FILE_BYTES;
use super::binary::{
    CODES, COMPONENT, COMPONENT_TYPE, CUSTOM, Command, DATA, END, EXPORTS, FUNCTIONS, GLOBALS,
    IMPORTS, INSTANCE_TYPE, MEMORIES, MODULE, Numbers, TABLES, TYPES, code, name,
    nested_component_types, nested_components, number, repeated, section,
};
use super::opcodes::{
    BLOCK, BR_TABLE, CALL, DROP, F64, I32, I32_ADD, I32_CONST, I64, IF, LOCAL_GET, LOCAL_SET, LOOP,
    NO_RESULT, UNREACHABLE, V128,
};

const VALUE_TYPES: [u8; 4] = [I32, I64, F64, V128];

/// Component types, nested.
pub(super) fn types_nested(numbers: &mut Numbers) -> Vec<u8> {
    types_or_module(numbers, COMPONENT_TYPE)
}

/// Instance types, nested.
pub(super) fn instance_types_nested(numbers: &mut Numbers) -> Vec<u8> {
    types_or_module(numbers, INSTANCE_TYPE)
}

/// Returns nested component types, in a component or in a module.
fn types_or_module(numbers: &mut Numbers, kind: u8) -> Vec<u8> {
    let depth = numbers.up_to(10, 1_000_000);
    let component = nested_component_types(kind, depth);
    if numbers.below(2) == 0 {
        return component;
    }
    // A module describes its interfaces in such a section.
    let mut command = Command::new();
    let content = [name(b"component-type:x"), component].concat();
    command.behind = section(CUSTOM, &content);
    command.bytes()
}

/// Components, nested.
pub(super) fn components_nested(numbers: &mut Numbers) -> Vec<u8> {
    nested_components(numbers.up_to(10, 100_000))
}

/// Returns a command with one more function, of this type and with this code.
fn with_function(ty: Vec<u8>, code: Vec<u8>) -> Vec<u8> {
    let mut command = Command::new();
    command.types.push(ty);
    command.functions.push(1);
    command.codes.push(code);
    command.bytes()
}

/// Nested blocks.
pub(super) fn blocks_nested(numbers: &mut Numbers) -> Vec<u8> {
    let depth = numbers.up_to(100, 1_000_000);
    let begin: &[u8] = match numbers.below(3) {
        0 => &[BLOCK, NO_RESULT],
        1 => &[LOOP, NO_RESULT],
        _ => &[I32_CONST, 0, IF, NO_RESULT],
    };
    let instructions = [begin.repeat(depth), [END].repeat(depth)].concat();
    with_function(vec![0x60, 0, 0], code(&[], &instructions))
}

/// Nested loops with many parameters.
pub(super) fn block_parameters(numbers: &mut Numbers) -> Vec<u8> {
    let values = numbers.up_to(1, 1_000);
    let depth = numbers.up_to(100, 100_000);
    let many = repeated(&[I32], values);
    let mut command = Command::new();
    command.types.push([&[0x60][..], &many, &many].concat());
    command.functions.push(0);
    let instructions = [
        [I32_CONST, 0].repeat(values),
        [LOOP, 1].repeat(depth),
        [END].repeat(depth),
        [DROP].repeat(values),
    ];
    command.codes.push(code(&[], &instructions.concat()));
    command.bytes()
}

/// Locals, up to and beyond the permitted number, and code that assigns to each.
pub(super) fn locals(numbers: &mut Numbers) -> Vec<u8> {
    let ty = VALUE_TYPES[numbers.below(VALUE_TYPES.len())];
    let groups = numbers.up_to(1, 20_000);
    let each = numbers.up_to(1, 1 << 32);
    let mut instructions = vec![LOOP, NO_RESULT];
    if ty == I32 {
        for local in 0..(groups * each).min(50_000) {
            let local = number(local);
            instructions.push(LOCAL_GET);
            instructions.extend(&local);
            instructions.extend([I32_CONST, 1, I32_ADD, LOCAL_SET]);
            instructions.extend(&local);
        }
    }
    instructions.push(END);
    with_function(
        vec![0x60, 0, 0],
        code(&vec![(each, ty); groups], &instructions),
    )
}

/// Function types, with many or few parameters.
pub(super) fn types(numbers: &mut Numbers) -> Vec<u8> {
    let parameters = numbers.up_to(0, 2_000);
    let ty = [&[0x60][..], &repeated(&[I64], parameters), &[0]].concat();
    let count = numbers.up_to(1_000, MAX_FILE_BYTES / ty.len());
    [MODULE, &section(TYPES, &repeated(&ty, count))].concat()
}

/// Functions that are empty or call the previous one.
pub(super) fn functions(numbers: &mut Numbers) -> Vec<u8> {
    let count = numbers.up_to(1_000, 1_000_000);
    let calls = numbers.up_to(0, MAX_FILE_BYTES / 2 / count);
    let one = code(&[], &[CALL, 0].repeat(calls));
    [
        MODULE,
        &section(TYPES, &[1, 0x60, 0, 0]),
        &section(FUNCTIONS, &repeated(&[0], count)),
        &section(MEMORIES, &[1, 0, 1]),
        &section(
            EXPORTS,
            &[
                &[2][..],
                &name(b"memory"),
                &[2, 0],
                &name(b"_start"),
                &[0, 0],
            ]
            .concat(),
        ),
        &section(CODES, &repeated(&one, count)),
    ]
    .concat()
}

/// Imports, of existing and of unknown functions.
pub(super) fn imports(numbers: &mut Numbers) -> Vec<u8> {
    let known: [(&[u8], &[u8]); 4] = [
        (b"wasi_snapshot_preview1", b"proc_exit"),
        (b"wasi_snapshot_preview1", b"fd_write"),
        (b"wasi:cli/environment@0.2.0", b"get-environment"),
        (b"env", b"x"),
    ];
    let (module, field) = known[numbers.below(known.len())];
    let import = [name(module), name(field), vec![0, 0]].concat();
    let count = numbers.up_to(100, MAX_FILE_BYTES / import.len());
    [
        MODULE,
        &section(TYPES, &[1, 0x60, 1, I32, 0]),
        &section(IMPORTS, &repeated(&import, count)),
    ]
    .concat()
}

/// Exports: many, or with long names.
pub(super) fn exports(numbers: &mut Numbers) -> Vec<u8> {
    let mut command = Command::new();
    let count = numbers.up_to(100, 200_000);
    let length = numbers.up_to(0, MAX_FILE_BYTES / 2 / count);
    let exports = (0..count).map(|index| {
        let text = [format!("{index}").into_bytes(), b"x".repeat(length)].concat();
        [&name(&text)[..], &[0, 0]].concat()
    });
    command.exports.extend(exports);
    command.bytes()
}

/// Data segments: up to and beyond the permitted number, or long ones.
pub(super) fn data(numbers: &mut Numbers) -> Vec<u8> {
    let mut command = Command::new();
    let count = numbers.up_to(1, 300_000);
    let length = numbers.up_to(0, MAX_FILE_BYTES / 2 / count);
    let offset = number(numbers.below(64));
    let bytes = vec![b'x'; length];
    let segment = [&[0, I32_CONST][..], &offset, &[END], &name(&bytes)].concat();
    command.behind = section(DATA, &repeated(&segment, count));
    command.bytes()
}

/// A branch table with very many targets.
pub(super) fn branches(numbers: &mut Numbers) -> Vec<u8> {
    let targets = numbers.up_to(1_000, 1_000_000);
    let depth = numbers.up_to(1, 10_000);
    let jumps = [
        &[I32_CONST, 0, BR_TABLE][..],
        &repeated(&[0], targets),
        &[0],
    ];
    let instructions = [
        [BLOCK, NO_RESULT].repeat(depth),
        jumps.concat(),
        [END].repeat(depth),
    ];
    with_function(vec![0x60, 0, 0], code(&[], &instructions.concat()))
}

/// A memory, a table and globals: very large, or very many.
pub(super) fn sizes(numbers: &mut Numbers) -> Vec<u8> {
    let pages = number(numbers.up_to(0, 1 << 17));
    let elements = number(numbers.up_to(0, 1 << 33));
    let globals = numbers.up_to(0, MAX_FILE_BYTES / 8);
    let mut command = Command::new();
    command.between = [
        section(TABLES, &[&[1, 0x70, 0][..], &elements].concat()),
        section(MEMORIES, &[&[1, 0][..], &pages].concat()),
        section(GLOBALS, &repeated(&[I32, 1, I32_CONST, 0, END], globals)),
    ]
    .concat();
    command.bytes()
}

/// A trapping function with a long name: with control characters, or one that expands when it is
/// demangled.
pub(super) fn names(numbers: &mut Numbers) -> Vec<u8> {
    let length = numbers.up_to(1, MAX_FILE_BYTES / 2);
    let text = match numbers.below(4) {
        0 => b"\n".repeat(length),
        1 => "\u{202e}\u{2028}".as_bytes().repeat(length / 6),
        2 => [b"_Z1f", &b"S_S0_"[..].repeat(length / 5)[..]].concat(),
        // A template whose argument occurs twice in the next one, and so on: the expansion doubles
        // with each.
        _ => {
            let mut text = b"_ZN1aI1bE".to_vec();
            for number in 0..(length / 8).min(3_000) {
                text.extend(format!("1cIS{number}_S{number}_E").bytes());
            }
            [&text[..], b"Ev"].concat()
        }
    };
    let mut command = Command::new();
    command.codes = vec![code(&[], &[UNREACHABLE])];
    let of_functions = [&[1][..], &[0], &name(&text)].concat();
    let content = [name(b"name"), section(1, &of_functions)].concat();
    command.behind = section(CUSTOM, &content);
    command.bytes()
}

/// Random bytes, with or without a preamble.
pub(super) fn noise(numbers: &mut Numbers) -> Vec<u8> {
    let preambles = [b"", MODULE, COMPONENT];
    let preamble = preambles[numbers.below(preambles.len())];
    let count = numbers.up_to(0, MAX_FILE_BYTES / 4);
    [preamble, &numbers.bytes(count)].concat()
}
