//! The functions of the core modules in a binary, and their instructions.

use std::collections::HashMap;
use std::mem::discriminant;
use std::ops::Range;

use wasmparser::{
    BinaryReaderError, Encoding, FunctionBody, KnownCustom, Name, NameSectionReader, Operator,
    Parser, Payload, TypeRef,
};

/// The number of instructions with which [`bulk`](crate::bulk) replaces a copy: it compares the
/// length, and branches to a call or to the copy itself.
const REPLACED_COPY: usize = 10;

/// What lines are looked up in: the code of a core module, and its custom sections.
#[derive(Default)]
pub(super) struct CoreModule<'a> {
    /// The position of the code section's content.
    code: Range<usize>,
    /// The number of imported functions, which come before the defined ones.
    imported: u32,
    bodies: Vec<FunctionBody<'a>>,
    /// The names of functions, by index.
    names: HashMap<u32, &'a str>,
    /// The defined functions of a name, as indices of `bodies`.
    by_name: HashMap<&'a str, Vec<usize>>,
    custom: HashMap<&'a str, &'a [u8]>,
}

/// Reads the core modules of a component at any depth, or the one that the bytes are.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<CoreModule<'_>>, BinaryReaderError> {
    let mut modules = Vec::new();
    let mut current: Option<CoreModule<'_>> = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                // Nothing is nested in a module.
                current = (encoding == Encoding::Module).then(CoreModule::default);
            }
            Payload::End(_) => {
                if let Some(mut module) = current.take() {
                    module.index_names();
                    modules.push(module);
                }
            }
            payload => {
                if let Some(module) = &mut current {
                    module.section(payload)?;
                }
            }
        }
    }
    Ok(modules)
}

impl<'a> CoreModule<'a> {
    fn section(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        self.imported += 1;
                    }
                }
            }
            Payload::CodeSectionStart { range, .. } => self.code = range,
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.read_names(names);
                }
                self.custom.insert(section.name(), section.data());
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads the names of functions. Those after an invalid one are left out.
    fn read_names(&mut self, names: NameSectionReader<'a>) {
        let functions = names.flatten().filter_map(|names| match names {
            Name::Function(functions) => Some(functions),
            _ => None,
        });
        for naming in functions.flat_map(|functions| functions.into_iter().flatten()) {
            self.names.insert(naming.index, naming.name);
        }
    }

    fn index_names(&mut self) {
        for place in 0..self.bodies.len() {
            let index =
                u32::try_from(place).map_or(u32::MAX, |place| self.imported.saturating_add(place));
            if let Some(name) = self.names.get(&index) {
                self.by_name.entry(name).or_default().push(place);
            }
        }
    }

    /// Returns the content of a custom section.
    pub(super) fn custom_section(&self, name: &str) -> Option<&'a [u8]> {
        self.custom.get(name).copied()
    }

    /// Returns the name and the body of the function at a position.
    pub(super) fn at(&self, position: usize) -> Option<(&'a str, &FunctionBody<'a>)> {
        let after = self
            .bodies
            .partition_point(|body| body.range().start <= position);
        let place = after.checked_sub(1)?;
        let body = self.bodies.get(place)?;
        let index = self.imported.checked_add(u32::try_from(place).ok()?)?;
        let name = self.names.get(&index)?;
        body.range().contains(&position).then_some((*name, body))
    }

    /// Returns the bodies of the functions with a name.
    pub(super) fn functions(&self, name: &str) -> impl Iterator<Item = &FunctionBody<'a>> {
        let places = self.by_name.get(name).into_iter().flatten();
        places.filter_map(|place| self.bodies.get(*place))
    }

    /// Returns the address, for debugging information, of a position.
    pub(super) fn address(&self, position: usize) -> Option<usize> {
        position.checked_sub(self.code.start)
    }
}

/// Returns the position of the instruction in `original` that became the one at `position` in
/// `rewritten`. `None` if the functions differ in more than what rewriting changes.
pub(super) fn same_instruction(
    rewritten: &FunctionBody<'_>,
    position: usize,
    original: &FunctionBody<'_>,
) -> Option<usize> {
    let mut rewritten = rewritten.get_operators_reader().ok()?;
    let mut original = original.get_operators_reader().ok()?;
    let mut found = None;
    while !original.eof() {
        let at = original.original_position();
        let operator = original.read().ok()?;
        let first = rewritten.read().ok()?;
        if copies(&operator) && matches!(first, Operator::LocalTee { .. }) {
            for _ in 1..REPLACED_COPY {
                rewritten.read().ok()?;
            }
        } else if !becomes(&operator, &first) {
            return None;
        }
        if found.is_none() && rewritten.original_position() > position {
            found = Some(at);
        }
    }
    rewritten.eof().then_some(found).flatten()
}

/// Returns whether an instruction can be rewritten to another.
fn becomes(original: &Operator<'_>, rewritten: &Operator<'_>) -> bool {
    discriminant(original) == discriminant(rewritten)
        || copies(original) && matches!(rewritten, Operator::Call { .. })
        // Of a global that is constant.
        || matches!(original, Operator::GlobalGet { .. }) && is_constant(rewritten)
}

fn copies(operator: &Operator<'_>) -> bool {
    use Operator::{MemoryCopy, MemoryFill, MemoryInit};
    matches!(
        operator,
        MemoryCopy { .. } | MemoryFill { .. } | MemoryInit { .. }
    )
}

fn is_constant(operator: &Operator<'_>) -> bool {
    use Operator::{F32Const, F64Const, I32Const, I64Const, RefFunc, RefNull};
    matches!(
        operator,
        I32Const { .. }
            | I64Const { .. }
            | F32Const { .. }
            | F64Const { .. }
            | RefFunc { .. }
            | RefNull { .. }
    )
}
