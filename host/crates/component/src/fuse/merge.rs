//! Merges several core modules into one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, ImportSection,
    MemorySection, Module, NameMap, NameSection, RefType, StartSection, TableSection, TableType,
    TypeSection,
};
use wasmparser::{Element, ElementKind, FuncType};

use super::component::ItemKind;
use super::constant::Constants;
use super::member_reencoder::MemberReencoder;
use super::members::{Defined, Members, Source};
use super::numbers::Numbers;
use super::plan::{Group, Plan};
use super::shims::Shims;
use super::slots::Slots;
use super::unsupported::{Result, Unsupported, unsupported};

/// The module name by which a merged module imports functions of the component.
pub(super) const CANONICAL: &str = "canonical";

/// The module name by which the second module imports definitions of the first.
pub(super) const FIRST: &str = "first";

/// The first module's table of slots, if it is a separate one.
const SLOTS: &str = "slots";

/// The input of a merge.
pub(super) struct Merge<'p, 'o, 'a> {
    pub(super) members: &'p Members<'o, 'a>,
    pub(super) plan: &'p Plan,
    pub(super) group: Group,
    pub(super) numbers: &'p Numbers,
    pub(super) constants: &'p Constants,
    pub(super) slots: Slots,
    pub(super) shims: &'p Shims,
    /// The definitions that others use, and their names.
    pub(super) exports: &'p Exports,
}

/// The definitions of a group that others use, and their export names.
#[derive(Default)]
pub(super) struct Exports(BTreeMap<(ItemKind, Defined), String>);

impl Exports {
    /// Adds an export and assigns a name, unless it already has one.
    pub(super) fn add(&mut self, kind: ItemKind, defined: Defined) {
        let next = self.0.len().to_string();
        self.0.entry((kind, defined)).or_insert(next);
    }

    pub(super) fn name(&self, kind: ItemKind, defined: Defined) -> Option<&str> {
        self.0.get(&(kind, defined)).map(String::as_str)
    }
}

/// The sections of a module under construction.
#[derive(Default)]
struct Sections {
    types: Types,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    start: Option<u32>,
    elements: ElementSection,
    counts_data: bool,
    code: CodeSection,
    data: DataSection,
    names: BTreeMap<u32, String>,
}

/// Types without duplicates.
#[derive(Default)]
struct Types {
    section: TypeSection,
    numbers: HashMap<FuncType, u32>,
}

