//! The facts about a module that are needed to split it.

use std::collections::BTreeSet;

use wasm_encoder::EntityType;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{
    ConstExpr, DataKind, ExternalKind, KnownCustom, Name, Operator, Parser, Payload, TypeRef,
};

use super::super::unsupported::{Result, Unsupported, unsupported, unsupported_at};
use super::types::{any_memory, foreign};

/// The result of reading a module once.
pub(super) struct Survey<'a> {
    pub(super) memory: wasm_encoder::MemoryType,
    pub(super) imported_globals: u32,
    /// The globals whose initial values are in the state, in order.
    pub(super) state_globals: Vec<StateGlobal<'a>>,
    pub(super) data: Vec<Segment<'a>>,
    /// Functions that are exported by name: the name and the index.
    pub(super) exported: Vec<(String, u32)>,
    functions: Vec<u32>,
    tables: Vec<wasmparser::TableType>,
    globals: Vec<wasmparser::GlobalType>,
}

/// A global whose initial value can differ between snapshots.
pub(super) struct StateGlobal<'a> {
    pub(super) index: u32,
    pub(super) ty: wasmparser::GlobalType,
    pub(super) value: ConstExpr<'a>,
}

/// Initial data of the memory.
pub(super) struct Segment<'a> {
    pub(super) address: u32,
    pub(super) bytes: &'a [u8],
}

impl<'a> Survey<'a> {
    /// Reads a module. `written` are the globals that code may write to, and `exported` the
    /// functions that are exported by name.
    pub(super) fn new(
        module: &'a [u8],
        written: &BTreeSet<u32>,
        exported: Vec<(String, u32)>,
    ) -> Result<Self> {
        let mut survey = Self {
            memory: any_memory(),
            imported_globals: 0,
            state_globals: Vec::new(),
            data: Vec::new(),
            exported,
            functions: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
        };
        let mut memories = 0;
        let mut has_exports = false;
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(section) => survey.imports(section)?,
                Payload::FunctionSection(section) => {
                    for ty in section {
                        survey.functions.push(ty?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        survey.tables.push(table?.ty);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        memories += 1;
                        survey.memory = plain(memory?)?;
                    }
                }
                Payload::GlobalSection(section) => survey.globals(section, written)?,
                Payload::ExportSection(_) => has_exports = true,
                Payload::DataSection(section) => survey.data(section)?,
                _ => {}
            }
        }
        match memories {
            1 if has_exports => Ok(survey),
            1 => unsupported("the module has no exports"),
            _ => unsupported("the module doesn't define exactly one memory"),
        }
    }

    /// Returns the type of an item by its index.
    pub(super) fn external(&self, kind: ExternalKind, index: u32) -> Result<EntityType> {
        let mut same = RoundtripReencoder;
        let place = index as usize;
        let ty = match kind {
            ExternalKind::Func => self
                .functions
                .get(place)
                .map(|ty| EntityType::Function(*ty)),
            ExternalKind::Table => match self.tables.get(place) {
                Some(ty) => Some(EntityType::Table(same.table_type(*ty).map_err(foreign)?)),
                None => None,
            },
            ExternalKind::Memory => Some(EntityType::Memory(any_memory())),
            ExternalKind::Global => match self.globals.get(place) {
                Some(ty) => Some(EntityType::Global(same.global_type(*ty).map_err(foreign)?)),
                None => None,
            },
            ExternalKind::Tag | ExternalKind::FuncExact => None,
        };
        ty.ok_or(Unsupported::new("an export refers to an undefined item"))
    }

    fn imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<()> {
        for import in section.into_imports() {
            let import = import?;
            match import.ty {
                TypeRef::Func(ty) => self.functions.push(ty),
                TypeRef::Table(ty) => self.tables.push(ty),
                TypeRef::Global(ty) => {
                    self.imported_globals += 1;
                    self.globals.push(ty);
                }
                _ => return unsupported_at("the module imports a memory or a tag", import.name),
            }
        }
        Ok(())
    }

    fn globals(
        &mut self,
        section: wasmparser::GlobalSectionReader<'a>,
        written: &BTreeSet<u32>,
    ) -> Result<()> {
        for (index, global) in (self.imported_globals..).zip(section) {
            let global = global?;
            self.globals.push(global.ty);
            let ty = global.ty;
            let is_written = ty.mutable && written.contains(&index);
            if is_written && !ty.shared && is_number(&global.init_expr)? {
                self.state_globals.push(StateGlobal {
                    index,
                    ty,
                    value: global.init_expr,
                });
            }
        }
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'a>) -> Result<()> {
        for segment in section {
            let segment = segment?;
            let DataKind::Active { offset_expr, .. } = segment.kind else {
                return unsupported("the module has a passive data segment");
            };
            let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
                return unsupported("the address of a data segment is computed");
            };
            self.data.push(Segment {
                address: value.cast_unsigned(),
                bytes: segment.data,
            });
        }
        Ok(())
    }
}

/// Returns the functions with one of these names in a module's name section, each name once.
pub(super) fn functions_named(module: &[u8], wanted: &[&str]) -> Result<Vec<(String, u32)>> {
    let mut found: Vec<(String, u32)> = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for payload in Parser::new(0).parse_all(module) {
        let Payload::CustomSection(section) = payload? else {
            continue;
        };
        let KnownCustom::Name(names) = section.as_known() else {
            continue;
        };
        for subsection in names {
            let Name::Function(names) = subsection? else {
                continue;
            };
            for naming in names {
                let naming = naming?;
                let is_new = || found.iter().all(|(name, _)| name != naming.name);
                if wanted.contains(&naming.name) && is_new() {
                    found.push((naming.name.to_owned(), naming.index));
                }
            }
        }
    }
    Ok(found)
}

/// Returns the type of a memory that another module can import: 32 bits, not shared, default page
/// size. Refuses others.
fn plain(ty: wasmparser::MemoryType) -> Result<wasm_encoder::MemoryType> {
    if ty.memory64 || ty.shared || ty.page_size_log2.is_some() {
        return unsupported(
            "the memory is shared, has 64-bit addresses, or has a custom page size",
        );
    }
    let mut same = RoundtripReencoder;
    same.memory_type(ty).map_err(foreign)
}

/// Returns whether an expression is a single constant.
fn is_number(expression: &ConstExpr<'_>) -> Result<bool> {
    let mut operators = expression.get_operators_reader();
    let is_number = matches!(
        operators.read()?,
        Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
    );
    Ok(is_number && matches!(operators.read()?, Operator::End))
}
