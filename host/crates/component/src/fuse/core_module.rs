//! A complete, parsed core module: the input of a merge. Its content is validated, except for the
//! bodies of its functions.

use std::collections::HashMap;

use wasmparser::{
    Data, Element, FuncType, FunctionBody, Global, Import, KnownCustom, MemoryType, Name, Parser,
    Payload, RefType, Table, TypeRef, ValType,
};

use super::component::{ItemKind, section};
use super::unsupported::{Result, unsupported, unsupported_at};

/// A core module.
#[derive(Default)]
pub(super) struct CoreModule<'a> {
    pub(super) types: Vec<FuncType>,
    /// By kind, because each kind has a separate index space.
    pub(super) imports: HashMap<ItemKind, Vec<Import<'a>>>,
    /// The types of the defined functions.
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<Table<'a>>,
    pub(super) memories: Vec<MemoryType>,
    pub(super) globals: Vec<Global<'a>>,
    pub(super) exports: HashMap<&'a str, (ItemKind, u32)>,
    pub(super) start: Option<u32>,
    pub(super) elements: Vec<Element<'a>>,
    pub(super) counts_data: bool,
    pub(super) data: Vec<Data<'a>>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) name: Option<&'a str>,
    pub(super) function_names: Vec<(u32, &'a str)>,
}

impl<'a> CoreModule<'a> {
    /// Parses a module. Refuses one with features that can't be merged.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut inner = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            inner.read(payload?)?;
        }
        match inner.functions.len() == inner.bodies.len() {
            true => Ok(inner),
            false => unsupported("a module has more or fewer bodies than functions"),
        }
    }

    /// Returns the number of imports of a kind. They have the first indices.
    pub(super) fn imported(&self, kind: ItemKind) -> u32 {
        self.imports.get(&kind).map_or(0, |list| list.len() as u32)
    }

    /// Returns the type of a function, imported or defined.
    pub(super) fn function_type(&self, index: u32) -> Option<&FuncType> {
        let imported = self
            .imports
            .get(&ItemKind::Func)
            .map_or(&[][..], Vec::as_slice);
        let ty = match imported.get(index as usize) {
            Some(import) => match import.ty {
                TypeRef::Func(ty) => ty,
                _ => return None,
            },
            None => *self.functions.get(index as usize - imported.len())?,
        };
        self.types.get(ty as usize)
    }

    fn read(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty?;
                    for part in ty.params().iter().chain(ty.results()) {
                        plain(*part)?;
                    }
                    self.types.push(ty);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?)?;
                }
            }
            Payload::FunctionSection(section) => read_all(section, &mut self.functions)?,
            Payload::TableSection(section) => {
                read_all(section, &mut self.tables)?;
                for table in &self.tables {
                    plain(ValType::Ref(table.ty.element_type))?;
                }
            }
            Payload::MemorySection(section) => read_all(section, &mut self.memories)?,
            Payload::GlobalSection(section) => {
                read_all(section, &mut self.globals)?;
                for global in &self.globals {
                    plain(global.ty.content_type)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let target = (ItemKind::from_external(export.kind)?, export.index);
                    self.exports.insert(export.name, target);
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => read_all(section, &mut self.elements)?,
            Payload::DataCountSection { .. } => self.counts_data = true,
            Payload::DataSection(section) => read_all(section, &mut self.data)?,
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for name in names {
                        // An error in the names affects nothing else.
                        let Ok(name) = name else { break };
                        self.read_names(name);
                    }
                }
            }
            Payload::Version { .. } | Payload::CodeSectionStart { .. } | Payload::End(_) => {}
            payload => {
                let section = section(&payload);
                return unsupported_at("a section of a module is not supported", &section);
            }
        }
        Ok(())
    }

    fn import(&mut self, import: Import<'a>) -> Result<()> {
        let kind = match import.ty {
            TypeRef::Func(_) => ItemKind::Func,
            TypeRef::Table(_) => ItemKind::Table,
            TypeRef::Memory(_) => ItemKind::Memory,
            TypeRef::Global(_) => ItemKind::Global,
            TypeRef::Tag(_) | TypeRef::FuncExact(_) => {
                return unsupported_at("a module imports an unsupported item", import.name);
            }
        };
        self.imports.entry(kind).or_default().push(import);
        Ok(())
    }

    fn read_names(&mut self, name: Name<'a>) {
        match name {
            Name::Module { name, .. } => self.name = Some(name),
            Name::Function(names) => {
                let names = names.into_iter().map_while(|naming| naming.ok());
                self.function_names = names.map(|naming| (naming.index, naming.name)).collect();
            }
            _ => {}
        }
    }
}

fn read_all<'a, T: wasmparser::FromReader<'a>>(
    section: wasmparser::SectionLimited<'a, T>,
    into: &mut Vec<T>,
) -> Result<()> {
    for item in section {
        into.push(item?);
    }
    Ok(())
}

/// Refuses a type that refers to another type of its module.
fn plain(ty: ValType) -> Result<()> {
    match ty {
        ValType::Ref(RefType::FUNCREF | RefType::EXTERNREF) => Ok(()),
        ValType::Ref(_) => unsupported("a module has references to its own types"),
        _ => Ok(()),
    }
}
