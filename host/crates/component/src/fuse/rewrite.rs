//! Writes the component with merged modules in place of those of its members.
//!
//! All other items keep their order, except items that depend on a member: these wait for the
//! merged module, which is instantiated at the position of its last member.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ExportKind, InstanceSection, ModuleArg,
};
use wasmparser::{CanonicalFunction, ComponentAlias, Instance};

use super::component::{Id, Item, ItemKind, Part, Space};
use super::constant::Constants;
use super::members::{Defined, Members, Source};
use super::merge::{CANONICAL, Exports, FIRST, Merge, name_of};
use super::numbers::Numbers;
use super::plan::{Group, Plan};
use super::reindex::{Reindex, raw_module};
use super::shims::Shims;
use super::slots::Slots;
use super::split::{self, Split};
use super::unsupported::{Result, unsupported};
use super::{Apart, CodeKey, Ends};

/// Writes the component with its members fused as planned.
pub(super) fn component(members: &Members<'_, '_>, plan: &Plan) -> Result<Vec<u8>> {
    write(members, plan, None).map(|written| written.component)
}

/// Writes the component without the code and state of the first group, which it imports as core
/// modules.
pub(super) fn apart(members: &Members<'_, '_>, plan: &Plan, ends: &Ends) -> Result<Apart> {
    let Written {
        component: frame,
        split,
        imports,
    } = write(members, plan, Some(ends))?;
    let Some((merged, split)) = split else {
        return unsupported("no module can be split into code and state");
    };
    let key = CodeKey::new(&split.code, &frame);
    let state = split::state(&merged, &split, &key.mark())?;
    Ok(Apart {
        key,
        code: split.code,
        frame,
        state,
        imports,
    })
}

/// Writes a frame for taking a snapshot of a component that [`apart()`] splits with the same
/// exported names.
pub(super) fn loader(members: &Members<'_, '_>, plan: &Plan, ends: &Ends) -> Result<Vec<u8>> {
    write(members, plan, Some(ends)).map(|written| written.component)
}

/// A component, and what was left out of it.
struct Written {
    component: Vec<u8>,
    /// The module that was split, if it was.
    split: Option<Merged>,
    /// The place of the imports of its parts.
    imports: Range<usize>,
}

fn write(members: &Members<'_, '_>, plan: &Plan, ends: Option<&Ends>) -> Result<Written> {
    let live = live(members, plan);
    let aliased = aliased(members, plan, &live);
    let shown = aliased.iter().filter(|(kind, _)| *kind == ItemKind::Global);
    let list: Vec<usize> = (0..members.list.len())
        .filter(|member| plan.group(*member).is_some())
        .collect();
    let constants =
        Constants::from_members(members, &list, &shown.map(|(_, global)| *global).collect())?;
    let is_aliased = |kind, defined| aliased.contains(&(kind, defined));
    let slots = Slots::new(members, plan, &constants, |table| {
        is_aliased(ItemKind::Table, table)
    })?;
    // The replacements in the first group don't exist before the second.
    let shims = Shims::default();
    let numbers = |group| Numbers::new(members, plan, group, &constants, slots, &shims, is_aliased);
    let (first, second) = (numbers(Group::First)?, numbers(Group::Second)?);
    let mut exports = Exports::default();
    let mut wanted: Vec<_> = aliased.iter().chain(&second.borrowed).copied().collect();
    wanted.sort_unstable();
    for (kind, defined) in wanted {
        exports.add(kind, defined);
    }
    let modules = list.iter().map(|member| members.list[*member].module);
    let mut rewrite = Rewrite {
        members,
        plan,
        live,
        modules: modules.collect(),
        component: Component::new(),
        counts: HashMap::new(),
        numbers: HashMap::new(),
        exports: &exports,
        instances: HashMap::new(),
        ends,
        split: None,
        imports: 0..0,
        state: None,
    };
    let merge = |group, numbers| Merge {
        members,
        plan,
        group,
        numbers,
        constants: &constants,
        slots,
        shims: &shims,
        exports: &exports,
    };
    rewrite.items(&[merge(Group::First, &first), merge(Group::Second, &second)])?;
    if ends.is_some_and(|ends| ends.is_loader) {
        rewrite.loader()?;
    }
    Ok(Written {
        component: rewrite.component.finish(),
        split: rewrite.split,
        imports: rewrite.imports,
    })
}

/// A merged module that was split: its bytes and the parts.
pub(super) type Merged = (Vec<u8>, Split);

