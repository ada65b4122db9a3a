//! The functions that copy piece by piece.
//!
//! Each takes what its instruction takes, and is that instruction for what is no longer than a
//! piece. Longer ranges are probed first, by instructions that copy nothing but are as far out of
//! bounds as the whole would be.

use wasm_encoder::{BlockType, Encode, Function, InstructionSink, TypeSection, ValType};

use super::PIECE_BYTES;

/// An instruction that copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Helper {
    /// `memory.fill`
    Fill { memory: u32, is_64: bool },
    /// `memory.copy`
    Copy {
        to: u32,
        to_64: bool,
        from: u32,
        from_64: bool,
    },
    /// `memory.init`
    Init { data: u32, memory: u32, is_64: bool },
}

/// The parameters: where to, where from or what with, and how many bytes.
const TO: u32 = 0;
const FROM: u32 = 1;
const COUNT: u32 = 2;

impl Helper {
    /// The types of its parameters.
    fn params(self) -> [ValType; 3] {
        match self {
            Self::Fill { is_64, .. } => [address(is_64), ValType::I32, address(is_64)],
            Self::Copy { to_64, from_64, .. } => {
                [address(to_64), address(from_64), address(to_64 && from_64)]
            }
            Self::Init { is_64, .. } => [address(is_64), ValType::I32, ValType::I32],
        }
    }

    /// Whether its length has 64 bits.
    pub(super) fn counts_64(self) -> bool {
        self.is_64(COUNT)
    }

    /// Its type, and that of a block that is left to add the length, as entries of a type section.
    pub(super) fn types(self) -> [Vec<u8>; 2] {
        let params = self.params();
        [&params[..], &params[..COUNT as usize]].map(|params| {
            let mut types = TypeSection::new();
            types.ty().function(params.iter().copied(), []);
            let mut section = Vec::new();
            types.encode(&mut section);
            // What is before the entry is the section's length and its count, of a byte each.
            section.split_off(2)
        })
    }

    /// Its body.
    pub(super) fn code(self) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        self.whole(&mut code);
        self.probe(&mut code);
        match self {
            Self::Copy { to_64, from_64, .. } => {
                // Where the places overlap, what is written last must be what is read last.
                extended(&mut code, TO, to_64);
                extended(&mut code, FROM, from_64);
                code.i64_gt_u().if_(BlockType::Empty);
                self.backward(&mut code);
                code.else_();
                self.forward(&mut code);
                code.end();
            }
            Self::Fill { .. } | Self::Init { .. } => self.forward(&mut code),
        }
        code.end();
        function
    }

    /// Does as the instruction does for what is no longer than a piece, and for what ends where no
    /// address is: that traps.
    fn whole(self, code: &mut InstructionSink<'_>) {
        extended(code, COUNT, self.is_64(COUNT));
        code.i64_const(PIECE_BYTES.into()).i64_le_u();
        for &range in self.ranges() {
            self.end_of(code, range);
            code.local_get(range);
            match self.is_64(range) {
                true => code.i64_lt_u(),
                false => code.i32_lt_u(),
            };
            code.i32_or();
        }
        code.if_(BlockType::Empty);
        self.rest(code);
        code.return_().end();
    }

    /// Traps where the instruction would, by instructions of no length at the ends of its ranges.
    fn probe(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Fill { memory, .. } => self.probe_memory(code, TO, memory),
            Self::Copy { to, from, .. } => {
                self.probe_memory(code, TO, to);
                self.probe_memory(code, FROM, from);
            }
            Self::Init { memory, data, .. } => {
                self.probe_memory(code, TO, memory);
                zero(code, self.is_64(TO));
                self.end_of(code, FROM);
                code.i32_const(0).memory_init(memory, data);
            }
        }
    }

    fn probe_memory(self, code: &mut InstructionSink<'_>, range: u32, memory: u32) {
        self.end_of(code, range);
        code.i32_const(0);
        zero(code, self.is_64(range));
        code.memory_fill(memory);
    }

    /// Piece by piece, and then the rest.
    fn forward(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        code.local_get(TO).local_get(FROM);
        piece(code, self.is_64(COUNT));
        self.instruction(code);
        for &range in self.ranges() {
            code.local_get(range);
            piece(code, self.is_64(range));
            match self.is_64(range) {
                true => code.i64_add(),
                false => code.i32_add(),
            };
            code.local_set(range);
        }
        self.count_down(code);
        self.again(code);
        code.end();
        self.rest(code);
    }

    /// Piece by piece from the end, and then the rest, which is the beginning.
    fn backward(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        self.count_down(code);
        self.end_of(code, TO);
        self.end_of(code, FROM);
        piece(code, self.is_64(COUNT));
        self.instruction(code);
        self.again(code);
        code.end();
        self.rest(code);
    }

    fn count_down(self, code: &mut InstructionSink<'_>) {
        code.local_get(COUNT);
        piece(code, self.is_64(COUNT));
        match self.is_64(COUNT) {
            true => code.i64_sub(),
            false => code.i32_sub(),
        };
        code.local_set(COUNT);
    }

    /// Goes on with the loop while there is more than a piece.
    fn again(self, code: &mut InstructionSink<'_>) {
        extended(code, COUNT, self.is_64(COUNT));
        code.i64_const(PIECE_BYTES.into()).i64_gt_u().br_if(0);
    }

    /// The instruction, with what is in the parameters.
    fn rest(self, code: &mut InstructionSink<'_>) {
        code.local_get(TO).local_get(FROM).local_get(COUNT);
        self.instruction(code);
    }

    fn instruction(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Fill { memory, .. } => code.memory_fill(memory),
            Self::Copy { to, from, .. } => code.memory_copy(to, from),
            Self::Init { memory, data, .. } => code.memory_init(memory, data),
        };
    }

    /// The end of a range, which may come to be before its beginning.
    fn end_of(self, code: &mut InstructionSink<'_>, range: u32) {
        code.local_get(range);
        match (self.is_64(range), self.is_64(COUNT)) {
            (true, true) => code.local_get(COUNT).i64_add(),
            (true, false) => code.local_get(COUNT).i64_extend_i32_u().i64_add(),
            // A count is no wider than what it counts from.
            (false, _) => code.local_get(COUNT).i32_add(),
        };
    }

    /// The parameters that are the beginnings of ranges.
    fn ranges(self) -> &'static [u32] {
        match self {
            Self::Fill { .. } => &[TO],
            Self::Copy { .. } | Self::Init { .. } => &[TO, FROM],
        }
    }

    /// Whether a parameter has 64 bits.
    fn is_64(self, parameter: u32) -> bool {
        self.params()[parameter as usize] == ValType::I64
    }
}

/// The type of what is an address in a memory, or counts its bytes.
fn address(is_64: bool) -> ValType {
    match is_64 {
        true => ValType::I64,
        false => ValType::I32,
    }
}

/// A parameter as 64 bits.
fn extended(code: &mut InstructionSink<'_>, parameter: u32, is_64: bool) {
    code.local_get(parameter);
    if !is_64 {
        code.i64_extend_i32_u();
    }
}

fn piece(code: &mut InstructionSink<'_>, is_64: bool) {
    match is_64 {
        true => code.i64_const(PIECE_BYTES.into()),
        false => code.i32_const(PIECE_BYTES.cast_signed()),
    };
}

fn zero(code: &mut InstructionSink<'_>, is_64: bool) {
    match is_64 {
        true => code.i64_const(0),
        false => code.i32_const(0),
    };
}
