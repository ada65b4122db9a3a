//! The indices of a merged module: first its imports, then the definitions of its members, in
//! order.

use std::collections::{BTreeSet, HashMap};

use wasmparser::FuncType;

use super::component::{ItemKind, KINDS};
use super::constant::Constants;
use super::members::{Defined, Members, Source};
use super::plan::{Group, Plan};
use super::shims::Shims;
use super::slots::Slots;
use super::unsupported::{Result, unsupported};

/// The items of a merged module and their indices.
pub(super) struct Numbers {
    /// Functions of the component that it imports, and their types.
    pub(super) canonical: Vec<(u32, FuncType)>,
    /// Definitions of the other group that it imports.
    pub(super) borrowed: Vec<(ItemKind, Defined)>,
    /// Functions of the component that are called through slots: the function that calls each, and
    /// its type.
    pub(super) late: Vec<(u32, FuncType)>,
    /// The table of the slots, if it is a separate one.
    pub(super) slots: Option<u32>,
    by_source: HashMap<(ItemKind, Source), u32>,
    counts: HashMap<ItemKind, u32>,
}

impl Numbers {
    /// Assigns the indices. `shown` are the definitions that others alias.
    pub(super) fn new(
        members: &Members<'_, '_>,
        plan: &Plan,
        group: Group,
        constants: &Constants,
        slots: Slots,
        shims: &Shims,
        shown: impl Fn(ItemKind, Defined) -> bool,
    ) -> Result<Self> {
        let mut numbers = Self {
            canonical: Vec::new(),
            borrowed: Vec::new(),
            late: Vec::new(),
            slots: None,
            by_source: HashMap::new(),
            counts: HashMap::new(),
        };
        let list = plan.members(group);
        let types = types_of_canonical(members, plan);
        numbers.import_canonical(members, plan, group, &types)?;
        numbers.borrow(members, plan, group, constants);
        if group == Group::Second {
            numbers.add_slots(slots);
        } else {
            for function in &plan.late {
                numbers.add(ItemKind::Func, Source::Canonical(*function));
                numbers.late.push((*function, type_of(&types, *function)?));
            }
        }
        for &member in list {
            if shims.has_member(member) {
                continue;
            }
            let inner = &members.list[member].inner;
            let defined = |index| Defined { member, index };
            for (kind, count) in [
                (ItemKind::Func, inner.functions.len()),
                (ItemKind::Table, inner.tables.len()),
                (ItemKind::Memory, inner.memories.len()),
            ] {
                for index in 0..count as u32 {
                    numbers.add(kind, Source::Defined(defined(index)));
                }
            }
            for global in (0..inner.globals.len() as u32).map(defined) {
                if constants.get(global).is_none() || shown(ItemKind::Global, global) {
                    numbers.add(ItemKind::Global, Source::Defined(global));
                }
            }
        }
        if group == Group::First {
            numbers.add_slots(slots);
        }
        numbers.leave_out(members, list, shims);
        Ok(numbers)
    }

    /// Maps an omitted function to the index of its replacement.
    fn leave_out(&mut self, members: &Members<'_, '_>, list: &[usize], shims: &Shims) {
        for &member in list.iter().filter(|member| shims.has_member(**member)) {
            for index in 0..members.list[member].inner.functions.len() as u32 {
                let function = Defined { member, index };
                let instead = shims.instead_of(function);
                if let Some(number) = instead.and_then(|source| self.get(ItemKind::Func, source)) {
                    let source = Source::Defined(function);
                    self.by_source.insert((ItemKind::Func, source), number);
                }
            }
        }
    }

    /// Returns the index of an item, if the module has it.
    pub(super) fn get(&self, kind: ItemKind, source: Source) -> Option<u32> {
        self.by_source.get(&(kind, source)).copied()
    }

    /// Returns the new indices of all imports and definitions of a member, by its old indices.
    pub(super) fn of_member(
        &self,
        members: &Members<'_, '_>,
        member: usize,
        kind: ItemKind,
    ) -> Result<Vec<Option<u32>>> {
        let inner = &members.list[member].inner;
        let defined = match kind {
            ItemKind::Func => inner.functions.len(),
            ItemKind::Table => inner.tables.len(),
            ItemKind::Memory => inner.memories.len(),
            ItemKind::Global => inner.globals.len(),
        };
        (0..inner.imported(kind) + defined as u32)
            .map(|index| Ok(self.get(kind, members.source(kind, member, index)?)))
            .collect()
    }

    fn add(&mut self, kind: ItemKind, source: Source) {
        let count = self.counts.entry(kind).or_insert(0);
        self.by_source.insert((kind, source), *count);
        *count += 1;
    }

    fn add_slots(&mut self, slots: Slots) {
        if slots == Slots::Own {
            let count = self.counts.entry(ItemKind::Table).or_insert(0);
            self.slots = Some(*count);
            *count += 1;
        }
    }

    fn import_canonical(
        &mut self,
        members: &Members<'_, '_>,
        plan: &Plan,
        group: Group,
        types: &HashMap<u32, &FuncType>,
    ) -> Result<()> {
        let mut functions = BTreeSet::new();
        for member in plan.members(group) {
            for source in members.list[*member].imports(ItemKind::Func) {
                if let Source::Canonical(function) = source {
                    functions.insert(*function);
                }
            }
        }
        match group {
            Group::First => functions.retain(|function| !plan.late.contains(function)),
            Group::Second => functions.extend(&plan.late),
        }
        for function in functions {
            self.add(ItemKind::Func, Source::Canonical(function));
            self.canonical.push((function, type_of(types, function)?));
        }
        Ok(())
    }

    fn borrow(
        &mut self,
        members: &Members<'_, '_>,
        plan: &Plan,
        group: Group,
        constants: &Constants,
    ) {
        for kind in KINDS {
            let mut borrowed = BTreeSet::new();
            for member in plan.members(group) {
                for source in members.list[*member].imports(kind) {
                    if let Source::Defined(defined) = source
                        && plan.group(defined.member) != Some(group)
                        && (kind != ItemKind::Global || constants.get(*defined).is_none())
                    {
                        borrowed.insert(*defined);
                    }
                }
            }
            for defined in borrowed {
                self.add(kind, Source::Defined(defined));
                self.borrowed.push((kind, defined));
            }
        }
    }
}

/// Returns the types of the component's functions, from the first member that imports each.
fn types_of_canonical<'m>(members: &'m Members<'_, '_>, plan: &Plan) -> HashMap<u32, &'m FuncType> {
    let mut types = HashMap::new();
    for &member in plan.first.iter().chain(&plan.second) {
        let of = &members.list[member];
        for (index, source) in (0..).zip(of.imports(ItemKind::Func)) {
            if let (Source::Canonical(function), Some(ty)) = (source, of.inner.function_type(index))
            {
                types.entry(*function).or_insert(ty);
            }
        }
    }
    types
}

fn type_of(types: &HashMap<u32, &FuncType>, function: u32) -> Result<FuncType> {
    match types.get(&function) {
        Some(ty) => Ok((*ty).clone()),
        None => unsupported("a function has no type"),
    }
}
