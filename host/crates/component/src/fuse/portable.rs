//! Portable components: a frame with its code and a state in it, as one component for any host.
//!
//! The two core modules take the place of the frame's imports of them. A custom section at the end
//! has what they replace, so that a component can be taken apart again: its code is compiled once,
//! together with that of all other snapshots of the same interpreter.

use std::ops::Range;

use wasm_encoder::{ComponentSection, CustomSection, Encode};
use wasmparser::{BinaryReader, ExternalKind, Parser, Payload};

use super::reindex::raw_module;
use super::unsupported::Result;
use super::{Apart, CodeKey};

/// The name of the custom section. Its content is the offset of the two modules in the component
/// and in the frame, in four bytes, followed by the sections of the frame that they replace.
const FRAME: &str = "wasgi-frame";

/// The size of a component's preamble, in bytes (component-model, Binary.md).
const PREAMBLE_BYTES: usize = 8;

/// The identifiers of custom sections and of core modules.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;

impl Apart {
    /// Returns the component with this state, which any host can run. `state` is a state of the
    /// same code, from [`snapshot`](super::snapshot).
    pub fn portable(&self, state: &[u8]) -> Vec<u8> {
        let Range { start, end } = self.imports.clone();
        let (before, behind) = (self.frame.get(..start), self.frame.get(end..));
        let mut bytes = before.unwrap_or_default().to_vec();
        for module in [&self.code, state] {
            let section = raw_module(module);
            bytes.push(section.id());
            section.encode(&mut bytes);
        }
        bytes.extend_from_slice(behind.unwrap_or_default());
        let mut replaced = (start as u32).to_le_bytes().to_vec();
        replaced.extend_from_slice(self.frame.get(start..end).unwrap_or_default());
        let section = CustomSection {
            name: FRAME.into(),
            data: replaced.into(),
        };
        bytes.push(ComponentSection::id(&section));
        section.encode(&mut bytes);
        bytes
    }
}

/// Takes a portable component ([`Apart::portable`]) apart, into the parts that it was made from.
/// Returns none if it isn't one. Its state contains nothing that runs, and its code no memory.
pub fn parts(bytes: &[u8]) -> Option<Apart> {
    let replaced = replaced(bytes).ok().flatten()?;
    let start = replaced.start;
    let mut modules = BinaryReader::new(bytes.get(start..)?, start);
    let code = module(&mut modules)?;
    let state = module(&mut modules)?;
    let between = modules.original_position()..replaced.section_start;
    let frame = [bytes.get(..start)?, replaced.imports, bytes.get(between)?].concat();
    let key = CodeKey::new(code, &frame);
    let is_whole = memories(code) == Ok(0) && is_state(state, &key.mark()).unwrap_or(false);
    is_whole.then(|| Apart {
        key,
        code: code.to_vec(),
        frame,
        state: state.to_vec(),
        imports: start..start + replaced.imports.len(),
    })
}

/// The content of the custom section.
struct Replaced<'a> {
    /// The offset of the modules.
    start: usize,
    imports: &'a [u8],
    /// The offset of the custom section itself.
    section_start: usize,
}

/// Reads the custom section, if the component ends with one.
fn replaced(bytes: &[u8]) -> Result<Option<Replaced<'_>>> {
    let mut reader = BinaryReader::new(bytes, 0);
    reader.read_bytes(PREAMBLE_BYTES)?;
    let mut last = None;
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        last = Some((start, id, reader.read_reader()?));
    }
    let Some((section_start, CUSTOM, mut content)) = last else {
        return Ok(None);
    };
    if content.read_string()? != FRAME {
        return Ok(None);
    }
    let offset = content.read_u32()?;
    let rest = content.bytes_remaining();
    Ok(Some(Replaced {
        start: offset as usize,
        imports: content.read_bytes(rest)?,
        section_start,
    }))
}

