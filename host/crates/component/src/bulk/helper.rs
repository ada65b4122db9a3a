//! The functions that copy in pieces.
//!
//! Each takes the parameters of its instruction, and runs that instruction for up to one piece. For
//! longer ranges it first runs probes: instructions that copy nothing, but are as far out of bounds
//! as the whole copy.

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

/// The parameters: the destination, the source or fill value, and the number of bytes.
const TO: u32 = 0;
const FROM: u32 = 1;
const COUNT: u32 = 2;

impl Helper {
    /// Returns the types of the parameters.
    fn params(self) -> [ValType; 3] {
        match self {
            Self::Fill { is_64, .. } => [address(is_64), ValType::I32, address(is_64)],
            Self::Copy { to_64, from_64, .. } => {
                [address(to_64), address(from_64), address(to_64 && from_64)]
            }
            Self::Init { is_64, .. } => [address(is_64), ValType::I32, ValType::I32],
        }
    }

    /// Returns whether the length has 64 bits.
    pub(super) fn counts_64(self) -> bool {
        self.is_64(COUNT)
    }

    /// Returns two entries of a type section: the helper's type, and the type of a block that
    /// precedes the length.
    pub(super) fn types(self) -> [Vec<u8>; 2] {
        let params = self.params();
        [&params[..], &params[..COUNT as usize]].map(|params| {
            let mut types = TypeSection::new();
            types.ty().function(params.iter().copied(), []);
            let mut section = Vec::new();
            types.encode(&mut section);
            // The section's length and count precede the entry, one byte each.
            section.split_off(2)
        })
    }

    /// Returns the body.
    pub(super) fn code(self) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        self.whole(&mut code);
        self.probe(&mut code);
        match self {
            Self::Copy { to_64, from_64, .. } => {
                // Where the ranges overlap, the bytes read last must be written last.
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

    /// Runs the instruction for up to one piece, and for a range whose end overflows: that traps.
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

    /// Traps where the instruction would, using instructions of length 0 at the ends of its ranges.
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

    /// Copies piece by piece, then the rest.
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

    /// Copies piece by piece from the end, then the rest, which is the start.
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

    /// Repeats the loop while more than a piece is left.
    fn again(self, code: &mut InstructionSink<'_>) {
        extended(code, COUNT, self.is_64(COUNT));
        code.i64_const(PIECE_BYTES.into()).i64_gt_u().br_if(0);
    }

    /// Runs the instruction with the current values of the parameters.
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

    /// Computes the end of a range. It can overflow to a value before the start.
    fn end_of(self, code: &mut InstructionSink<'_>, range: u32) {
        code.local_get(range);
        match (self.is_64(range), self.is_64(COUNT)) {
            (true, true) => code.local_get(COUNT).i64_add(),
            (true, false) => code.local_get(COUNT).i64_extend_i32_u().i64_add(),
            // A count is never wider than its address.
            (false, _) => code.local_get(COUNT).i32_add(),
        };
    }

    /// Returns the parameters that are starts of ranges.
    fn ranges(self) -> &'static [u32] {
        match self {
            Self::Fill { .. } => &[TO],
            Self::Copy { .. } | Self::Init { .. } => &[TO, FROM],
        }
    }

    /// Returns whether a parameter has 64 bits.
    fn is_64(self, parameter: u32) -> bool {
        self.params()[parameter as usize] == ValType::I64
    }
}

/// Returns the type of an address or a byte count in a memory.
fn address(is_64: bool) -> ValType {
    match is_64 {
        true => ValType::I64,
        false => ValType::I32,
    }
}

/// Pushes a parameter as 64 bits.
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
