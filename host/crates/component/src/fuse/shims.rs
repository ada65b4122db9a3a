//! Removes functions that only call a fixed entry of a table.
//!
//! wit-component puts these functions into a module, and adds another that fills the table: the
//! program calls the host through them, because the host's functions need the program's memory,
//! which doesn't exist before. In a single module with a known table, the program calls the target
//! directly, and an instance needs one table less.

use std::collections::{HashMap, HashSet};

use wasmparser::{ElementItems, ElementKind, FuncType, FunctionBody, Operator};

use super::component::ItemKind;
use super::constant::{Constants, Value, fold};
use super::members::{Defined, Members, Source};
use super::plan::Plan;
use super::slots::{Users, entries_of_shim};
use super::unsupported::Result;

/// The omitted tables and functions, and the replacement of each function.
#[derive(Default)]
pub(super) struct Shims {
    tables: HashSet<Defined>,
    functions: HashMap<Defined, Source>,
}

/// The entries of a table by position: a function and its type.
type Entries = HashMap<u32, (Source, FuncType)>;

impl Shims {
    /// Finds all shims in the first group of a plan, for a module that contains the whole group.
    pub(super) fn new(
        members: &Members<'_, '_>,
        plan: &Plan,
        constants: &Constants,
    ) -> Result<Self> {
        let mut shims = Self::default();
        let users = Users::new(members, plan);
        for &member in &plan.first {
            let inner = &members.list[member].inner;
            let has_more = !inner.imports.is_empty()
                || !inner.memories.is_empty()
                || !inner.globals.is_empty()
                || !inner.data.is_empty();
            let (Some(count), false) = (entries_of_shim(members, member)?, has_more) else {
                continue;
            };
            let table = Defined { member, index: 0 };
            if users.only_fill(constants, table, count)?
                && let Some(entries) = entries(&users, constants, table)?
                && let Some(functions) = functions(members, member, &entries)?
            {
                shims.tables.insert(table);
                shims.functions.extend(functions);
            }
        }
        shims.functions = lasts(&shims.functions);
        Ok(shims)
    }

    /// Returns the replacement of a function: the last one of a chain of calls.
    pub(super) fn instead_of(&self, function: Defined) -> Option<Source> {
        self.functions.get(&function).copied()
    }

    /// Returns whether a member is omitted: it has nothing but a table, and functions that call its
    /// entries.
    pub(super) fn has_member(&self, member: usize) -> bool {
        self.tables.contains(&Defined { member, index: 0 })
    }

    pub(super) fn has_table(&self, table: Source) -> bool {
        matches!(table, Source::Defined(table) if self.tables.contains(&table))
    }
}

/// Returns the final target of each function, because one can call another. A function in a cycle
/// resolves to a member of the cycle.
fn lasts(functions: &HashMap<Defined, Source>) -> HashMap<Defined, Source> {
    let mut lasts = HashMap::with_capacity(functions.len());
    for (function, called) in functions {
        let (mut path, mut seen) = (vec![*function], HashSet::from([*function]));
        let mut last = *called;
        while let Source::Defined(next) = last {
            if let Some(known) = lasts.get(&next) {
                last = *known;
                break;
            }
            match functions.get(&next) {
                Some(called) if seen.insert(next) => {
                    path.push(next);
                    last = *called;
                }
                _ => break,
            }
        }
        lasts.extend(path.into_iter().map(|function| (function, last)));
    }
    lasts
}

/// Returns the entries written to a table. `None` if some are unknown.
fn entries(
    users: &Users<'_, '_, '_>,
    constants: &Constants,
    table: Defined,
) -> Result<Option<Entries>> {
    let members = users.members;
    let mut entries = Entries::new();
    for (member, element) in users.elements(table) {
        let ElementKind::Active { offset_expr, .. } = &element.kind else {
            continue;
        };
        let inner = &members.list[member].inner;
        let offset = fold(offset_expr, |index| constants.value(members, member, index));
        let (Some(Value::I32(offset)), ElementItems::Functions(functions)) =
            (offset, &element.items)
        else {
            return Ok(None);
        };
        for (place, function) in (offset.cast_unsigned()..).zip(functions.clone()) {
            let function = function?;
            let Some(ty) = inner.function_type(function) else {
                return Ok(None);
            };
            let source = members.source(ItemKind::Func, member, function)?;
            // A later entry overwrites an earlier one.
            entries.insert(place, (source, ty.clone()));
        }
    }
    Ok(Some(entries))
}

/// Returns the function that each function of a member calls. `None` if one does anything else or
/// would trap.
fn functions(
    members: &Members<'_, '_>,
    member: usize,
    entries: &Entries,
) -> Result<Option<Vec<(Defined, Source)>>> {
    let inner = &members.list[member].inner;
    let imported = inner.imported(ItemKind::Func);
    let mut functions = Vec::new();
    for (index, body) in (0..).zip(&inner.bodies) {
        let Some(ty) = inner.function_type(imported + index) else {
            return Ok(None);
        };
        let called = place(body, ty.params().len() as u32)?.and_then(|place| entries.get(&place));
        match called {
            Some((source, called_as)) if called_as == ty => {
                functions.push((Defined { member, index }, *source));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(functions))
}

/// Returns the table entry that a function calls with its unchanged arguments, if it does only
/// that.
fn place(body: &FunctionBody<'_>, parameters: u32) -> Result<Option<u32>> {
    let mut operators = body.get_operators_reader()?;
    for parameter in 0..parameters {
        if !matches!(operators.read()?, Operator::LocalGet { local_index } if local_index == parameter)
        {
            return Ok(None);
        }
    }
    let Operator::I32Const { value } = operators.read()? else {
        return Ok(None);
    };
    let calls = matches!(
        operators.read()?,
        Operator::CallIndirect { table_index: 0, .. }
    ) && matches!(operators.read()?, Operator::End)
        && operators.eof();
    Ok(calls.then_some(value.cast_unsigned()))
}