/// Returns the content of a section, if it is a core module.
fn module<'a>(reader: &mut BinaryReader<'a>) -> Option<&'a [u8]> {
    if reader.read_u8().ok()? != CORE_MODULE {
        return None;
    }
    let size = reader.read_var_u32().ok()?;
    reader.read_bytes(size as usize).ok()
}

/// Counts the memories and data segments that a module defines. Code has those of its state.
fn memories(module: &[u8]) -> std::result::Result<u32, ()> {
    let mut count = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(drop)? {
            Payload::MemorySection(section) => count += section.count(),
            Payload::DataSection(section) => count += section.count(),
            Payload::CodeSectionStart { .. } => return Ok(count),
            _ => {}
        }
    }
    Ok(count)
}

/// Returns whether a module consists of memory, its content and globals, and names its code.
fn is_state(module: &[u8], mark: &str) -> Result<bool> {
    let mut names_code = false;
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    names_code |= export.kind == ExternalKind::Memory && export.name == mark;
                }
            }
            Payload::Version { .. }
            | Payload::MemorySection(_)
            | Payload::GlobalSection(_)
            | Payload::DataSection(_)
            | Payload::End(_) => {}
            _ => return Ok(false),
        }
    }
    Ok(names_code)
}

#[cfg(test)]
mod tests {
    use super::super::apart;
    use super::super::split::tests::{binary, counter, run_parts, run_whole};
    use super::*;

    #[test]
    fn a_portable_component_does_what_its_parts_do_and_can_be_taken_apart() {
        let whole = counter(2, "ab", 5);
        let of = apart(&whole).expect("it can be taken apart");
        let portable = of.portable(&of.state);
        assert_eq!(run_whole(&portable), run_whole(&whole));
        let again = parts(&portable).expect("it is portable");
        assert!(again.key == of.key && again.code == of.code);
        assert!(again.frame == of.frame && again.state == of.state);
        assert_eq!(again.portable(&again.state), portable);
        assert_eq!(run_parts(&again), run_whole(&whole));
    }

    #[test]
    fn another_state_is_another_component_with_the_same_code() {
        let [one, two] = [counter(2, "ab", 5), counter(3, "xyz", -9)]
            .map(|whole| apart(&whole).expect("it can be taken apart"));
        let portable = one.portable(&two.state);
        assert_eq!(run_whole(&portable), run_parts(&two));
        assert!(parts(&portable).expect("it is portable").key == one.key);
    }

    #[test]
    fn what_was_changed_is_an_ordinary_component_or_none() {
        let whole = counter(2, "ab", 5);
        let of = apart(&whole).expect("it can be taken apart");
        // A state that names other code, one that has code, and no module at all.
        let foreign = apart(&binary(
            r#"(component
              (core module $a (memory 1)
                (func (export "next") (result i32) (i32.const 1)))
              (core module $b
                (import "a" "next" (func $next (result i32)))
                (func (export "run") (result i32) (call $next)))
              (core instance $a (instantiate $a))
              (core instance $b (instantiate $b (with "a" (instance $a))))
              (func (export "run") (result u32) (canon lift (core func $b "run"))))"#,
        ))
        .expect("it can be taken apart");
        let mark = of.key.mark();
        let running = binary(&format!(
            r#"(module (memory (export "memory") (export "{mark}") 2) (func $f) (start $f))"#
        ));
        for state in [&foreign.state[..], &running, b"", b"\0asm"] {
            assert!(parts(&of.portable(state)).is_none());
        }
        let portable = of.portable(&of.state);
        for cut in 0..portable.len() {
            assert!(parts(&portable[..cut]).is_none(), "{cut}");
        }
        for at in 0..portable.len() {
            let mut changed = portable.clone();
            changed[at] ^= 1;
            if let Some(parts) = parts(&changed) {
                // The content of its memory or a name has changed, or both hash and mark fit.
                assert_eq!(parts.key, CodeKey::new(&parts.code, &parts.frame));
            }
        }
    }
}
