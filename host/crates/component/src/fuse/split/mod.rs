//! Splits a module in two: its *code*, which imports its memory, and its *state*, which contains
//! that memory and no code.
//!
//! A component made from a snapshot consists of an interpreter, 20 MB when compiled, and the
//! content of its memory after an application was imported. The interpreter is the same for every
//! application. Compiling it takes seconds, laying out the memory takes milliseconds. So the two
//! are compiled separately, and the code only once.
//!
//! - The state exports the memory, and each initial value that can differ between two snapshots:
//!   those of globals that code writes to. The code imports these as immutable globals and
//!   initializes its own globals from them, so code that uses a global finds it at the same place.
//! - Data segments belong to the memory. Element segments stay with the code, as does the start
//!   function, which runs when both parts exist, as before.
//!
//! [`Split`] describes the two parts for the component around them.

mod snapshot;
mod survey;
#[cfg(test)]
pub(super) mod tests;
mod types;
mod written;

use std::collections::BTreeSet;

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, EntityType, ExportKind, ExportSection,
    GlobalSection, GlobalType, ImportSection, MemorySection, Module, ModuleType, StartSection,
    ValType,
};
use wasmparser::{CodeSectionReader, Parser, Payload};

use super::unsupported::{Copied, Result, Unsupported, unsupported, unsupported_at};
pub use snapshot::snapshot;
use survey::Survey;
pub(super) use types::any_memory;
use types::{Types, foreign};

/// The module name by which the code imports its state.
pub(super) const STATE: &str = "state";

/// The export name of the memory in the state.
pub(super) const MEMORY: &str = "memory";

/// The prefix of the export names of globals in the state.
pub const GLOBAL_PREFIX: &str = "global-";

/// The maximum number of globals that differ between states. Each is an import, and a value to copy
/// for each instance; a Python interpreter has three.
const MAX_GLOBALS: usize = 256;

/// A module that was split.
pub(super) struct Split {
    pub(super) code: Vec<u8>,
    /// The imports and exports of the code.
    pub(super) code_type: ModuleType,
    /// The exports of the state that the code imports.
    pub(super) state_type: ModuleType,
    /// The module's globals that are in the state, and their types.
    pub(super) globals: Vec<(u32, ValType)>,
    /// The functions that the code exports by name.
    pub(super) exported: Vec<String>,
    /// The module's globals that code may write to.
    written: BTreeSet<u32>,
}

/// Splits a module. `exported` are names of functions in its name section: the code exports those
/// that exist under these names.
///
/// # Errors
///
/// Fails if the module doesn't define exactly one memory, or the memory is shared or has 64 bits;
/// if the code refers to data segments; or if the address of a segment is computed.
pub(super) fn split(module: &[u8], exported: &[&str]) -> Result<Split> {
    let exported = survey::functions_named(module, exported)?;
    let roots = exported.iter().map(|(_, function)| *function);
    let written = written::globals(module, roots.collect())?;
    let survey = Survey::new(module, &written, exported)?;
    if survey.state_globals.len() > MAX_GLOBALS {
        return unsupported("too many globals differ between snapshots");
    }
    let mut types = Types::default();
    let code = Code::new(&survey).write(module, &mut types)?;
    Ok(Split {
        code,
        code_type: types.finish(),
        state_type: state_type(&survey),
        globals: globals(&survey)?,
        exported: survey.exported.into_iter().map(|(name, _)| name).collect(),
        written,
    })
}

/// Returns the export name of a global in the state.
pub(super) fn global_name(index: u32) -> String {
    format!("{GLOBAL_PREFIX}{index}")
}

