//! Decides whether the memories of a program are stored as images: the initial content, including
//! holes, so that instances map it instead of copying it.
//!
//! wasmtime stores a memory as an image if its engine accepts images of that size. A program with
//! one byte at the start of a memory and another at its end has 70 bytes, and an image of 125 MiB:
//! that much is allocated to compile it, and was written to the code cache for each version. So
//! images with holes are for programs whose images are in proportion to their data.

use std::collections::BTreeMap;

use wasmparser::{BinaryReaderError, DataKind, DataSectionReader, Operator, Parser, Payload};

/// Part of the names of compiled code. Increase it when the choice of programs with images changes.
pub(in crate::engine) const REVISION: u32 = 1;

/// The maximum size of images that any program may have: wasmtime's own limit for a nearly empty
/// one.
const SMALL_BYTES: u64 = 1 << 20;

/// The maximum image bytes for each byte of data in the program. Images of Python programs are
/// about half full.
const BYTES_PER_BYTE: u64 = 4;

/// Returns whether the images of all memories of a component or a module are in proportion to its
/// data.
///
/// The bytes need not be valid: input that is not a program has no images.
pub(in crate::engine) fn are_in_proportion(wasm: &[u8]) -> bool {
    let mut total = Extent::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else {
            break;
        };
        // A module has one such section, and all modules of a component are parsed.
        if let Payload::DataSection(section) = payload
            && total.add(section).is_err()
        {
            break;
        }
    }
    total.image_bytes <= SMALL_BYTES.saturating_add(total.data_bytes.saturating_mul(BYTES_PER_BYTE))
}

/// The amount of data in memories, and the size of their images.
#[derive(Default)]
struct Extent {
    data_bytes: u64,
    image_bytes: u64,
}

impl Extent {
    fn add(&mut self, section: DataSectionReader<'_>) -> Result<(), BinaryReaderError> {
        // For each memory, the range from the first to the last initialized byte.
        let mut memories: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for segment in section {
            let segment = segment?;
            let DataKind::Active {
                memory_index,
                offset_expr,
            } = segment.kind
            else {
                continue;
            };
            let start = match offset_expr.get_operators_reader().read()? {
                Operator::I32Const { value } => u64::from(value.cast_unsigned()),
                Operator::I64Const { value } => value.cast_unsigned(),
                // A module with such a segment has no image.
                _ => continue,
            };
            if segment.data.is_empty() {
                continue;
            }
            let bytes = segment.data.len() as u64;
            let end = start.saturating_add(bytes);
            self.data_bytes = self.data_bytes.saturating_add(bytes);
            let (first, last) = memories.entry(memory_index).or_insert((start, end));
            *first = start.min(*first);
            *last = end.max(*last);
        }
        let images = memories.values().map(|(first, last)| last - first);
        self.image_bytes = images.fold(self.image_bytes, u64::saturating_add);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_in_proportion_in(text: &str) -> bool {
        are_in_proportion(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn an_image_may_be_some_times_the_data_and_a_small_one_may_be_empty() {
        let two = |pages: u32, last: u32| {
            are_in_proportion_in(&format!(
                r#"(module (memory {pages}) (data (i32.const 0) "a") (data (i32.const {last}) "b"))"#
            ))
        };
        assert!(two(1, 0) && two(1, 65_535) && two(16, 1_000_000));
        assert!(!two(17, 1_100_000) && !two(2000, 131_000_000) && !two(65_536, u32::MAX));
        // One segment has an image without holes, at any address.
        assert!(are_in_proportion_in(
            r#"(module (memory 2000) (data (i32.const 131000000) "b"))"#
        ));
        let filled = "a".repeat(1 << 20);
        let half = format!(
            r#"(module (memory 99) (data (i32.const 0) "{filled}") (data (i32.const 2097152) "b"))"#
        );
        assert!(are_in_proportion_in(&half));
    }

    #[test]
    fn the_memories_of_all_modules_of_a_component_count_together() {
        let module = |number: u32| {
            format!(
                r#"(core module $m{number} (memory 16) (data (i32.const 0) "a") (data (i32.const 900000) "b"))"#
            )
        };
        let component = |count: u32| {
            let modules: String = (0..count).map(module).collect();
            are_in_proportion_in(&format!("(component {modules} (component {modules}))"))
        };
        assert!(component(0) && !component(1) && !component(100));
    }

    #[test]
    fn what_has_no_image_is_in_proportion() {
        for text in [
            "(module)",
            r#"(module (memory 2000) (data "a"))"#,
            r#"(module (import "m" "g" (global i32)) (memory 2000)
                (data (i32.const 0) "a") (data (global.get 0) "b"))"#,
            r#"(module (memory 2000) (data (i32.const 0) "a") (data (i32.const 131000000) ""))"#,
        ] {
            assert!(are_in_proportion_in(text), "{text}");
        }
        assert!(are_in_proportion(b"prose") && are_in_proportion(b"\0asm\x01\0\0\0\x0b\x05\xff"));
    }
}
