//! Builds one core module that the host calls directly, from a component that is an application of
//! the gateway and nothing else.
//!
//! Apart from its core modules, a component only describes how values are passed. For the few
//! functions of the contract, the host has that knowledge (`direct`). Instantiating a module takes
//! two thirds of the time of a component, for which `wasmtime` sets up the component, its resources
//! and a second core instance. All core modules become one, because the host's functions depend on
//! nothing that would have to exist first.

use wasm_encoder::ExportKind;
use wasmparser::types::Types;
use wasmparser::{CanonicalFunction, CanonicalOption, ComponentAlias, ComponentInstance, Instance};

use super::component::{Item, ItemKind, ParsedComponent, Part, Space};
use super::constant::Constants;
use super::contract::{APPLICATION, GATEWAY, Resource, Resources};
use super::glue::{Glue, Lifted};
use super::members::{Defined, Members, Source};
use super::merge::{Exports, Merge};
use super::numbers::Numbers;
use super::plan::{Group, Plan};
use super::shims::Shims;
use super::slots::Slots;
use super::unsupported::{Result, Unsupported, unsupported, unsupported_at};
use crate::abi::{Export, HostFunction};

/// Returns the bytes of the module.
pub(super) fn module(members: &Members<'_, '_>, types: &Types) -> Result<Vec<u8>> {
    if let Some(name) = members.parsed.items.iter().find_map(import_of_others) {
        return unsupported_at("the component imports more than the gateway", name);
    }
    let resources = Resources::from_types(types)?;
    let plan = Plan::whole(members)?;
    let list: Vec<usize> = (0..members.list.len()).collect();
    let constants = Constants::from_members(members, &list, &std::collections::HashSet::new())?;
    let slots = Slots::None;
    let shims = Shims::new(members, &plan, &constants)?;
    let shown = |_, _| false;
    let numbers = Numbers::new(
        members,
        &plan,
        Group::First,
        &constants,
        slots,
        &shims,
        shown,
    )?;
    let mut roles = Roles {
        members,
        resources: &resources,
        memory: None,
        realloc: None,
    };
    let imports = numbers.canonical.iter().map(|(function, ty)| {
        let role = roles.host_function(*function)?;
        Ok((role, ty.clone()))
    });
    let imports = imports.collect::<Result<Vec<_>>>()?;
    let functions = roles.application()?;
    let destroy = roles.destructor()?;
    let number = |kind, defined| {
        let number = numbers.get(kind, Source::Defined(defined));
        number.ok_or(Unsupported::new(
            "an item is missing from the merged module",
        ))
    };
    let Some(memory) = roles.memory else {
        return unsupported("the component has no memory");
    };
    let memory = (
        Export::Memory,
        ExportKind::Memory,
        number(ItemKind::Memory, memory)?,
    );
    let mut exports = vec![memory];
    if let Some(destroy) = destroy {
        let destroy = number(ItemKind::Func, destroy)?;
        exports.push((Export::Destroy, ExportKind::Func, destroy));
    }
    let lifted = functions.iter().map(|function| {
        let after = function.after.map(|after| number(ItemKind::Func, after));
        Ok(Lifted {
            export: function.export,
            function: number(ItemKind::Func, function.function)?,
            after: after.transpose()?,
        })
    });
    let lifted = lifted.collect::<Result<Vec<_>>>()?;
    let merge = Merge {
        members,
        plan: &plan,
        group: Group::First,
        numbers: &numbers,
        constants: &constants,
        slots,
        shims: &shims,
        exports: &Exports::default(),
    };
    let function = |function: Option<Defined>| {
        let number = function.map(|function| number(ItemKind::Func, function));
        number.transpose()
    };
    let glue = Glue {
        imports,
        exports,
        lifted,
        realloc: function(roles.realloc)?,
        destroy: function(destroy)?,
        merged: &merge.module()?,
    };
    glue.module()
}

/// Returns the name of an import from another interface than the gateway. A missing import must be
/// reported even if it is never called.
fn import_of_others<'a>(item: &Item<'a>) -> Option<&'a str> {
    match &item.part {
        Part::Import(import) if import.name.name != GATEWAY => Some(import.name.name),
        _ => None,
    }
}

/// The roles of a component's functions.
struct Roles<'r, 'o, 'a> {
    members: &'r Members<'o, 'a>,
    resources: &'r Resources<'r>,
    /// The memory that contains the values: the same one for all functions.
    memory: Option<Defined>,
    /// The function that allocates in it: the same one for all functions.
    realloc: Option<Defined>,
}