/// A component under construction.
pub(super) struct Rewrite<'p, 'o, 'a> {
    members: &'p Members<'o, 'a>,
    plan: &'p Plan,
    live: HashSet<Id>,
    /// The modules to merge.
    modules: HashSet<u32>,
    pub(super) component: Component,
    counts: HashMap<Space, u32>,
    /// The new indices of the items written so far.
    numbers: HashMap<Id, u32>,
    exports: &'p Exports,
    /// The instances of merged modules written so far.
    pub(super) instances: HashMap<Group, u32>,
    /// Set if the module of the first group is to be split.
    pub(super) ends: Option<&'p Ends>,
    /// That module, after the split: its original bytes and the parts.
    pub(super) split: Option<Merged>,
    /// The place of the imports of its parts in the component.
    pub(super) imports: Range<usize>,
    /// The instance of its state.
    pub(super) state: Option<u32>,
}

impl Rewrite<'_, '_, '_> {
    fn items(&mut self, merges: &[Merge<'_, '_, '_>; 2]) -> Result<()> {
        let parsed = self.members.parsed;
        let last = |group| {
            let list = self.plan.members(group).iter();
            list.map(|member| self.members.list[*member].place).max()
        };
        let first_place = last(Group::First).unwrap_or(0);
        let second_place = last(Group::Second).unwrap_or(0).max(first_place);
        let [first, second] = merges;
        let mut waiting: Vec<&Item<'_>> = Vec::new();
        for (place, item) in parsed.items.iter().enumerate() {
            if self.is_written(item) {
                match self.is_ready(item) {
                    true => self.write(item)?,
                    false => waiting.push(item),
                }
            }
            if place == first_place {
                self.merged(first)?;
                waiting = self.write_ready(waiting)?;
            }
            if place == second_place && self.plan.has_second() {
                self.merged(second)?;
                waiting = self.write_ready(waiting)?;
            }
        }
        match waiting.is_empty() {
            true => Ok(()),
            false => unsupported("an item needs a whole instance"),
        }
    }

    /// Returns whether the new component contains the item.
    fn is_written(&self, item: &Item<'_>) -> bool {
        let (space, number) = item.defines;
        let is_merged = match space {
            Space::CoreInstance => self
                .members
                .of_instance(number)
                .is_some_and(|member| self.plan.group(member).is_some()),
            Space::Module => self.modules.contains(&number),
            _ => false,
        };
        !is_merged && (!is_pure(item) || self.live.contains(&item.defines))
    }

    /// Returns whether all dependencies of the item are written.
    fn is_ready(&self, item: &Item<'_>) -> bool {
        match self.source_of(item) {
            Some((_, Source::Defined(defined))) => self
                .plan
                .group(defined.member)
                .is_some_and(|group| self.instances.contains_key(&group)),
            Some((kind, Source::Canonical(function))) => {
                self.numbers.contains_key(&(Space::Core(kind), function))
            }
            None => item.needs.iter().all(|id| self.numbers.contains_key(id)),
        }
    }

    fn write_ready<'i>(&mut self, waiting: Vec<&'i Item<'i>>) -> Result<Vec<&'i Item<'i>>> {
        let mut still = Vec::new();
        for item in waiting {
            match self.is_ready(item) {
                true => self.write(item)?,
                false => still.push(item),
            }
        }
        Ok(still)
    }

    fn write(&mut self, item: &Item<'_>) -> Result<()> {
        match (self.source_of(item), &item.part) {
            (Some((kind, Source::Canonical(function))), _) => {
                // Another name for an existing item.
                let number = self.number((Space::Core(kind), function))?;
                self.numbers.insert(item.defines, number);
                return Ok(());
            }
            (Some((kind, Source::Defined(defined))), _) => self.alias_of(kind, defined)?,
            (None, part) => {
                let whole = self.members.parsed.whole;
                Reindex::write(&self.numbers, part, whole, &mut self.component)?;
            }
        }
        let number = self.count(item.defines.0);
        self.numbers.insert(item.defines, number);
        Ok(())
    }

    /// Returns the target of an alias into a member.
    fn source_of(&self, item: &Item<'_>) -> Option<(ItemKind, Source)> {
        source_of(self.members, self.plan, item)
    }

    fn alias_of(&mut self, kind: ItemKind, defined: Defined) -> Result<()> {
        let group = self.plan.group(defined.member);
        let instance = group.and_then(|group| self.instances.get(&group));
        let (Some(instance), Some(name)) = (instance, self.exports.name(kind, defined)) else {
            return unsupported("an alias refers to an undefined item");
        };
        let mut section = ComponentAliasSection::new();
        section.alias(Alias::CoreInstanceExport {
            instance: *instance,
            kind: export_kind(kind),
            name,
        });
        self.component.section(&section);
        Ok(())
    }

    /// Adds a merged module and its instance.
    fn merged(&mut self, merge: &Merge<'_, '_, '_>) -> Result<()> {
        let bytes = merge.module()?;
        let module = match self.ends {
            Some(ends) if merge.group == Group::First => {
                let split = split::split(&bytes, ends.exported)?;
                let module = self.imported_modules(&split);
                self.split = Some((bytes, split));
                module
            }
            _ => {
                self.component.section(&raw_module(&bytes));
                self.count(Space::Module)
            }
        };
        let mut exports = Vec::new();
        for (function, _) in &merge.numbers.canonical {
            let number = self.number((Space::Core(ItemKind::Func), *function))?;
            exports.push((name_of(*function), ExportKind::Func, number));
        }
        let mut section = InstanceSection::new();
        section.export_items(exports);
        let canonical = self.count(Space::CoreInstance);
        let mut arguments = vec![(CANONICAL, ModuleArg::Instance(canonical))];
        if let Some(state) = self.state.filter(|_| merge.group == Group::First) {
            arguments.push((split::STATE, ModuleArg::Instance(state)));
        }
        if let Some(first) = self.instances.get(&Group::First) {
            arguments.push((FIRST, ModuleArg::Instance(*first)));
        }
        section.instantiate(module, arguments);
        let instance = self.count(Space::CoreInstance);
        self.component.section(&section);
        self.instances.insert(merge.group, instance);
        Ok(())
    }

    /// Returns the new index of a written item.
    fn number(&self, id: Id) -> Result<u32> {
        match self.numbers.get(&id) {
            Some(number) => Ok(*number),
            None => unsupported("an item is used before it is defined"),
        }
    }

    /// Returns the next index of a space and counts it.
    pub(super) fn count(&mut self, space: Space) -> u32 {
        let count = self.counts.entry(space).or_insert(0);
        *count += 1;
        *count - 1
    }
}

