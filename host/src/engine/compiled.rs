//! A handler's compiled code: a component, or an application that is called directly.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, Module, ResourcesRequired};

use super::HandlerKind;
use super::worlds::kind;

/// The name of an export of a state whose program reads no files.
pub(super) const NO_FILES: &str = "wasgi-no-files";

/// Compiled code. Clones share it.
#[derive(Clone)]
pub(super) enum Compiled {
    Component(Component),
    /// An application that imports only the gateway.
    Direct(Module),
    /// A component that was made from a snapshot.
    InParts(InParts),
}

/// A component whose code is shared with others. Clones share all parts.
#[derive(Clone)]
pub(super) struct InParts {
    /// The component, which imports the other two.
    pub(super) frame: Component,
    pub(super) code: Module,
    /// Its memory with the initial content.
    pub(super) state: Module,
}

impl Compiled {
    /// Returns the bytes from which the code can be loaded again; for a component in parts, those
    /// of the state.
    pub(super) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Component(component) => component.serialize(),
            Self::Direct(module) => module.serialize(),
            Self::InParts(parts) => parts.state.serialize(),
        }
    }

    /// Prepares the initial memory of instances.
    pub(super) fn initialize_copy_on_write_image(&self) -> wasmtime::Result<()> {
        match self {
            Self::Component(component) => component.initialize_copy_on_write_image(),
            Self::Direct(module) => module.initialize_copy_on_write_image(),
            Self::InParts(parts) => parts.state.initialize_copy_on_write_image(),
        }
    }

    /// Returns the resources that an instance needs, if known.
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

    /// Returns the size of the compiled file, in bytes, including the initial memory of instances.
    pub(super) fn file_bytes(&self) -> usize {
        let range = match self {
            Self::Component(component) => component.image_range(),
            Self::Direct(module) => module.image_range(),
            Self::InParts(parts) => parts.state.image_range(),
        };
        range.end.addr().saturating_sub(range.start.addr())
    }

    /// Returns whether its program may read files that belong to it.
    pub(super) fn needs_files(&self) -> bool {
        match self {
            Self::Component(_) | Self::Direct(_) => true,
            Self::InParts(parts) => {
                let mut exports = parts.state.exports();
                !exports.any(|export| export.name() == NO_FILES)
            }
        }
    }

    /// Returns the kind of handler, or the error for its author.
    pub(super) fn kind(&self, engine: &Engine) -> Result<HandlerKind, String> {
        match self {
            Self::Component(component) => kind::detect(component, engine),
            Self::InParts(parts) => kind::detect(&parts.frame, engine),
            Self::Direct(_) => Ok(HandlerKind::Gateway),
        }
    }

    /// Returns the names of its imports from the host.
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
                // An import of types alone requires nothing from the host.
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