impl Merge<'_, '_, '_> {
    /// Returns the bytes of the merged module. The bodies of functions are as valid as before.
    pub(super) fn module(&self) -> Result<Vec<u8>> {
        let mut sections = Sections::default();
        self.imports(&mut sections)?;
        self.slots(&mut sections)?;
        let mut referenced = Vec::new();
        let all = self.plan.members(self.group).iter();
        for &member in all.filter(|member| !self.shims.has_member(**member)) {
            let mut copy =
                MemberReencoder::new(self.members, member, self.numbers, self.constants)?;
            self.member(member, &mut copy, &mut sections)?;
            referenced.extend(copy.referenced);
        }
        if self.slots == Slots::Own && self.group == Group::First {
            sections.tables.table(self.own_table());
        }
        if !referenced.is_empty() {
            // Their module may have declared them by an export that no longer exists.
            let list = Cow::Owned(referenced);
            sections.elements.declared(Elements::Functions(list));
        }
        self.exports(&mut sections)?;
        Ok(sections.finish(self.name()))
    }

    fn imports(&self, sections: &mut Sections) -> Result<()> {
        for (function, ty) in &self.numbers.canonical {
            let ty = EntityType::Function(sections.types.number(ty)?);
            sections.imports.import(CANONICAL, &name_of(*function), ty);
        }
        for (kind, defined) in &self.numbers.borrowed {
            let Some(name) = self.exports.name(*kind, *defined) else {
                return unsupported("no module exports an imported item");
            };
            let ty = self.type_of(*kind, *defined, sections)?;
            sections.imports.import(FIRST, name, ty);
        }
        Ok(())
    }

    /// Adds, in the first group, the functions that call slots; in the second, the elements that
    /// fill the slots.
    fn slots(&self, sections: &mut Sections) -> Result<()> {
        let base = self.slots.base().cast_signed();
        match (self.group, self.slots) {
            (_, Slots::None) => {}
            (Group::First, slots) => {
                let table = self.table_of(slots)?;
                for (slot, (_, ty)) in (base..).zip(&self.numbers.late) {
                    let number = sections.types.number(ty)?;
                    sections.functions.function(number);
                    sections.code.function(&call(slot, ty, number, table));
                }
            }
            (Group::Second, slots) => {
                if slots == Slots::Own {
                    sections.imports.import(FIRST, SLOTS, self.own_table());
                }
                let table = self.table_of(slots)?;
                let functions = self.plan.late.iter().map(|function| {
                    let source = Source::Canonical(*function);
                    self.numbers.get(ItemKind::Func, source)
                });
                let Some(functions) = functions.collect::<Option<Vec<_>>>() else {
                    return unsupported("a table slot has no function");
                };
                sections.elements.active(
                    Some(table),
                    &ConstExpr::i32_const(base),
                    Elements::Functions(functions.into()),
                );
            }
        }
        Ok(())
    }

    /// Returns the index of the table with the slots.
    fn table_of(&self, slots: Slots) -> Result<u32> {
        match slots {
            Slots::Behind { table, .. } => self.number(ItemKind::Table, table),
            Slots::Own | Slots::None => self
                .numbers
                .slots
                .ok_or(Unsupported::new("the slots have no table")),
        }
    }

    fn own_table(&self) -> TableType {
        let entries = self.plan.late.len() as u64;
        TableType {
            element_type: RefType::FUNCREF,
            minimum: entries,
            maximum: Some(entries),
            table64: false,
            shared: false,
        }
    }

    fn member(
        &self,
        member: usize,
        copy: &mut MemberReencoder,
        sections: &mut Sections,
    ) -> Result<()> {
        let inner = &self.members.list[member].inner;
        for ty in &inner.types {
            copy.types.push(sections.types.number(ty)?);
        }
        copy.elements_before = sections.elements.len();
        copy.data_before = sections.data.len();
        for ty in &inner.functions {
            sections.functions.function(copy.type_index(*ty)?);
        }
        for (index, table) in (0..).zip(&inner.tables) {
            let mut table = table.clone();
            self.widen(Defined { member, index }, &mut table.ty);
            copy.parse_table(&mut sections.tables, table)?;
        }
        for memory in &inner.memories {
            sections.memories.memory(copy.memory_type(*memory)?);
        }
        for (index, global) in (0..).zip(&inner.globals) {
            let source = Source::Defined(Defined { member, index });
            if self.numbers.get(ItemKind::Global, source).is_some() {
                copy.parse_global(&mut sections.globals, global.clone())?;
            }
        }
        if let Some(start) = inner.start {
            sections.start = Some(copy.function_index(start)?);
        }
        for element in &inner.elements {
            if self.is_left_out(member, element)? {
                continue;
            }
            copy.parse_element(&mut sections.elements, element.clone())?;
        }
        sections.counts_data |= inner.counts_data;
        for data in &inner.data {
            copy.parse_data(&mut sections.data, data.clone())?;
        }
        for body in &inner.bodies {
            copy.parse_function_body(&mut sections.code, body.clone())?;
        }
        for (index, name) in &inner.function_names {
            // An imported function is named where it is defined.
            if *index >= inner.imported(ItemKind::Func)
                && let Ok(number) = copy.function_index(*index)
            {
                sections.names.insert(number, (*name).to_owned());
            }
        }
        Ok(())
    }

    /// Returns whether an element belongs to an omitted table. A member with such a table has no
    /// code that could refer to later elements.
    fn is_left_out(&self, member: usize, element: &Element<'_>) -> Result<bool> {
        let ElementKind::Active { table_index, .. } = element.kind else {
            return Ok(false);
        };
        let table = table_index.unwrap_or(0);
        let table = self.members.source(ItemKind::Table, member, table)?;
        Ok(self.shims.has_table(table))
    }

    fn exports(&self, sections: &mut Sections) -> Result<()> {
        for ((kind, defined), name) in &self.exports.0 {
            if self.plan.group(defined.member) != Some(self.group) {
                continue;
            }
            let number = self.number(*kind, *defined)?;
            let kind = match kind {
                ItemKind::Func => ExportKind::Func,
                ItemKind::Table => ExportKind::Table,
                ItemKind::Memory => ExportKind::Memory,
                ItemKind::Global => ExportKind::Global,
            };
            sections.exports.export(name, kind, number);
        }
        if let (Some(table), Group::First) = (self.numbers.slots, self.group) {
            sections.exports.export(SLOTS, ExportKind::Table, table);
        }
        Ok(())
    }

    /// Returns the type with which the second module imports a definition of the first.
    fn type_of(
        &self,
        kind: ItemKind,
        defined: Defined,
        sections: &mut Sections,
    ) -> Result<EntityType> {
        let inner = &self.members.list[defined.member].inner;
        let place = defined.index as usize;
        let ty = match kind {
            ItemKind::Func => {
                let index = inner.imported(ItemKind::Func) + defined.index;
                let ty = inner
                    .function_type(index)
                    .map(|ty| sections.types.number(ty));
                ty.transpose()?.map(EntityType::Function)
            }
            ItemKind::Table => inner.tables.get(place).and_then(|table| {
                let mut ty = table.ty;
                self.widen(defined, &mut ty);
                RoundtripReencoder
                    .table_type(ty)
                    .ok()
                    .map(EntityType::Table)
            }),
            ItemKind::Memory => inner.memories.get(place).and_then(|ty| {
                let ty = RoundtripReencoder.memory_type(*ty).ok();
                ty.map(EntityType::Memory)
            }),
            ItemKind::Global => inner.globals.get(place).and_then(|global| {
                let ty = RoundtripReencoder.global_type(global.ty).ok();
                ty.map(EntityType::Global)
            }),
        };
        ty.ok_or(Unsupported::new("an import refers to an undefined item"))
    }

    /// Enlarges the table that contains the slots.
    fn widen(&self, defined: Defined, ty: &mut wasmparser::TableType) {
        if let Slots::Behind { table, .. } = self.slots
            && table == defined
        {
            ty.initial += self.plan.late.len() as u64;
            ty.maximum = Some(ty.initial);
        }
    }

    fn number(&self, kind: ItemKind, defined: Defined) -> Result<u32> {
        let number = self.numbers.get(kind, Source::Defined(defined));
        number.ok_or(Unsupported::new(
            "an item is missing from the merged module",
        ))
    }

    /// Returns the name of the member with the most functions, which is the program.
    fn name(&self) -> Option<&str> {
        let inner = |member: &usize| &self.members.list[*member].inner;
        let list = self.plan.members(self.group).iter();
        let largest = list.max_by_key(|member| inner(member).functions.len())?;
        inner(largest).name
    }
}

