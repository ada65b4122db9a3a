//! The definitions of a component, in order, and the earlier definitions that each depends on.
//! `core_module` parses the core modules.

use std::collections::HashMap;

use wasmparser::{
    CanonicalFunction, Chunk, ComponentAlias, ComponentExport, ComponentExternalKind,
    ComponentImport, ComponentInstance, ComponentOuterAliasKind, ComponentType, ComponentTypeRef,
    Encoding, ExternalKind, Instance, Parser, Payload,
};

use super::reindex::Reindex;
use super::unsupported::{Result, unsupported, unsupported_at};

/// A kind of import, definition or export of a core module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ItemKind {
    Func,
    Table,
    Memory,
    Global,
}

pub(super) const KINDS: [ItemKind; 4] = [
    ItemKind::Func,
    ItemKind::Table,
    ItemKind::Memory,
    ItemKind::Global,
];

/// An index space of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Space {
    Core(ItemKind),
    Module,
    CoreInstance,
    Type,
    Func,
    Instance,
    Component,
}

/// An index space and an index in it.
pub(super) type Id = (Space, u32);

/// One definition of a component.
pub(super) struct Item<'a> {
    pub(super) part: Part<'a>,
    pub(super) defines: Id,
    pub(super) needs: Vec<Id>,
}

