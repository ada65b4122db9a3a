//! A guest's call stack for the log. All names in it are untrusted: each is cut before it is
//! demangled, and the demangled name is written up to a limit. So every stack takes about the same
//! time, whatever its functions are called.

use std::fmt::Write;

use wasmtime::WasmBacktrace;

use crate::engine::compile::MAX_POSITIONS;
use crate::engine::limits::limited;
use crate::engine::lines::Line;
use crate::printable;

/// The maximum number of stack frames in a trap's log line.
const FRAMES_COUNT: usize = 8;

/// The maximum number of stack frames whose lines are looked up: a panic and a framework have some
/// twenty between the handler's own.
const MAX_FRAMES: usize = MAX_POSITIONS;

/// The maximum length of a mangled name that is demangled, in bytes. Names in Rust have some
/// hundreds, and a few thousand with deeply nested generic types.
const MANGLED_BYTES: usize = 4 * 1024;

/// The maximum length of a function or module name in the output, in bytes.
const NAME_BYTES: usize = 256;

/// The innermost frames of a guest's stack.
#[derive(Debug)]
pub(in crate::engine) struct Stack(Vec<Frame>);

#[derive(Debug)]
struct Frame {
    /// The position in the module.
    offset: Option<usize>,
    /// The names of the module and the function, for a log.
    function: String,
}

impl Stack {
    /// Reads a stack.
    pub(in crate::engine) fn new(backtrace: &WasmBacktrace) -> Self {
        let frames = backtrace.frames().iter().take(MAX_FRAMES);
        let frames = frames.map(|frame| {
            let module = shown(frame.module().name().unwrap_or("<unknown>"));
            let function = match frame.func_name() {
                Some(name) => demangled(name),
                None => format!("<wasm function {}>", frame.func_index()),
            };
            Frame {
                offset: frame.module_offset(),
                function: format!("{module}!{function}"),
            }
        });
        Self(frames.collect())
    }

    /// Returns the positions of the frames.
    pub(super) fn positions(&self) -> Vec<u64> {
        let known = self.0.iter().map_while(|frame| frame.offset);
        known.map(|offset| offset as u64).collect()
    }

    /// Appends the innermost frames to a trap's text, each on a separate indented line.
    pub(super) fn push_frames(&self, text: &mut String) {
        for (number, frame) in self.0.iter().take(FRAMES_COUNT).enumerate() {
            let function = &frame.function;
            // Writing to a string can't fail.
            let _ = match frame.offset {
                Some(offset) => write!(text, "\n    {number}: {offset:#x} - {function}"),
                None => write!(text, "\n    {number}: {function}"),
            };
        }
    }

    /// Returns the innermost frames of a developer's own source, each on a separate line, from the
    /// lines of each position. `None` if no frame has any.
    pub(super) fn with_lines(found: &[Vec<Line>]) -> Option<String> {
        let mut text = String::new();
        let mut hidden_count = 0_usize;
        let mut shown_count = 0;
        for line in found.iter().flatten() {
            if !is_own(line) {
                hidden_count += 1;
                continue;
            }
            if shown_count == FRAMES_COUNT {
                break;
            }
            push_hidden(&mut text, std::mem::take(&mut hidden_count));
            let function = demangled(&line.function);
            let file = printable::one_line(&line.file);
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{shown_count}: {function} ({file}:{}:{})",
                line.line,
                line.column.max(1)
            );
            shown_count += 1;
        }
        (shown_count > 0).then(|| text.trim_end().to_owned())
    }
}

/// Notes frames of libraries that are not shown.
fn push_hidden(text: &mut String, count: usize) {
    // Writing to a string can't fail.
    let _ = match count {
        0 => Ok(()),
        1 => writeln!(text, "   (1 frame of a library)"),
        _ => writeln!(text, "   ({count} frames of libraries)"),
    };
}

/// Returns whether a line is of a developer's own source: not of the standard library, the SDK, a
/// package from elsewhere, or generated code.
fn is_own(line: &Line) -> bool {
    /// Parts of the paths of such files: of Rust's standard library, installed or as its
    /// distribution was built; of Cargo's downloads; of the SDK, in this repository and in a
    /// site; and of the C library.
    const ELSEWHERE: [&str; 9] = [
        "/rustc/",
        "/lib/rustlib/src/",
        "/registry/src/",
        "/git/checkouts/",
        "/guest-sdk/rust/",
        "/.wasgi/sdk/",
        "/libc-top-half/",
        "/libc-bottom-half/",
        "/wasi-libc/",
    ];
    line.line > 0
        && !line.file.is_empty()
        && !line.file.starts_with('<')
        && !ELSEWHERE.iter().any(|part| line.file.contains(part))
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