impl<'o, 'a> Roles<'_, 'o, 'a> {
    fn parsed(&self) -> &'o ParsedComponent<'a> {
        self.members.parsed
    }

    /// Returns the role of a function that a core module imports.
    fn host_function(&mut self, canonical: u32) -> Result<HostFunction> {
        let item = self.parsed().item((Space::Core(ItemKind::Func), canonical));
        let Some(Part::Canonical(function)) = item.map(|(_, item)| &item.part) else {
            return unsupported("an import is not a canonical function");
        };
        match function {
            CanonicalFunction::Lower {
                func_index,
                options,
            } => {
                self.options(options)?;
                self.of_gateway(*func_index)
            }
            CanonicalFunction::ResourceNew { resource } => {
                self.of_blocks(*resource, HostFunction::NewBlocks)
            }
            CanonicalFunction::ResourceRep { resource } => {
                self.of_blocks(*resource, HostFunction::BlocksRep)
            }
            CanonicalFunction::ResourceDrop { resource } => {
                Ok(match self.resources.resource(*resource)? {
                    Resource::Environ => HostFunction::DropEnviron,
                    Resource::StartResponse => HostFunction::DropStartResponse,
                    Resource::Blocks => HostFunction::DropBlocks,
                })
            }
            _ => unsupported("the component calls a function outside the gateway"),
        }
    }

    fn of_blocks(&self, resource: u32, function: HostFunction) -> Result<HostFunction> {
        match self.resources.resource(resource)? {
            Resource::Blocks => Ok(function),
            _ => unsupported("the component creates a resource of the host"),
        }
    }

    /// Returns the gateway function for a function of the component.
    fn of_gateway(&self, function: u32) -> Result<HostFunction> {
        let item = self.parsed().item((Space::Func, function));
        if let Some(Part::Alias(ComponentAlias::InstanceExport {
            instance_index,
            name,
            ..
        })) = item.map(|(_, item)| &item.part)
            && let Some((_, instance)) = self.parsed().item((Space::Instance, *instance_index))
            && matches!(&instance.part, Part::Import(import) if import.name.name == GATEWAY)
            && let Some(function) = HostFunction::of_gateway(name)
        {
            return Ok(function);
        }
        unsupported("the component calls a function outside the gateway")
    }

    /// Checks that values are passed with the default options, and records their memory. Returns
    /// the `post-return` function.
    fn options(&mut self, options: &[CanonicalOption]) -> Result<Option<Defined>> {
        let mut after = None;
        for option in options {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(memory) => {
                    let memory = self.defined(ItemKind::Memory, *memory)?;
                    same(&mut self.memory, memory)?;
                }
                CanonicalOption::Realloc(function) => {
                    let function = self.defined(ItemKind::Func, *function)?;
                    same(&mut self.realloc, function)?;
                }
                CanonicalOption::PostReturn(function) => {
                    after = Some(self.defined(ItemKind::Func, *function)?);
                }
                _ => return unsupported("a canonical option is not supported"),
            }
        }
        Ok(after)
    }

    /// Returns the functions of the application.
    fn application(&mut self) -> Result<Vec<Lifted<Defined>>> {
        let mut functions = Vec::new();
        let arguments = self.arguments_of_application()?;
        for export in [Export::Call, Export::Next, Export::Close] {
            let Some(function) = arguments.function(export.name(), self.parsed()) else {
                return unsupported("a function of the application is missing");
            };
            let item = self.parsed().item((Space::Func, function));
            let Some(Part::Canonical(CanonicalFunction::Lift {
                core_func_index,
                options,
                ..
            })) = item.map(|(_, item)| &item.part)
            else {
                return unsupported(
                    "a function of the application is not lifted from a core module",
                );
            };
            functions.push(Lifted {
                export,
                function: self.defined(ItemKind::Func, *core_func_index)?,
                after: self.options(options)?,
            });
        }
        Ok(functions)
    }

    /// Returns the definition of the exported interface.
    fn arguments_of_application(&self) -> Result<Application<'o, 'a>> {
        let parsed = self.parsed();
        let exported = parsed.items.iter().find_map(|item| match &item.part {
            Part::Export(export) if export.name.name == APPLICATION => Some(export.index),
            _ => None,
        });
        let instance = exported.and_then(|index| parsed.item((Space::Instance, index)));
        match instance.map(|(_, item)| &item.part) {
            Some(Part::Instance(instance)) => Application::new(instance, parsed),
            _ => unsupported("the application is not an instance of the component"),
        }
    }

    /// Returns the destructor of a body's blocks, if there is one.
    fn destructor(&self) -> Result<Option<Defined>> {
        for item in &self.parsed().items {
            if let (Part::Type(wasmparser::ComponentType::Resource { dtor, .. }), (_, ty)) =
                (&item.part, item.defines)
                && self.resources.resource(ty)? == Resource::Blocks
            {
                return dtor
                    .map(|dtor| self.defined(ItemKind::Func, dtor))
                    .transpose();
            }
        }
        unsupported("the component doesn't define the resource for blocks")
    }

    /// Returns the definition, in a member, of a core function or memory of the component.
    fn defined(&self, kind: ItemKind, index: u32) -> Result<Defined> {
        let item = self.parsed().item((Space::Core(kind), index));
        if let Some(Part::Alias(ComponentAlias::CoreInstanceExport {
            instance_index,
            name,
            ..
        })) = item.map(|(_, item)| &item.part)
            && let Some((found, Source::Defined(defined))) =
                self.members.export_of_instance(*instance_index, name)
            && found == kind
        {
            return Ok(defined);
        }
        unsupported("an item is not defined by a core module")
    }
}

