//! Finds the imports of a component that a linker doesn't have.
//!
//! wasmtime checks a component's imports in order and stops at the first one that doesn't fit. It
//! names that one only in the text of its error. So the import is found by its types instead: with
//! stubs in place of all imports behind it, the component links as long as the import itself is a
//! stub as well.

use std::collections::BTreeSet;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};
use wasmtime::{Engine, Trap};

use crate::engine::call::state::HostState;

/// The maximum number of imports to find. For each, the component is linked several times.
const MAX_IMPORTS: usize = 32;

/// The maximum number of resources that imports introduce: each is compared with all before it.
const MAX_RESOURCES: usize = 1_000;

/// Returns the name of the first import that `linker` doesn't have, or has with another type.
pub(in crate::engine) fn first(
    linker: &Linker<HostState>,
    component: &Component,
) -> Option<String> {
    Imports::new(linker, component).unlinked(1).pop()
}

/// Returns the names of all imports that `linker` doesn't have, or has with another type: at most
/// 32.
pub(super) fn all(linker: &Linker<HostState>, component: &Component) -> Vec<String> {
    Imports::new(linker, component).unlinked(MAX_IMPORTS)
}

struct Imports<'a> {
    linker: &'a Linker<HostState>,
    component: &'a Component,
    imports: Vec<Import>,
}

struct Import {
    name: String,
    item: ComponentItem,
    /// The resources that no earlier import has. All others are the earlier import's.
    resources: Vec<ResourceType>,
}

impl<'a> Imports<'a> {
    fn new(linker: &'a Linker<HostState>, component: &'a Component) -> Self {
        let engine = linker.engine();
        let mut known = Vec::new();
        let ty = component.component_type();
        let imports = ty.imports(engine).map(|(name, import)| {
            let before = known.len();
            introduce(engine, &import.ty, &mut known);
            Import {
                name: name.to_owned(),
                item: import.ty,
                resources: known[before..].to_vec(),
            }
        });
        Self {
            linker,
            component,
            imports: imports.collect(),
        }
    }

    /// Returns the names of the first `max` imports that the linker doesn't have.
    fn unlinked(&self, max: usize) -> Vec<String> {
        let mut unlinked = BTreeSet::new();
        let mut start = 0;
        while unlinked.len() < max
            && let Some(next) = self.next(start, &unlinked)
        {
            unlinked.insert(next);
            start = next + 1;
        }
        let name = |index: &usize| self.imports.get(*index).map(|import| import.name.clone());
        unlinked.iter().filter_map(name).collect()
    }

    /// Returns the first import from `start` on that the linker doesn't have. All before `start`
    /// that it doesn't have are `known`.
    fn next(&self, start: usize, known: &BTreeSet<usize>) -> Option<usize> {
        if self.links(self.imports.len(), known) {
            return None;
        }
        if !self.links(start, known) {
            // No host function can stand in for a module or a component.
            let has_no_stub = |import: &Import| {
                matches!(
                    import.item,
                    ComponentItem::Component(_) | ComponentItem::Module(_)
                )
            };
            let position = self.imports.iter().skip(start).position(has_no_stub);
            return position.map(|position| start + position);
        }
        // It links with stubs from `good` on, and doesn't with stubs from `bad` on.
        let (mut good, mut bad) = (start, self.imports.len());
        while good + 1 < bad {
            let middle = good.midpoint(bad);
            match self.links(middle, known) {
                true => good = middle,
                false => bad = middle,
            }
        }
        Some(good)
    }

    /// Returns whether the component links if the imports in `stubs`, and all from `end` on, are
    /// stubs.
    fn links(&self, end: usize, stubs: &BTreeSet<usize>) -> bool {
        let mut linker = self.linker.clone();
        linker.allow_shadowing(true);
        for (index, import) in self.imports.iter().enumerate() {
            if index >= end || stubs.contains(&index) {
                // An item that has no stub remains as the linker has it.
                stub(
                    &mut linker.root(),
                    self.linker.engine(),
                    &import.name,
                    import,
                    &import.item,
                );
            }
        }
        linker.instantiate_pre(self.component).is_ok()
    }
}

/// Adds the resources of an item to the known ones.
fn introduce(engine: &Engine, item: &ComponentItem, known: &mut Vec<ResourceType>) {
    match item {
        ComponentItem::Resource(ty) if known.len() < MAX_RESOURCES && !known.contains(ty) => {
            known.push(*ty);
        }
        ComponentItem::ComponentInstance(instance) => {
            for (_, export) in instance.exports(engine) {
                introduce(engine, &export.ty, known);
            }
        }
        _ => {}
    }
}

/// Defines an item of an import, with functions that are never called.
fn stub(
    linker: &mut LinkerInstance<'_, HostState>,
    engine: &Engine,
    name: &str,
    import: &Import,
    item: &ComponentItem,
) {
    // A definition that the linker rejects is missed when the component is linked.
    let _ = match item {
        ComponentItem::ComponentFunc(_) => {
            linker.func_new(name, |_, _, _, _| Err(Trap::UnreachableCodeReached.into()))
        }
        ComponentItem::Resource(ty) if import.resources.contains(ty) => {
            linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))
        }
        ComponentItem::ComponentInstance(instance) => linker.instance(name).map(|mut linker| {
            for (name, export) in instance.exports(engine) {
                stub(&mut linker, engine, name, import, &export.ty);
            }
        }),
        _ => Ok(()),
    };
}
