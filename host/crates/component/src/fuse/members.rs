//! The core instances that can be fused, and the target of each of their imports: a definition of
//! one of them, or a function of the component.

use std::collections::HashMap;

use wasmparser::{CanonicalFunction, ComponentAlias, ComponentInstance, Instance};

use super::component::{ItemKind, ParsedComponent, Part, Space};
use super::core_module::CoreModule;
use super::unsupported::{Result, Unsupported, unsupported};

/// The maximum number of instances to consider. A Python program has fourteen, and the pool
/// supports this many (see `pool`).
const MAX_MEMBERS: usize = 200;

/// A core instance that is the only one of its module.
pub(super) struct Member<'a> {
    /// The position of its instantiation among the component's items.
    pub(super) place: usize,
    pub(super) module: u32,
    pub(super) inner: CoreModule<'a>,
    /// The targets of its imports, by kind: they have the first indices.
    imports: HashMap<ItemKind, Vec<Source>>,
}

/// The target of an index in a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Defined(Defined),
    /// A function of the component, by its index there.
    Canonical(u32),
}

/// A definition of a member. Its kind is known from the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Defined {
    pub(super) member: usize,
    /// The index among the member's definitions, without its imports.
    pub(super) index: u32,
}

/// The members, in the order of instantiation.
pub(super) struct Members<'o, 'a> {
    pub(super) parsed: &'o ParsedComponent<'a>,
    pub(super) list: Vec<Member<'a>>,
    by_instance: HashMap<u32, usize>,
    /// The known exports of synthetic instances (those made of exports), by name.
    named: HashMap<u32, HashMap<&'o str, (ItemKind, Source)>>,
}

impl<'o, 'a> Members<'o, 'a> {
    /// Collects all members up to the first instantiation that can't be one: later instances must
    /// stay after that.
    pub(super) fn from_component(parsed: &'o ParsedComponent<'a>) -> Self {
        let mut members = Self {
            parsed,
            list: Vec::new(),
            by_instance: HashMap::new(),
            named: HashMap::new(),
        };
        let uses = uses_of_modules(parsed);
        for (place, item) in parsed.items.iter().enumerate() {
            match &item.part {
                Part::CoreInstance(Instance::Instantiate { module_index, .. })
                    if uses.get(module_index) == Some(&1)
                        && members.list.len() < MAX_MEMBERS
                        && members.join(place, *module_index).is_ok() => {}
                Part::CoreInstance(Instance::Instantiate { .. })
                | Part::Instance(ComponentInstance::Instantiate { .. }) => break,
                Part::CoreInstance(Instance::FromExports(exports)) => {
                    members.name(item.defines.1, exports);
                }
                _ => {}
            }
        }
        members
    }

    /// Returns the target of an index of a member.
    pub(super) fn source(&self, kind: ItemKind, member: usize, index: u32) -> Result<Source> {
        let Some(of) = self.list.get(member) else {
            return unsupported("a core instance is missing");
        };
        Ok(of.source(kind, member, index))
    }

    /// Returns the member with this instance index.
    pub(super) fn of_instance(&self, instance: u32) -> Option<usize> {
        self.by_instance.get(&instance).copied()
    }

    /// Returns a member's export by name.
    pub(super) fn export(&self, member: usize, name: &str) -> Option<(ItemKind, Source)> {
        let &(kind, index) = self.list.get(member)?.inner.exports.get(name)?;
        Some((kind, self.list[member].source(kind, member, index)))
    }

    fn join(&mut self, place: usize, module: u32) -> Result<()> {
        let item = &self.parsed.items[place];
        let Part::CoreInstance(Instance::Instantiate { args, .. }) = &item.part else {
            return unsupported("a core instance is not an instance of a module");
        };
        let Some((_, &Part::Module(bytes))) = self
            .parsed
            .item((Space::Module, module))
            .map(|(place, item)| (place, &item.part))
        else {
            return unsupported("a core module is not defined in the component");
        };
        let inner = CoreModule::parse(bytes)?;
        let args: HashMap<&str, u32> = args.iter().map(|arg| (arg.name, arg.index)).collect();
        let mut imports = HashMap::new();
        for (kind, list) in &inner.imports {
            let sources = list.iter().map(|import| {
                args.get(import.module)
                    .and_then(|arg| self.export_of_instance(*arg, import.name))
                    .filter(|(found, _)| found == kind)
                    .map(|(_, source)| source)
                    .ok_or_else(|| {
                        Unsupported::at("no core instance provides an import", import.name)
                    })
            });
            imports.insert(*kind, sources.collect::<Result<Vec<_>>>()?);
        }
        self.by_instance.insert(item.defines.1, self.list.len());
        self.list.push(Member {
            place,
            module,
            inner,
            imports,
        });
        Ok(())
    }

    /// Records the exports of a synthetic instance.
    fn name(&mut self, instance: u32, exports: &'o [wasmparser::Export<'a>]) {
        let named = exports.iter().filter_map(|export| {
            let kind = ItemKind::from_external(export.kind).ok()?;
            let (_, item) = self.parsed.item((Space::Core(kind), export.index))?;
            let source = match &item.part {
                Part::Canonical(_) => (kind, Source::Canonical(export.index)),
                Part::Alias(ComponentAlias::CoreInstanceExport {
                    instance_index,
                    name,
                    ..
                }) => self.export_of_instance(*instance_index, name)?,
                _ => return None,
            };
            Some((export.name, source))
        });
        let named = named.collect();
        self.named.insert(instance, named);
    }

    /// Returns an export of a core instance by name. The instance can be a member or synthetic.
    pub(super) fn export_of_instance(
        &self,
        instance: u32,
        name: &str,
    ) -> Option<(ItemKind, Source)> {
        match self.of_instance(instance) {
            Some(member) => self.export(member, name),
            None => self.named.get(&instance)?.get(name).copied(),
        }
    }

    /// Returns whether a function of the component only handles handles: it depends on no more than
    /// the destructor of its resource, and on no memory.
    pub(super) fn is_of_handles(&self, canonical: u32) -> bool {
        let item = self.parsed.item((Space::Core(ItemKind::Func), canonical));
        item.is_some_and(|(_, item)| {
            matches!(
                item.part,
                Part::Canonical(
                    CanonicalFunction::ResourceNew { .. }
                        | CanonicalFunction::ResourceDrop { .. }
                        | CanonicalFunction::ResourceRep { .. }
                )
            )
        })
    }
}

impl Member<'_> {
    pub(super) fn imports(&self, kind: ItemKind) -> &[Source] {
        self.imports.get(&kind).map_or(&[], Vec::as_slice)
    }

    fn source(&self, kind: ItemKind, member: usize, index: u32) -> Source {
        let imports = self.imports(kind);
        match imports.get(index as usize) {
            Some(source) => *source,
            None => Source::Defined(Defined {
                member,
                index: index - imports.len() as u32,
            }),
        }
    }
}

fn uses_of_modules(parsed: &ParsedComponent<'_>) -> HashMap<u32, usize> {
    let mut uses = HashMap::new();
    for item in &parsed.items {
        // An alias to it, or an export of it, is also a use.
        for (space, index) in &item.needs {
            if *space == Space::Module {
                *uses.entry(*index).or_insert(0) += 1;
            }
        }
    }
    uses
}
