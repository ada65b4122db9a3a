//! A guest's call stack for the log. All names in it are untrusted: each is cut before it is
//! demangled, and the demangled name is written up to a limit. So every stack takes about the same
//! time, whatever its functions are called.

use std::fmt::Write;

use wasmtime::WasmBacktrace;

use crate::engine::limits::limited;
use crate::printable;

/// The maximum number of stack frames in a trap's log line.
const FRAMES_COUNT: usize = 8;

/// The maximum length of a mangled name that is demangled, in bytes. Names in Rust have some
/// hundreds, and a few thousand with deeply nested generic types.
const MANGLED_BYTES: usize = 4 * 1024;

/// The maximum length of a function or module name in the output, in bytes.
const NAME_BYTES: usize = 256;

/// Appends the innermost frames of a stack to a trap's text, each on a separate indented line.
pub(in crate::engine) fn push_frames(text: &mut String, backtrace: &WasmBacktrace) {
    for (number, frame) in backtrace.frames().iter().take(FRAMES_COUNT).enumerate() {
        let module = shown(frame.module().name().unwrap_or("<unknown>"));
        let function = match frame.func_name() {
            Some(name) => demangled(name),
            None => format!("<wasm function {}>", frame.func_index()),
        };
        // Writing to a string can't fail.
        let _ = match frame.module_offset() {
            Some(offset) => write!(text, "\n    {number}: {offset:#x} - {module}!{function}"),
            None => write!(text, "\n    {number}: {module}!{function}"),
        };
    }
}

/// Demangles a Rust function name; returns other names unchanged. C++ names stay mangled: a few
/// hundred bytes can expand to gigabytes, because each substitution can refer to two others.
fn demangled(name: &str) -> String {
    if name.len() > MANGLED_BYTES {
        return shown(name);
    }
    match rustc_demangle::try_demangle(name) {
        Ok(name) => shown(&limited(&name, NAME_BYTES + 1)),
        Err(_) => shown(name),
    }
}

/// Returns the start of a name, escaped for a log.
fn shown(name: &str) -> String {
    let front = printable::front(name, NAME_BYTES);
    let dots = if front.len() < name.len() { "…" } else { "" };
    format!("{}{dots}", printable::one_line(front))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_are_demangled_and_others_are_not() {
        for (name, wanted) in [
            (
                "_ZN4core9panicking5panic17h0123456789abcdefE",
                "core::panicking::panic::h0123456789abcdef",
            ),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_ZN3foo3barEv", "_ZN3foo3barEv"),
            ("main", "main"),
            ("a\nb\x1b", "a\\nb\\u{1b}"),
        ] {
            assert_eq!(demangled(name), wanted);
        }
    }

    #[test]
    fn a_name_is_cut_however_long_it_is_or_would_become() {
        for name in ["x".repeat(100_000), "é".repeat(3_000), doubling(40)] {
            let shown = demangled(&name);
            assert!(shown.len() <= NAME_BYTES + "…".len(), "{shown}");
            assert!(shown.ends_with('…'), "{shown}");
        }
    }

    /// Returns a name with a list of types in which each is a pair of the previous one: expanded,
    /// the last has 2 to the power of `count` parts.
    fn doubling(count: usize) -> String {
        let mut name = String::from("IC1aTuuE");
        let mut before = "IC1a".len();
        for _ in 1..count {
            let place = name.len();
            let back = base_62(before);
            name.push_str(&format!("TB{back}B{back}E"));
            before = place;
        }
        format!("_R{name}E")
    }

    /// Encodes a number above 0 in Rust's mangling (RFC 2603, base-62-number).
    fn base_62(number: usize) -> String {
        let mut digits = Vec::new();
        let mut rest = number - 1;
        loop {
            digits.push(char::from(
                b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest % 62],
            ));
            rest /= 62;
            if rest == 0 {
                break;
            }
        }
        digits.iter().rev().chain(&['_']).collect()
    }
}