/// Returns the state of the module that [`split()`] has split. It exports its memory a second time,
/// under the name `mark`.
///
/// # Errors
///
/// Fails if the module can't be split.
pub(super) fn state(module: &[u8], split: &Split, mark: &str) -> Result<Vec<u8>> {
    let survey = Survey::new(module, &split.written, Vec::new())?;
    let mut same = RoundtripReencoder;
    let mut memories = MemorySection::new();
    memories.memory(survey.memory);
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    exports.export(MEMORY, ExportKind::Memory, 0);
    exports.export(mark, ExportKind::Memory, 0);
    for (number, global) in (0..).zip(&survey.state_globals) {
        let value = same.const_expr(global.value.clone()).map_err(foreign)?;
        globals.global(immutable(global.ty)?, &value);
        exports.export(&global_name(global.index), ExportKind::Global, number);
    }
    let mut data = DataSection::new();
    for segment in &survey.data {
        data.active(
            0,
            &ConstExpr::i32_const(segment.address.cast_signed()),
            segment.bytes.iter().copied(),
        );
    }
    let mut module = Module::new();
    module.section(&memories);
    module.section(&globals);
    module.section(&exports);
    module.section(&data);
    Ok(module.finish())
}

fn state_type(survey: &Survey<'_>) -> ModuleType {
    let mut ty = ModuleType::new();
    ty.export(MEMORY, EntityType::Memory(any_memory()));
    for global in &survey.state_globals {
        if let Ok(global_type) = immutable(global.ty) {
            ty.export(&global_name(global.index), EntityType::Global(global_type));
        }
    }
    ty
}

fn globals(survey: &Survey<'_>) -> Result<Vec<(u32, ValType)>> {
    let globals = survey.state_globals.iter();
    globals
        .map(|global| Ok((global.index, immutable(global.ty)?.val_type)))
        .collect()
}

/// Returns the type of a global's initial value.
fn immutable(ty: wasmparser::GlobalType) -> Result<GlobalType> {
    let mut same = RoundtripReencoder;
    let val_type = same.val_type(ty.content_type).map_err(foreign)?;
    Ok(GlobalType {
        val_type,
        mutable: false,
        shared: false,
    })
}

/// The code module under construction.
struct Code<'s, 'a> {
    survey: &'s Survey<'a>,
    shift: Shift,
    imports: Option<ImportSection>,
}

impl<'s, 'a> Code<'s, 'a> {
    fn new(survey: &'s Survey<'a>) -> Self {
        Self {
            survey,
            shift: Shift {
                imported: survey.imported_globals,
                by: survey.state_globals.len() as u32,
            },
            imports: Some(ImportSection::new()),
        }
    }

    fn write(mut self, bytes: &[u8], types: &mut Types) -> Result<Vec<u8>> {
        let mut module = Module::new();
        for payload in Parser::new(0).parse_all(bytes) {
            self.payload(payload?, bytes, &mut module, types)?;
        }
        Ok(module.finish())
    }

    fn payload(
        &mut self,
        payload: Payload<'_>,
        bytes: &[u8],
        module: &mut Module,
        types: &mut Types,
    ) -> Result<()> {
        // The imports from the state follow the module's own imports and precede all later
        // sections.
        let comes_before = matches!(
            payload,
            Payload::Version { .. } | Payload::TypeSection(_) | Payload::ImportSection(_)
        );
        if !comes_before && !matches!(payload, Payload::CustomSection(_)) {
            self.state_imports(module, types)?;
        }
        match payload {
            Payload::TypeSection(section) => {
                types.add(section.clone())?;
                let mut out = wasm_encoder::TypeSection::new();
                self.shift.parse_type_section(&mut out, section)?;
                module.section(&out);
            }
            Payload::ImportSection(section) => {
                let Some(imports) = &mut self.imports else {
                    return unsupported("the sections are out of order");
                };
                for import in section.into_imports() {
                    let import = import?;
                    let ty = self.shift.entity_type(import.ty)?;
                    imports.import(import.module, import.name, ty);
                    types.import(import.module, import.name, ty)?;
                }
            }
            Payload::TableSection(section) => {
                let mut out = wasm_encoder::TableSection::new();
                self.shift.parse_table_section(&mut out, section)?;
                module.section(&out);
            }
            Payload::GlobalSection(section) => {
                module.section(&self.globals(section)?);
            }
            Payload::ExportSection(section) => {
                module.section(&self.exports(section, types)?);
            }
            Payload::StartSection { func, .. } => {
                let function_index = func;
                module.section(&StartSection { function_index });
            }
            Payload::ElementSection(section) => {
                let mut out = ElementSection::new();
                self.shift.parse_element_section(&mut out, section)?;
                module.section(&out);
            }
            Payload::CodeSectionStart { range, .. } => {
                let Some(inside) = bytes.get(range.clone()) else {
                    return unsupported("the component is truncated");
                };
                let reader = wasmparser::BinaryReader::new(inside, range.start);
                let mut out = CodeSection::new();
                self.shift
                    .parse_code_section(&mut out, CodeSectionReader::new(reader)?)?;
                module.section(&out);
            }
            Payload::CustomSection(section) => self.shift.parse_custom_section(module, section)?,
            Payload::FunctionSection(section) => {
                let mut out = wasm_encoder::FunctionSection::new();
                self.shift.parse_function_section(&mut out, section)?;
                module.section(&out);
            }
            // Part of the state, or useless without it.
            Payload::MemorySection(_)
            | Payload::DataSection(_)
            | Payload::DataCountSection { .. }
            | Payload::CodeSectionEntry(_)
            | Payload::Version { .. }
            | Payload::End(_) => {}
            payload => {
                let section = super::component::section(&payload);
                return unsupported_at("a section is not supported", &section);
            }
        }
        Ok(())
    }

