//! A handler's code, compiled: a component's, or that of an application which is called directly.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, Module, ResourcesRequired};

use super::Kind;
use super::kind;

/// Compiled code. Clones are the same code.
#[derive(Clone)]
pub(super) enum Compiled {
    Component(Component),
    /// An application of the gateway's, which imports nothing else.
    Direct(Module),
    /// A component that was made from a snapshot.
    InParts(InParts),
}

/// A component whose code others have as well. Clones are the same.
#[derive(Clone)]
pub(super) struct InParts {
    /// The component, which imports the two others.
    pub(super) frame: Component,
    pub(super) code: Module,
    /// Its memory, and what is in it when an instance begins.
    pub(super) state: Module,
}

impl Compiled {
    /// The bytes that the code can be had from again; of one in parts, the state's.
    pub(super) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Component(component) => component.serialize(),
            Self::Direct(module) => module.serialize(),
            Self::InParts(parts) => parts.state.serialize(),
        }
    }

    /// Readies what each instance's memory begins with.
    pub(super) fn initialize_copy_on_write_image(&self) -> wasmtime::Result<()> {
        match self {
            Self::Component(component) => component.initialize_copy_on_write_image(),
            Self::Direct(module) => module.initialize_copy_on_write_image(),
            Self::InParts(parts) => parts.state.initialize_copy_on_write_image(),
        }
    }

    /// What an instance takes, if it is known.
    pub(super) fn resources_required(&self) -> Option<ResourcesRequired> {
        match self {
            Self::Component(component) => component.resources_required(),
            Self::Direct(module) => Some(module.resources_required()),
            Self::InParts(parts) => {
                let (state, code) = (
                    parts.state.resources_required(),
                    parts.code.resources_required(),
                );
                Some(ResourcesRequired {
                    num_tables: code.num_tables,
                    max_initial_table_size: code.max_initial_table_size,
                    ..state
                })
            }
        }
    }

    /// How long the compiled file is, in bytes: what fills an instance's memory is part of it.
    pub(super) fn file_bytes(&self) -> usize {
        let range = match self {
            Self::Component(component) => component.image_range(),
            Self::Direct(module) => module.image_range(),
            Self::InParts(parts) => parts.state.image_range(),
        };
        range.end.addr().saturating_sub(range.start.addr())
    }

    /// Which sort of handler it is, or what to tell whoever made it.
    pub(super) fn kind(&self, engine: &Engine) -> Result<Kind, String> {
        match self {
            Self::Component(component) => kind::detect(component, engine),
            Self::InParts(parts) => kind::detect(&parts.frame, engine),
            Self::Direct(_) => Ok(Kind::Gateway),
        }
    }

    /// What it asks of the host.
    pub(super) fn imports(&self, engine: &Engine) -> Vec<String> {
        let component = match self {
            Self::Component(component) => component,
            Self::Direct(_) => return vec![super::fuse::GATEWAY.to_owned()],
            Self::InParts(parts) => &parts.frame,
        };
        component
            .component_type()
            .imports(engine)
            .filter(|(_, item)| match &item.ty {
                // An import of types alone asks nothing of the host.
                ComponentItem::ComponentInstance(instance) => !instance
                    .exports(engine)
                    .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_))),
                // A part of the handler itself.
                ComponentItem::Module(_) => false,
                _ => true,
            })
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}
