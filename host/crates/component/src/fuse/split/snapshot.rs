//! The state of an instance that has run: like the state of a module, with the current content of
//! the instance's memory and globals.

use wasm_encoder::{
    ConstExpr, DataSection, ExportKind, ExportSection, GlobalSection, GlobalType, MemorySection,
    Module, ValType,
};

use super::super::unsupported::{Result, unsupported};
use super::types::any_memory;
use super::{MEMORY, global_name};

/// The unit in which memory is written, in bytes: the size of a kernel page. Pages of zeros are
/// omitted.
const PAGE_BYTES: usize = 4096;

/// The size of a WebAssembly page, in bytes.
const WASM_PAGE_BYTES: usize = 64 * 1024;

/// Writes the state of an instance for the code that `mark` names. `memory` is all of its memory;
/// `globals` are numbers, types and bits. The state exports its memory under each of `names`, too.
///
/// # Errors
///
/// Fails if a global isn't a number.
pub fn snapshot(
    mark: &str,
    names: &[&str],
    memory: &[u8],
    globals: &[(u32, ValType, u64)],
) -> Result<Vec<u8>> {
    let mut memories = MemorySection::new();
    let mut ty = any_memory();
    ty.minimum = memory.len().div_ceil(WASM_PAGE_BYTES) as u64;
    memories.memory(ty);
    let mut section = GlobalSection::new();
    let mut exports = ExportSection::new();
    exports.export(MEMORY, ExportKind::Memory, 0);
    exports.export(mark, ExportKind::Memory, 0);
    for name in names {
        exports.export(name, ExportKind::Memory, 0);
    }
    for (number, (index, val_type, bits)) in (0..).zip(globals) {
        let ty = GlobalType {
            val_type: *val_type,
            mutable: false,
            shared: false,
        };
        section.global(ty, &constant(*val_type, *bits)?);
        exports.export(&global_name(*index), ExportKind::Global, number);
    }
    let mut module = Module::new();
    module.section(&memories);
    module.section(&section);
    module.section(&exports);
    module.section(&data(memory));
    Ok(module.finish())
}

fn constant(val_type: ValType, bits: u64) -> Result<ConstExpr> {
    Ok(match val_type {
        ValType::I32 => ConstExpr::i32_const((bits as u32).cast_signed()),
        ValType::I64 => ConstExpr::i64_const(bits.cast_signed()),
        ValType::F32 => ConstExpr::f32_const(wasm_encoder::Ieee32::new(bits as u32)),
        ValType::F64 => ConstExpr::f64_const(wasm_encoder::Ieee64::new(bits)),
        _ => return unsupported("a global is not a number"),
    })
}

/// Returns the pages of a memory that are not all zeros. Consecutive pages form one segment.
fn data(memory: &[u8]) -> DataSection {
    let mut data = DataSection::new();
    let mut start = None;
    let mut add = |from: usize, to: usize| {
        let bytes = memory.get(from..to).unwrap_or_default();
        let address = ConstExpr::i32_const((from as u32).cast_signed());
        data.active(0, &address, bytes.iter().copied());
    };
    for (number, page) in memory.chunks(PAGE_BYTES).enumerate() {
        let at = number * PAGE_BYTES;
        let is_empty = page.iter().all(|byte| *byte == 0);
        match (is_empty, start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                add(from, at);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        add(from, memory.len());
    }
    data
}