/// The content of a definition.
pub(super) enum Part<'a> {
    Module(&'a [u8]),
    Component(Parser, &'a [u8]),
    CoreInstance(Instance<'a>),
    Type(ComponentType<'a>),
    Alias(ComponentAlias<'a>),
    Canonical(CanonicalFunction),
    Instance(ComponentInstance<'a>),
    Import(ComponentImport<'a>),
    Export(ComponentExport<'a>),
}

/// A parsed component.
pub(super) struct ParsedComponent<'a> {
    pub(super) whole: &'a [u8],
    pub(super) items: Vec<Item<'a>>,
    by_id: HashMap<Id, usize>,
}

impl<'a> ParsedComponent<'a> {
    /// Parses a component. Each item depends only on earlier items.
    pub(super) fn parse(whole: &'a [u8]) -> Result<Self> {
        let mut parsed = Self {
            whole,
            items: Vec::new(),
            by_id: HashMap::new(),
        };
        let mut counts = HashMap::new();
        let mut parser = Parser::new(0);
        let mut rest = whole;
        while !rest.is_empty() {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
                return unsupported("the component is truncated");
            };
            rest = &rest[consumed..];
            if let Payload::ModuleSection {
                unchecked_range, ..
            }
            | Payload::ComponentSection {
                unchecked_range, ..
            } = &payload
            {
                let Some(behind) = rest.get(unchecked_range.len()..) else {
                    return unsupported("the component is truncated");
                };
                rest = behind;
            }
            for part in parts(payload, whole)? {
                parsed.push(part, &mut counts)?;
            }
        }
        Ok(parsed)
    }

    /// Returns the item that defines this, and its position.
    pub(super) fn item(&self, id: Id) -> Option<(usize, &Item<'a>)> {
        let place = *self.by_id.get(&id)?;
        Some((place, self.items.get(place)?))
    }

    fn push(&mut self, part: Part<'a>, counts: &mut HashMap<Space, u32>) -> Result<()> {
        let needs = Reindex::needs(&part, self.whole)?;
        if needs.iter().any(|id| !self.by_id.contains_key(id)) {
            return unsupported("an item is used before it is defined");
        }
        let space = part.defines()?;
        let count = counts.entry(space).or_insert(0);
        let defines = (space, *count);
        *count += 1;
        self.by_id.insert(defines, self.items.len());
        self.items.push(Item {
            part,
            defines,
            needs,
        });
        Ok(())
    }
}

impl Part<'_> {
    /// Returns the index space that the part adds to.
    fn defines(&self) -> Result<Space> {
        Ok(match self {
            Part::Module(_) => Space::Module,
            Part::Component(..) => Space::Component,
            Part::CoreInstance(_) => Space::CoreInstance,
            Part::Type(_) => Space::Type,
            Part::Alias(ComponentAlias::InstanceExport { kind, .. }) => external(*kind)?,
            Part::Alias(ComponentAlias::CoreInstanceExport { kind, .. }) => {
                Space::Core(ItemKind::from_external(*kind)?)
            }
            Part::Alias(ComponentAlias::Outer { kind, .. }) => match kind {
                ComponentOuterAliasKind::CoreModule => Space::Module,
                ComponentOuterAliasKind::Type => Space::Type,
                ComponentOuterAliasKind::Component => Space::Component,
                ComponentOuterAliasKind::CoreType => {
                    return unsupported("an item refers to a core type");
                }
            },
            Part::Canonical(CanonicalFunction::Lift { .. }) => Space::Func,
            Part::Canonical(_) => Space::Core(ItemKind::Func),
            Part::Instance(_) => Space::Instance,
            Part::Import(import) => match import.ty {
                ComponentTypeRef::Func(_) => Space::Func,
                ComponentTypeRef::Type(_) => Space::Type,
                ComponentTypeRef::Instance(_) => Space::Instance,
                ComponentTypeRef::Component(_) => Space::Component,
                ComponentTypeRef::Module(_) | ComponentTypeRef::Value(_) => {
                    return unsupported_at(
                        "the component imports a module or a value",
                        import.name.name,
                    );
                }
            },
            Part::Export(export) => {
                if export.kind == ComponentExternalKind::Value {
                    return unsupported_at("the component exports a value", export.name.name);
                }
                external(export.kind)?
            }
        })
    }
}

impl ItemKind {
    pub(super) fn from_external(kind: ExternalKind) -> Result<Self> {
        Ok(match kind {
            ExternalKind::Func => Self::Func,
            ExternalKind::Table => Self::Table,
            ExternalKind::Memory => Self::Memory,
            ExternalKind::Global => Self::Global,
            ExternalKind::Tag | ExternalKind::FuncExact => return unsupported("an item is a tag"),
        })
    }
}

fn external(kind: ComponentExternalKind) -> Result<Space> {
    Ok(match kind {
        ComponentExternalKind::Module => Space::Module,
        ComponentExternalKind::Func => Space::Func,
        ComponentExternalKind::Type => Space::Type,
        ComponentExternalKind::Instance => Space::Instance,
        ComponentExternalKind::Component => Space::Component,
        ComponentExternalKind::Value => return unsupported("an item is a value"),
    })
}

/// Returns the definitions in a section.
fn parts<'a>(payload: Payload<'a>, whole: &'a [u8]) -> Result<Vec<Part<'a>>> {
    /// Makes one part of each entry of a section.
    macro_rules! each {
        ($section:expr, $part:expr) => {
            $section
                .into_iter()
                .map(|item| Ok($part(item?)))
                .collect::<Result<Vec<_>>>()
        };
    }
    let inside = |range| match whole.get::<std::ops::Range<usize>>(range) {
        Some(bytes) => Ok(bytes),
        None => unsupported("the component is truncated"),
    };
    match payload {
        Payload::Version {
            encoding: Encoding::Component,
            ..
        }
        | Payload::End(_) => Ok(Vec::new()),
        // Names refer to indices that change, and a compiler doesn't need the producers.
        Payload::CustomSection(_) => Ok(Vec::new()),
        Payload::ModuleSection {
            unchecked_range, ..
        } => Ok(vec![Part::Module(inside(unchecked_range)?)]),
        Payload::ComponentSection {
            parser,
            unchecked_range,
        } => Ok(vec![Part::Component(parser, inside(unchecked_range)?)]),
        Payload::InstanceSection(section) => each!(section, Part::CoreInstance),
        Payload::ComponentTypeSection(section) => each!(section, Part::Type),
        Payload::ComponentAliasSection(section) => each!(section, Part::Alias),
        Payload::ComponentCanonicalSection(section) => section
            .into_iter()
            .map(|function| canonical(function?))
            .collect(),
        Payload::ComponentInstanceSection(section) => each!(section, Part::Instance),
        Payload::ComponentImportSection(section) => each!(section, Part::Import),
        Payload::ComponentExportSection(section) => each!(section, Part::Export),
        payload => {
            let section = section(&payload);
            unsupported_at("a section is not supported", &section)
        }
    }
}

fn canonical<'a>(function: CanonicalFunction) -> Result<Part<'a>> {
    match function {
        CanonicalFunction::Lift { .. }
        | CanonicalFunction::Lower { .. }
        | CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => Ok(Part::Canonical(function)),
        _ => unsupported("the component uses built-in functions for concurrent tasks"),
    }
}

/// Returns the name of a section for a message.
pub(super) fn section(payload: &Payload<'_>) -> String {
    match payload.as_section() {
        Some((id, range)) => format!("section {id} at byte {}", range.start),
        None => "an unknown section".to_owned(),
    }
}
