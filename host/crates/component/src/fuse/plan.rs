//! Decides which instances become one.
//!
//! Members of the *first* group depend only on each other, and on functions of the component that
//! don't depend on the group. Members of the *second* group depend on the first. wit-component
//! calls them fixups: they write functions that need the memory of the first group to a table.
//!
//! Functions of a handler's own resources (`[resource-new]…`) depend on the first group as well,
//! because the destructor of the resource is one of its functions; and the first group depends on
//! them. The component breaks this cycle for the destructor, with a function that loads the real
//! one from a table. The merge breaks it in the other direction: it calls these functions through
//! *slots* of a table, which the second group fills.
//!
//! Members of one group are instantiated at the same time: first all tables, then the memory. This
//! changes the order in which segments are written. The change is invisible as long as no code runs
//! in between, so a module with a start function is the last of its group. The second group can
//! contain members that preceded some of the first. None of those may run code, or write where the
//! first group writes.

use std::collections::{BTreeSet, HashMap, HashSet};

use wasmparser::{DataKind, ElementKind, Instance};

use super::component::{ItemKind, KINDS, Part, Space};
use super::members::{Members, Source};
use super::unsupported::{Result, unsupported};

/// The two groups of members, by their positions in the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) first: Vec<usize>,
    pub(super) second: Vec<usize>,
    /// Functions of the component that the first group calls through slots.
    pub(super) late: BTreeSet<u32>,
    /// The group of each member, by its position in the list.
    groups: Vec<Option<Group>>,
}

/// One of the two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    First,
    Second,
}

impl Plan {
    /// Plans the groups. Returns `None` if fusing would gain nothing.
    pub(super) fn for_members(members: &Members<'_, '_>) -> Option<Self> {
        let mut planner = Planner {
            members,
            plan: Self::default(),
            dependencies: Vec::new(),
            memories: HashMap::new(),
            writes: HashMap::new(),
        };
        for (member, of) in members.list.iter().enumerate() {
            planner.look_before(of.place);
            if !planner.assign(member) {
                break;
            }
        }
        let plan = planner.plan;
        let before = plan.first.len() + plan.second.len();
        let after = 1 + usize::from(plan.has_second());
        (after < before).then_some(plan)
    }

    /// Puts all members into the first group, for a module whose component functions exist from the
    /// start.
    pub(super) fn all(members: &Members<'_, '_>) -> Result<Self> {
        let mut plan = Self::default();
        let mut memories = HashSet::new();
        for member in 0..members.list.len() {
            if runs_code(members, member) {
                return unsupported("a module has a start function");
            }
            memories.extend(memories_of(members, member));
            plan.put(member, Group::First);
        }
        match memories.len() {
            0 | 1 => Ok(plan),
            _ => unsupported("the component has several memories"),
        }
    }

    fn put(&mut self, member: usize, group: Group) {
        match group {
            Group::First => self.first.push(member),
            Group::Second => self.second.push(member),
        }
        if self.groups.len() <= member {
            self.groups.resize(member + 1, None);
        }
        self.groups[member] = Some(group);
    }

    /// Returns whether there is a second module. Slots need one even if the group has no members.
    pub(super) fn has_second(&self) -> bool {
        !self.second.is_empty() || !self.late.is_empty()
    }

    pub(super) fn members(&self, group: Group) -> &[usize] {
        match group {
            Group::First => &self.first,
            Group::Second => &self.second,
        }
    }

    /// Returns the group of a member.
    pub(super) fn group(&self, member: usize) -> Option<Group> {
        self.groups.get(member).copied().flatten()
    }
}

/// Assigns one member after the other.
struct Planner<'m, 'o, 'a> {
    members: &'m Members<'o, 'a>,
    plan: Plan,
    /// The dependency of each component item that precedes the current member.
    dependencies: Vec<Dependency>,
    /// The memories that the members of each group have: at most one.
    memories: HashMap<Group, HashSet<Option<Source>>>,
    /// The targets that members of the second group write to at instantiation.
    writes: HashMap<usize, HashSet<(ItemKind, Option<Source>)>>,
}