impl Types {
    fn number(&mut self, ty: &FuncType) -> Result<u32> {
        if let Some(number) = self.numbers.get(ty) {
            return Ok(*number);
        }
        let number = self.section.len();
        // Its parts refer to no other types, so it is the same in each module.
        let encoded = wasm_encoder::FuncType::try_from(ty.clone());
        let Ok(encoded) = encoded else {
            return unsupported("a type can't be re-encoded");
        };
        self.section.ty().func_type(&encoded);
        self.numbers.insert(ty.clone(), number);
        Ok(number)
    }
}

impl Sections {
    fn finish(self, name: Option<&str>) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types.section);
        module.section(&self.imports);
        module.section(&self.functions);
        module.section(&self.tables);
        module.section(&self.memories);
        module.section(&self.globals);
        module.section(&self.exports);
        if let Some(function_index) = self.start {
            module.section(&StartSection { function_index });
        }
        module.section(&self.elements);
        if self.counts_data {
            let count = self.data.len();
            module.section(&DataCountSection { count });
        }
        module.section(&self.code);
        module.section(&self.data);
        let mut names = NameSection::new();
        if let Some(name) = name {
            names.module(name);
        }
        let mut functions = NameMap::new();
        for (number, name) in &self.names {
            functions.append(*number, name);
        }
        names.functions(&functions);
        module.section(&names);
        module.finish()
    }
}

/// Returns the import name of a function of the component.
pub(super) fn name_of(canonical: u32) -> String {
    canonical.to_string()
}

/// Returns a function that calls the function in a slot.
fn call(slot: i32, ty: &FuncType, type_number: u32, table: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for parameter in 0..ty.params().len() as u32 {
        code.local_get(parameter);
    }
    code.i32_const(slot);
    code.call_indirect(table, type_number);
    code.end();
    function
}
