//! Reproducible random numbers, and the building blocks of the binary format.

/// The preamble of a core module (core specification, 5.5.16).
pub(super) const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The preamble of a component (component-model, Binary.md).
pub(super) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The length of a preamble.
pub(super) const PREAMBLE_BYTES: usize = 8;

// Sections of a core module.
pub(super) const CUSTOM: u8 = 0;
pub(super) const TYPES: u8 = 1;
pub(super) const IMPORTS: u8 = 2;
pub(super) const FUNCTIONS: u8 = 3;
pub(super) const TABLES: u8 = 4;
pub(super) const MEMORIES: u8 = 5;
pub(super) const GLOBALS: u8 = 6;
pub(super) const EXPORTS: u8 = 7;
pub(super) const CODES: u8 = 10;
pub(super) const DATA: u8 = 11;

// Sections of a component.
pub(super) const NESTED_COMPONENT: u8 = 4;
pub(super) const COMPONENT_TYPES: u8 = 7;

pub(super) const END: u8 = 0x0b;

/// A pseudo-random number generator (xorshift64).
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
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
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = (end as u64).max(1);
        usize::try_from(self.next() % end).expect("less than a usize")
    }

    /// Returns a number from `least` to below `end`, with an even distribution of magnitudes.
    pub(super) fn up_to(&mut self, least: usize, end: usize) -> usize {
        let shift = self.below(24);
        least + self.below((end.saturating_sub(least) >> shift).max(1))
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// Encodes a number as LEB128 (core specification, 5.2.2).
pub(super) fn number(mut value: usize) -> Vec<u8> {
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
pub(super) fn read_number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

pub(super) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

pub(super) fn name(text: &[u8]) -> Vec<u8> {
    [&number(text.len())[..], text].concat()
}

/// Encodes a vector of `count` copies of one item.
pub(super) fn repeated(item: &[u8], count: usize) -> Vec<u8> {
    [number(count), item.repeat(count)].concat()
}

/// A section of a file: its ID and its content.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: u8,
    pub(super) content: Vec<u8>,
}

impl Section {
    pub(super) fn bytes(&self) -> Vec<u8> {
        section(self.id, &self.content)
    }
}

/// Splits a valid file into its preamble and its sections.
pub(super) fn split(file: &[u8]) -> (Vec<u8>, Vec<Section>) {
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
pub(super) fn join(preamble: &[u8], sections: &[Section]) -> Vec<u8> {
    let sections: Vec<u8> = sections.iter().flat_map(Section::bytes).collect();
    [preamble, &sections].concat()
}

/// A command for WASI preview 1: a memory, an empty `_start`, and additional items in the right
/// order. Additional types, functions and codes follow those of `_start`.
pub(super) struct Command {
    pub(super) types: Vec<Vec<u8>>,
    pub(super) functions: Vec<usize>,
    pub(super) codes: Vec<Vec<u8>>,
    /// Complete sections between the function section and the export section.
    pub(super) between: Vec<u8>,
    pub(super) exports: Vec<Vec<u8>>,
    /// Complete sections after the code section.
    pub(super) behind: Vec<u8>,
}

impl Command {
    pub(super) fn new() -> Self {
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

    pub(super) fn bytes(self) -> Vec<u8> {
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

pub(super) fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [number(items.len()), items.concat()].concat()
}

/// Encodes a function's code: groups of locals, each a count and a type, and instructions.
pub(super) fn code(locals: &[(usize, u8)], instructions: &[u8]) -> Vec<u8> {
    let groups: Vec<Vec<u8>> = locals
        .iter()
        .map(|(count, ty)| [&number(*count)[..], &[*ty]].concat())
        .collect();
    let content = [&vector(&groups)[..], instructions, &[END]].concat();
    [&number(content.len())[..], &content].concat()
}