/// The form of an exported interface: plain, or through a component that only names the functions.
enum Application<'o, 'a> {
    Plain(&'o [wasmparser::ComponentExport<'a>]),
    Named(
        ParsedComponent<'a>,
        &'o [wasmparser::ComponentInstantiationArg<'a>],
    ),
}

impl<'o, 'a> Application<'o, 'a> {
    fn new(instance: &'o ComponentInstance<'a>, parsed: &ParsedComponent<'a>) -> Result<Self> {
        let (component, arguments) = match instance {
            ComponentInstance::FromExports(exports) => return Ok(Self::Plain(exports)),
            ComponentInstance::Instantiate {
                component_index,
                args,
            } => (*component_index, args),
        };
        let item = parsed.item((Space::Component, component));
        let Some(&Part::Component(_, bytes)) = item.map(|(_, item)| &item.part) else {
            return unsupported("the application is not a nested component");
        };
        let inner = ParsedComponent::parse(bytes)?;
        let only_names = inner.items.iter().all(|item| {
            matches!(
                (&item.part, item.defines.0),
                (Part::Import(_) | Part::Export(_) | Part::Type(_), _)
                    | (Part::Alias(_), Space::Type)
            )
        });
        match only_names {
            true => Ok(Self::Named(inner, arguments)),
            false => unsupported("the application's component defines more than names"),
        }
    }

    /// Returns the function of the outer component with an export name.
    fn function(&self, name: &str, parsed: &ParsedComponent<'a>) -> Option<u32> {
        match self {
            Self::Plain(exports) => {
                let export = exports.iter().find(|export| export.name.name == name)?;
                named(parsed, (Space::Func, export.index)).map(|(_, index)| index)
            }
            Self::Named(inner, arguments) => {
                let exported = inner.items.iter().find_map(|item| match &item.part {
                    Part::Export(export) if export.name.name == name => Some(item.defines),
                    _ => None,
                })?;
                let (place, _) = named(inner, exported)?;
                let Part::Import(import) = &inner.items.get(place)?.part else {
                    return None;
                };
                let mut arguments = arguments.iter();
                let argument = arguments.find(|argument| argument.name == import.name.name)?;
                let (_, index) = named(parsed, (Space::Func, argument.index))?;
                Some(index)
            }
        }
    }
}

/// Returns the position and the index of a function, following the exports that name it.
fn named(parsed: &ParsedComponent<'_>, id: (Space, u32)) -> Option<(usize, u32)> {
    let mut id = id;
    // Each iteration moves to an earlier item.
    loop {
        let (place, item) = parsed.item(id)?;
        match &item.part {
            Part::Export(export) => id = (Space::Func, export.index),
            _ => return Some((place, id.1)),
        }
    }
}

/// Records a value that must be the same wherever it occurs.
fn same(known: &mut Option<Defined>, found: Defined) -> Result<()> {
    match known.replace(found) {
        Some(before) if before != found => {
            unsupported("functions use different memories or allocation functions")
        }
        _ => Ok(()),
    }
}

impl Plan {
    /// Builds a plan that merges all core modules of a component.
    fn whole(members: &Members<'_, '_>) -> Result<Self> {
        let mut instances = 0;
        let mut components = 0;
        for item in &members.parsed.items {
            match &item.part {
                Part::CoreInstance(Instance::Instantiate { .. }) => instances += 1,
                Part::Instance(ComponentInstance::Instantiate { .. }) => components += 1,
                _ => {}
            }
        }
        // The only nested component is the one that names the functions of the application.
        if instances != members.list.len() || components > 1 {
            return unsupported("the component has several parts");
        }
        Self::all(members)
    }
}