impl Planner<'_, '_, '_> {
    /// Adds a member to a group, if one fits.
    fn assign(&mut self, member: usize) -> bool {
        if let Some(late) = self.late_in_first(member) {
            self.put(member, Group::First);
            self.plan.late.extend(late);
            return true;
        }
        let fits = self.fits_second(member);
        if fits {
            self.put(member, Group::Second);
            self.writes.insert(member, writes(self.members, member));
        }
        fits
    }

    fn put(&mut self, member: usize, group: Group) {
        self.plan.put(member, group);
        let memories = memories_of(self.members, member);
        self.memories.entry(group).or_default().extend(memories);
    }

    /// Returns whether a group with this member has at most one memory. With two, the memory index
    /// of each access would have to change, and wasmtime optimizes for a single memory.
    fn has_one_memory(&self, group: Group, member: usize) -> bool {
        let mut memories: HashSet<_> = memories_of(self.members, member).collect();
        memories.extend(self.memories.get(&group).into_iter().flatten());
        memories.len() <= 1
    }

    /// Returns the functions that the member must call through slots. `None` if the member can't be
    /// in the first group.
    fn late_in_first(&self, member: usize) -> Option<BTreeSet<u32>> {
        let (members, plan) = (self.members, &self.plan);
        let mut late = BTreeSet::new();
        for function in canonical(members, member) {
            match self.dependency(function) {
                Dependency::Neither => {}
                Dependency::First if members.is_of_handles(function) => {
                    late.insert(function);
                }
                Dependency::First | Dependency::Second => return None,
            }
        }
        let runs = runs_code(members, member);
        let has_slots = !plan.late.is_empty() || !late.is_empty();
        let overtakes = !plan.second.is_empty();
        let fits = sources(members, member).all(|source| match source {
            Source::Defined(defined) => plan.group(defined.member) == Some(Group::First),
            Source::Canonical(_) => true,
        }) && !plan.first.iter().any(|other| runs_code(members, *other))
            && !(runs && (has_slots || overtakes))
            && !(overtakes && self.disturbs_second(member))
            && self.has_one_memory(Group::First, member);
        fits.then_some(late)
    }

    fn fits_second(&self, member: usize) -> bool {
        let (members, plan) = (self.members, &self.plan);
        !plan.first.is_empty()
            && canonical(members, member)
                .all(|function| self.dependency(function) != Dependency::Second)
            && !plan.second.iter().any(|other| runs_code(members, *other))
            && self.has_one_memory(Group::Second, member)
    }

    /// Returns whether the member can't be instantiated before the second group.
    fn disturbs_second(&self, member: usize) -> bool {
        let written = writes(self.members, member);
        self.plan.second.iter().any(|other| {
            let others = self.writes.get(other);
            runs_code(self.members, *other)
                || others.is_none_or(|others| !written.is_disjoint(others))
        })
    }

    /// Determines the dependencies of the items before a position. The members among them already
    /// have their groups.
    fn look_before(&mut self, place: usize) {
        let parsed = self.members.parsed;
        for item in &parsed.items[self.dependencies.len()..place] {
            let dependency = match (&item.part, item.defines) {
                (Part::CoreInstance(Instance::Instantiate { .. }), (_, instance)) => {
                    let member = self.members.of_instance(instance);
                    match member.and_then(|member| self.plan.group(member)) {
                        Some(Group::First) => Dependency::First,
                        Some(Group::Second) | None => Dependency::Second,
                    }
                }
                _ => {
                    let needs = item.needs.iter().filter_map(|id| parsed.item(*id));
                    let dependencies = needs.filter_map(|(place, _)| self.dependencies.get(place));
                    dependencies.copied().max().unwrap_or(Dependency::Neither)
                }
            };
            self.dependencies.push(dependency);
        }
    }

    /// Returns the dependency of a function of the component.
    fn dependency(&self, function: u32) -> Dependency {
        let item = self
            .members
            .parsed
            .item((Space::Core(ItemKind::Func), function));
        let dependency = item.and_then(|(place, _)| self.dependencies.get(place));
        dependency.copied().unwrap_or(Dependency::Second)
    }
}

/// Returns the targets of a member's imports.
fn sources<'m>(
    members: &'m Members<'_, '_>,
    member: usize,
) -> impl Iterator<Item = Source> + use<'m> {
    KINDS
        .into_iter()
        .flat_map(move |kind| members.list[member].imports(kind))
        .copied()
}

/// Returns the functions of the component among these targets.
fn canonical<'m>(
    members: &'m Members<'_, '_>,
    member: usize,
) -> impl Iterator<Item = u32> + use<'m> {
    sources(members, member).filter_map(|source| match source {
        Source::Canonical(function) => Some(function),
        Source::Defined(_) => None,
    })
}

/// The group that an item depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dependency {
    Neither,
    First,
    Second,
}

fn runs_code(members: &Members<'_, '_>, member: usize) -> bool {
    members.list[member].inner.start.is_some()
}

/// Returns the memories that a member has.
fn memories_of<'m>(
    members: &'m Members<'_, '_>,
    member: usize,
) -> impl Iterator<Item = Option<Source>> + use<'m> {
    let inner = &members.list[member].inner;
    let count = inner.imported(ItemKind::Memory) + inner.memories.len() as u32;
    (0..count).map(move |index| members.source(ItemKind::Memory, member, index).ok())
}

/// Returns the tables and memories that a member's segments are written to at instantiation.
fn writes(members: &Members<'_, '_>, member: usize) -> HashSet<(ItemKind, Option<Source>)> {
    let inner = &members.list[member].inner;
    let tables = inner.elements.iter().filter_map(|element| {
        let ElementKind::Active { table_index, .. } = element.kind else {
            return None;
        };
        Some((ItemKind::Table, table_index.unwrap_or(0)))
    });
    let memories = inner.data.iter().filter_map(|data| match data.kind {
        DataKind::Active { memory_index, .. } => Some((ItemKind::Memory, memory_index)),
        DataKind::Passive => None,
    });
    tables
        .chain(memories)
        .map(|(kind, index)| (kind, members.source(kind, member, index).ok()))
        .collect()
}
