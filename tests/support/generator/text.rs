//! Files in WebAssembly's text format, which the folder of handlers may also contain.

use super::MAX_FILE_BYTES;
use super::binary::Numbers;

/// Text that is deeply nested, long, or invalid.
pub(super) fn text(numbers: &mut Numbers) -> Vec<u8> {
    let count = numbers.up_to(10, MAX_FILE_BYTES / 2);
    let few = count.min(MAX_FILE_BYTES / 32);
    let text = match numbers.below(8) {
        0 => "(".repeat(count),
        1 => format!("{}{}", "(component ".repeat(few), ")".repeat(few)),
        2 => format!(
            "(module (func {}{}))",
            "(block ".repeat(few),
            ")".repeat(few)
        ),
        3 => format!(
            "(module (func (drop {}(i32.const 0){})))",
            "(i32.eqz ".repeat(few),
            ")".repeat(few)
        ),
        4 => format!("(module (memory 1) (data \"{}\"))", "\\00".repeat(few)),
        5 => format!("(module (global i32 (i32.const {})))", "9".repeat(count)),
        6 => format!("(;{}", "(;".repeat(count / 2)),
        _ => return numbers.bytes(count),
    };
    text.into_bytes()
}
