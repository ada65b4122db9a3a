//! Reproducible random numbers, and the building blocks of the binary format.

/// The preamble of a core module (core specification, 5.5.16).
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The preamble of a component (component-model, Binary.md).
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The length of a preamble.
pub(crate) const PREAMBLE_BYTES: usize = 8;

// Sections of a core module.
pub(crate) const CUSTOM: u8 = 0;
pub(crate) const TYPES: u8 = 1;
pub(crate) const IMPORTS: u8 = 2;
pub(crate) const FUNCTIONS: u8 = 3;
pub(crate) const TABLES: u8 = 4;
pub(crate) const MEMORIES: u8 = 5;
pub(crate) const GLOBALS: u8 = 6;
pub(crate) const EXPORTS: u8 = 7;
pub(crate) const CODES: u8 = 10;
pub(crate) const DATA: u8 = 11;

// Sections of a component.
pub(crate) const NESTED_COMPONENT: u8 = 4;
pub(crate) const COMPONENT_TYPES: u8 = 7;

// Types of a component that contain declarations.
pub(crate) const COMPONENT_TYPE: u8 = 0x41;
pub(crate) const INSTANCE_TYPE: u8 = 0x42;

pub(crate) const END: u8 = 0x0b;

/// A pseudo-random number generator (xorshift64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        // Similar seeds should produce different first numbers.
        let mut numbers = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1));
        numbers.next();
        numbers
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = (end as u64).max(1);
        usize::try_from(self.next() % end).expect("less than a usize")
    }

    /// Returns a number from `least` to below `end`, with an even distribution of magnitudes.
    pub(crate) fn up_to(&mut self, least: usize, end: usize) -> usize {
        let shift = self.below(24);
        least + self.below((end.saturating_sub(least) >> shift).max(1))
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
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

/// Decodes the number at the start of `bytes`, and returns it with its length in bytes.
pub(crate) fn read_number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

pub(crate) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

pub(crate) fn name(text: &[u8]) -> Vec<u8> {
    [&number(text.len())[..], text].concat()
}

/// Encodes a vector of `count` copies of one item.
pub(crate) fn repeated(item: &[u8], count: usize) -> Vec<u8> {
    [number(count), item.repeat(count)].concat()
}

/// A section of a file: its ID and its content.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) id: u8,
    pub(crate) content: Vec<u8>,
}

impl Section {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        section(self.id, &self.content)
    }
}

/// Splits a valid file into its preamble and its sections.
pub(crate) fn split(file: &[u8]) -> (Vec<u8>, Vec<Section>) {
    let (preamble, mut rest) = file.split_at(PREAMBLE_BYTES.min(file.len()));
    let mut sections = Vec::new();
    while let [id, after @ ..] = rest
        && let Some((size, taken)) = read_number(after)
        && let Some(content) = after.get(taken..taken + size)
    {
        sections.push(Section {
            id: *id,
            content: content.to_vec(),
        });
        rest = &after[taken + size..];
    }
    (preamble.to_vec(), sections)
}

/// Assembles a file from its parts.
pub(crate) fn join(preamble: &[u8], sections: &[Section]) -> Vec<u8> {
    let sections: Vec<u8> = sections.iter().flat_map(Section::bytes).collect();
    [preamble, &sections].concat()
}

/// A command for WASI preview 1: a memory, an empty `_start`, and additional items in the right
/// order. Additional types, functions and codes follow those of `_start`.
pub(crate) struct Command {
    pub(crate) types: Vec<Vec<u8>>,
    pub(crate) functions: Vec<usize>,
    pub(crate) codes: Vec<Vec<u8>>,
    /// Complete sections between the function section and the export section.
    pub(crate) between: Vec<u8>,
    pub(crate) exports: Vec<Vec<u8>>,
    /// Complete sections after the code section.
    pub(crate) behind: Vec<u8>,
}

impl Command {
    pub(crate) fn new() -> Self {
        Self {
            types: vec![vec![0x60, 0, 0]],
            functions: vec![0],
            codes: vec![code(&[], &[])],
            between: section(MEMORIES, &[1, 0, 1]),
            exports: vec![
                [&name(b"memory")[..], &[2, 0]].concat(),
                [&name(b"_start")[..], &[0, 0]].concat(),
            ],
            behind: Vec::new(),
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let functions = self.functions.iter().map(|&index| number(index));
        [
            MODULE,
            &section(TYPES, &vector(&self.types)),
            &section(FUNCTIONS, &vector(&functions.collect::<Vec<_>>())),
            &self.between,
            &section(EXPORTS, &vector(&self.exports)),
            &section(CODES, &vector(&self.codes)),
            &self.behind,
        ]
        .concat()
    }
}

pub(crate) fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [number(items.len()), items.concat()].concat()
}

/// Encodes a function's code: groups of locals, each a count and a type, and instructions.
pub(crate) fn code(locals: &[(usize, u8)], instructions: &[u8]) -> Vec<u8> {
    let groups: Vec<Vec<u8>> = locals
        .iter()
        .map(|(count, ty)| [&number(*count)[..], &[*ty]].concat())
        .collect();
    let content = [&vector(&groups)[..], instructions, &[END]].concat();
    [&number(content.len())[..], &content].concat()
}

/// Returns components that are nested to the given depth.
pub(crate) fn nested_components(depth: usize) -> Vec<u8> {
    // The sizes have to be computed from the inside out, and are written from the outside in.
    let mut size = COMPONENT.len();
    let mut sizes = vec![size];
    for _ in 0..depth {
        size += COMPONENT.len() + 1 + number(size).len();
        sizes.push(size);
    }
    let mut bytes = Vec::new();
    for size in sizes.iter().rev().skip(1) {
        bytes.extend_from_slice(COMPONENT);
        bytes.push(NESTED_COMPONENT);
        bytes.extend(number(*size));
    }
    bytes.extend_from_slice(COMPONENT);
    bytes
}

/// Returns a component that declares nested types of this kind, to the given depth.
pub(crate) fn nested_component_types(kind: u8, depth: usize) -> Vec<u8> {
    // Each level is a type with one declaration, which is itself a type.
    let types = [&[1][..], &[kind, 1, 1].repeat(depth), &[kind, 0]].concat();
    [COMPONENT, &section(COMPONENT_TYPES, &types)].concat()
}
