//! Finds the lines of the source that positions in compiled code belong to, from the debugging
//! information (DWARF) of a handler.
//!
//! The code that runs is not the code of the file: [`bulk`](crate::bulk) and
//! [`fuse`](crate::fuse) rewrite it, and leave the debugging information out. They keep each
//! function's name and the order of its instructions. So a position becomes a function's name and
//! the number of an instruction, which is looked up in the module of the file.
//!
//! Debugging information is untrusted input, whose readers follow references in it: call this only
//! in a process with limits.

mod dwarf;
mod modules;

/// The maximum number of functions that are inlined at one position, and so of its lines.
const MAX_INLINED: usize = 32;

/// The maximum length of the name of a file or a function, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// A line of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The function, mangled. Empty if it is unknown.
    pub function: String,
    /// The file, as its compiler named it: mostly absolute. Empty if it is unknown.
    pub file: String,
    /// The line, from 1. 0 if it is unknown.
    pub line: u32,
    /// The column, from 1. 0 if it is unknown.
    pub column: u32,
}

/// Finds the lines of positions. `original` is the component of the file, `compiled` what was made
/// of it for the compiler, and each position an offset in `compiled`. The result has a list for
/// each position: the innermost inlined function first. It is empty if nothing is known.
pub fn find(original: &[u8], compiled: &[u8], positions: &[u64]) -> Vec<Vec<Line>> {
    let (Ok(originals), Ok(compiled)) = (modules::read(original), modules::read(compiled)) else {
        return vec![Vec::new(); positions.len()];
    };
    let with_lines: Vec<_> = originals
        .iter()
        .filter_map(|module| Some((module, dwarf::context(module)?)))
        .collect();
    let find = |position: &u64| {
        let position = usize::try_from(*position).ok()?;
        let (name, body) = compiled.iter().find_map(|module| module.at(position))?;
        with_lines.iter().find_map(|(module, context)| {
            let addresses = module.functions(name);
            let address = addresses.filter_map(|function| {
                let start = modules::same_instruction(body, position, function)?;
                u64::try_from(module.address(start)?).ok()
            });
            let mut lines = address
                .map(|address| dwarf::lines(context, address))
                .find(|lines| !lines.is_empty())?;
            // Clang leaves the names of functions that are not inlined to the name section.
            if let Some(outermost) = lines.last_mut().filter(|line| line.function.is_empty()) {
                outermost.function = shortened(name);
            }
            Some(lines)
        })
    };
    positions
        .iter()
        .map(|position| find(position).unwrap_or_default())
        .collect()
}

/// Returns the start of a name.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bulk, fuse};

    /// Returns the position of the only `unreachable` in the function with this name, with its
    /// body.
    fn unreachable(bytes: &[u8], name: &str) -> usize {
        let modules = modules::read(bytes).expect("modules");
        let mut found = modules
            .iter()
            .flat_map(|module| module.functions(name))
            .flat_map(|body| {
                let operators = body.get_operators_reader().expect("operators");
                operators.into_iter_with_offsets().flatten()
            })
            .filter(|(operator, _)| matches!(operator, wasmparser::Operator::Unreachable));
        found.next().expect("an instruction").1
    }

    fn same(rewritten: &[u8], original: &[u8], name: &str, position: usize) -> Option<usize> {
        let rewritten = modules::read(rewritten).expect("modules");
        let (found, body) = rewritten.iter().find_map(|module| module.at(position))?;
        assert_eq!(found, name);
        let original = modules::read(original).expect("modules");
        let mut functions = original.iter().flat_map(|module| module.functions(name));
        functions.find_map(|function| modules::same_instruction(body, position, function))
    }

    const PROGRAM: &str = r#"
        (memory (export "memory") 1)
        (global $base i32 (i32.const 1000))
        (func $other (export "other"))
        (func $fails (export "fails") (param i32)
            (memory.fill (global.get $base) (i32.const 0) (local.get 0))
            (memory.copy (i32.const 0) (i32.const 8) (i32.const 4))
            (memory.fill (i32.const 0) (i32.const 0) (local.get 0))
            (call $other)
            (if (local.get 0) (then (unreachable))))
        (func $empty)"#;

    #[test]
    fn an_instruction_is_found_again_after_copies_were_split() {
        let original = wat::parse_str(format!("(module {PROGRAM})")).expect("a module");
        let rewritten = bulk::core_module(&original);
        assert_ne!(*rewritten, *original);
        let position = unreachable(&rewritten, "fails");
        assert_ne!(position, unreachable(&original, "fails"));
        assert_eq!(
            same(&rewritten, &original, "fails", position),
            Some(unreachable(&original, "fails"))
        );
    }

    #[test]
    fn an_instruction_is_found_again_after_modules_were_linked() {
        let text = format!(
            r#"(component
                (core module $a (func $dig (export "f")) (func (export "g")))
                (core module $b (import "a" "f" (func $f)) (import "a" "g" (func $g)) {PROGRAM}
                  (func $walk (export "run") (result i32) (call $f) (call $g) (i32.const 0)))
                (core instance $a (instantiate $a))
                (core instance $main (instantiate $b (with "a" (instance $a))))
                (func (export "run") (result u32) (canon lift (core func $main "run"))))"#
        );
        let original = wat::parse_str(text).expect("a component");
        let copied = bulk::component(&original).expect("within its limits");
        let linked = fuse::members_of_component(&copied).expect("it is linked");
        let position = unreachable(&linked, "fails");
        assert_eq!(
            same(&linked, &original, "fails", position),
            Some(unreachable(&original, "fails"))
        );
    }

    #[test]
    fn another_function_of_the_same_name_is_not_mistaken_for_it() {
        let module = |body: &str| {
            wat::parse_str(format!("(module (func $f {body} unreachable))")).expect("a module")
        };
        let rewritten = module("(drop (i32.const 1))");
        let position = unreachable(&rewritten, "f");
        for other in ["", "(drop (i64.const 1))", "(drop (i32.const 1)) nop"] {
            assert_eq!(
                same(&rewritten, &module(other), "f", position),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn broken_debugging_information_has_no_lines() {
        for seed in 0..200_u32 {
            let mut state = seed;
            let mut noise = |length: usize| -> String {
                let bytes = std::iter::repeat_with(|| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    format!("\\{:02x}", state >> 24)
                });
                bytes.take(length).collect()
            };
            let sections: String = [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"]
                .into_iter()
                .map(|name| format!("(@custom \"{name}\" \"{}\")", noise(64)))
                .collect();
            let text = format!("(module {PROGRAM} {sections})");
            let module = wat::parse_str(text).expect("a module");
            let position = unreachable(&module, "fails") as u64;
            let found = find(&module, &module, &[position, 0, u64::MAX]);
            assert_eq!(found.len(), 3);
            assert!(found.iter().all(Vec::is_empty), "{found:?}");
        }
        assert_eq!(find(b"\0asm", b"", &[7]), [vec![]]);
    }
}