    fn state_imports(&mut self, module: &mut Module, types: &mut Types) -> Result<()> {
        let Some(mut imports) = self.imports.take() else {
            return Ok(());
        };
        for global in &self.survey.state_globals {
            let ty = EntityType::Global(immutable(global.ty)?);
            imports.import(STATE, &global_name(global.index), ty);
            types.import(STATE, &global_name(global.index), ty)?;
        }
        let ty = EntityType::Memory(any_memory());
        imports.import(STATE, MEMORY, ty);
        types.import(STATE, MEMORY, ty)?;
        module.section(&imports);
        Ok(())
    }

    fn globals(&mut self, section: wasmparser::GlobalSectionReader<'_>) -> Result<GlobalSection> {
        let mut out = GlobalSection::new();
        let first = self.shift.imported;
        let mut of_state = self.survey.state_globals.iter().zip(first..).peekable();
        for (index, global) in (first..).zip(section) {
            let global = global?;
            let ty = self.shift.global_type(global.ty)?;
            match of_state.next_if(|(of_state, _)| of_state.index == index) {
                Some((_, import)) => out.global(ty, &ConstExpr::global_get(import)),
                None => out.global(ty, &self.shift.const_expr(global.init_expr)?),
            };
        }
        Ok(out)
    }

    fn exports(
        &mut self,
        section: wasmparser::ExportSectionReader<'_>,
        types: &mut Types,
    ) -> Result<ExportSection> {
        let mut out = ExportSection::new();
        for export in section {
            let export = export?;
            let kind = self.shift.export_kind(export.kind)?;
            let index = self.shift.external_index(export.kind, export.index)?;
            out.export(export.name, kind, index);
            types.export(
                export.name,
                self.survey.external(export.kind, export.index)?,
            )?;
        }
        for (name, function) in &self.survey.exported {
            out.export(name, ExportKind::Func, *function);
            let ty = self
                .survey
                .external(wasmparser::ExternalKind::Func, *function)?;
            types.export(name, ty)?;
        }
        if !self.survey.exported.is_empty() {
            for global in &self.survey.state_globals {
                let name = global_name(global.index);
                out.export(&name, ExportKind::Global, global.index + self.shift.by);
                types.export(
                    &name,
                    EntityType::Global(self.shift.global_type(global.ty)?),
                )?;
            }
        }
        Ok(out)
    }
}

/// Shifts the indices of globals past those of the state, which are imported.
struct Shift {
    /// The number of globals that the module itself imports.
    imported: u32,
    by: u32,
}

impl Reencode for Shift {
    type Error = Unsupported;

    fn global_index(&mut self, index: u32) -> Copied<u32> {
        Ok(match index < self.imported {
            true => index,
            false => index + self.by,
        })
    }

    fn data_index(&mut self, _: u32) -> Copied<u32> {
        Err(Error::UserError(Unsupported::new(
            "the code refers to data segments",
        )))
    }
}
