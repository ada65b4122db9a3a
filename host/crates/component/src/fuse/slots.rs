//! The table through which the first group calls functions that are defined later.
//!
//! If wit-component has generated such a table, the slots are added to it, because each table costs
//! an instance a page of memory. This is invisible if only two kinds of members use the table:
//! functions that call a fixed entry, and members without code that fill fixed entries.

use std::collections::HashMap;

use wasmparser::{Element, ElementItems, ElementKind, Operator, RefType, TableInit};

use super::component::ItemKind;
use super::constant::{Constants, Value, fold};
use super::members::{Defined, Members, Source};
use super::plan::Plan;
use super::unsupported::Result;

/// The position of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slots {
    /// No slots are needed.
    None,
    /// In a separate table.
    Own,
    /// After the entries of an existing table.
    Behind { table: Defined, entries: u32 },
}

impl Slots {
    pub(super) fn new(
        members: &Members<'_, '_>,
        plan: &Plan,
        constants: &Constants,
        shown: impl Fn(Defined) -> bool,
    ) -> Result<Self> {
        if plan.late.is_empty() {
            return Ok(Self::None);
        }
        let users = Users::new(members, plan);
        for &member in &plan.first {
            let Some(entries) = entries_of_shim(members, member)? else {
                continue;
            };
            let table = Defined { member, index: 0 };
            if !shown(table) && users.only_fill(constants, table, entries)? {
                return Ok(Self::Behind { table, entries });
            }
        }
        Ok(Self::Own)
    }

    /// Returns the position of the first slot in its table.
    pub(super) fn base(self) -> u32 {
        match self {
            Self::None | Self::Own => 0,
            Self::Behind { entries, .. } => entries,
        }
    }
}

/// Returns the size of a member's table, if the member has nothing but functions that call a fixed
/// entry of it.
pub(super) fn entries_of_shim(members: &Members<'_, '_>, member: usize) -> Result<Option<u32>> {
    let inner = &members.list[member].inner;
    let [table] = &inner.tables[..] else {
        return Ok(None);
    };
    let is_fixed = table.ty.element_type == RefType::FUNCREF
        && table.ty.maximum == Some(table.ty.initial)
        && !table.ty.table64
        && matches!(table.init, TableInit::RefNull);
    let (Ok(entries), true) = (u32::try_from(table.ty.initial), is_fixed) else {
        return Ok(None);
    };
    let has_more = inner.imported(ItemKind::Table) > 0 || !inner.elements.is_empty();
    if has_more {
        return Ok(None);
    }
    for body in &inner.bodies {
        let mut place = None;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let is_call_at_place = match operators.read()? {
                Operator::LocalGet { .. } | Operator::End if place.is_none() => true,
                Operator::I32Const { value } if place.is_none() => {
                    place = u32::try_from(value).ok();
                    place.is_some_and(|place| place < entries)
                }
                Operator::CallIndirect { table_index: 0, .. } => place.take().is_some(),
                _ => false,
            };
            if !is_call_at_place {
                return Ok(None);
            }
        }
    }
    Ok(Some(entries))
}

/// The members that use each table that a member defines.
pub(super) struct Users<'m, 'o, 'a> {
    pub(super) members: &'m Members<'o, 'a>,
    /// The members that import a table.
    importers: HashMap<Defined, Vec<usize>>,
    /// The elements written to a table, with their members, in order.
    elements: HashMap<Defined, Vec<(usize, usize)>>,
}

impl<'m, 'o, 'a> Users<'m, 'o, 'a> {
    pub(super) fn new(members: &'m Members<'o, 'a>, plan: &Plan) -> Self {
        let mut users = Self {
            members,
            importers: HashMap::new(),
            elements: HashMap::new(),
        };
        for &member in plan.first.iter().chain(&plan.second) {
            for source in members.list[member].imports(ItemKind::Table) {
                if let Source::Defined(table) = source {
                    let importers = users.importers.entry(*table).or_default();
                    // It may import a table twice.
                    if importers.last() != Some(&member) {
                        importers.push(member);
                    }
                }
            }
            for (place, element) in members.list[member].inner.elements.iter().enumerate() {
                if let ElementKind::Active { table_index, .. } = element.kind
                    && let Ok(Source::Defined(table)) =
                        members.source(ItemKind::Table, member, table_index.unwrap_or(0))
                {
                    let elements = users.elements.entry(table).or_default();
                    elements.push((member, place));
                }
            }
        }
        users
    }

    /// Returns the elements written to a table, each with its member.
    pub(super) fn elements(&self, table: Defined) -> impl Iterator<Item = (usize, &Element<'a>)> {
        let elements = self.elements.get(&table).into_iter().flatten();
        elements.map(|&(member, place)| {
            let inner = &self.members.list[member].inner;
            (member, &inner.elements[place])
        })
    }

    /// Returns whether the importers of a table only fill it, within its entries.
    pub(super) fn only_fill(
        &self,
        constants: &Constants,
        table: Defined,
        entries: u32,
    ) -> Result<bool> {
        let members = self.members;
        for &member in self.importers.get(&table).into_iter().flatten() {
            if !members.list[member].inner.bodies.is_empty() {
                return Ok(false);
            }
        }
        for (member, element) in self.elements(table) {
            let ElementKind::Active { offset_expr, .. } = &element.kind else {
                continue;
            };
            let offset = fold(offset_expr, |index| constants.value(members, member, index));
            let count = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            let is_within = matches!(offset, Some(Value::I32(offset))
                if u64::from(offset.cast_unsigned()) + u64::from(count) <= u64::from(entries));
            if !is_within {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