/// Returns whether an item only names others. It can be omitted if unused.
fn is_pure(item: &Item<'_>) -> bool {
    match &item.part {
        Part::Alias(ComponentAlias::CoreInstanceExport { .. })
        | Part::CoreInstance(Instance::FromExports(_)) => true,
        Part::Canonical(function) => !matches!(function, CanonicalFunction::Lift { .. }),
        _ => false,
    }
}

/// Returns the target of an alias into a member.
fn source_of(
    members: &Members<'_, '_>,
    plan: &Plan,
    item: &Item<'_>,
) -> Option<(ItemKind, Source)> {
    let Part::Alias(ComponentAlias::CoreInstanceExport {
        instance_index,
        name,
        ..
    }) = &item.part
    else {
        return None;
    };
    let member = members.of_instance(*instance_index)?;
    plan.group(member)?;
    members.export(member, name)
}

/// Returns the items in use among those that only name others.
fn live(members: &Members<'_, '_>, plan: &Plan) -> HashSet<Id> {
    let parsed = members.parsed;
    let canonical = |function: &u32| (Space::Core(ItemKind::Func), *function);
    let mut live: HashSet<Id> = plan.late.iter().map(canonical).collect();
    for member in plan.first.iter().chain(&plan.second) {
        for source in members.list[*member].imports(ItemKind::Func) {
            if let Source::Canonical(function) = source {
                live.insert(canonical(function));
            }
        }
    }
    // Each item depends only on earlier items.
    for item in parsed.items.iter().rev() {
        let is_member = matches!(item.defines, (Space::CoreInstance, number)
            if members.of_instance(number).is_some_and(|member| plan.group(member).is_some()));
        if is_member || (is_pure(item) && !live.contains(&item.defines)) {
            continue;
        }
        match source_of(members, plan, item) {
            Some((_, Source::Canonical(function))) => {
                live.insert(canonical(&function));
            }
            _ => live.extend(&item.needs),
        }
    }
    live
}

/// Returns the definitions of members that non-members use.
fn aliased(
    members: &Members<'_, '_>,
    plan: &Plan,
    live: &HashSet<Id>,
) -> HashSet<(ItemKind, Defined)> {
    let items = members.parsed.items.iter();
    let wanted = items.filter(|item| live.contains(&item.defines));
    wanted
        .filter_map(|item| match source_of(members, plan, item)? {
            (kind, Source::Defined(defined)) => Some((kind, defined)),
            _ => None,
        })
        .collect()
}

fn export_kind(kind: ItemKind) -> ExportKind {
    match kind {
        ItemKind::Func => ExportKind::Func,
        ItemKind::Table => ExportKind::Table,
        ItemKind::Memory => ExportKind::Memory,
        ItemKind::Global => ExportKind::Global,
    }
}
