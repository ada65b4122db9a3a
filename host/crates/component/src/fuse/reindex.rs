//! Writes a definition of a component with new indices, and collects the indices that it refers to.

use std::collections::HashMap;

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportSection,
    ComponentImportSection, ComponentInstanceSection, ComponentSectionId, ComponentTypeSection,
    InstanceSection, RawSection,
};
use wasmparser::Parser;

use super::component::{Id, ItemKind, Part, Space};
use super::unsupported::{Copied, Result, Unsupported, unsupported};

/// The maximum nesting of components. A toolchain nests one or two levels, and each is a recursive
/// call here.
const MAX_DEPTH: u32 = 20;

/// The new indices for an item.
pub(super) struct Reindex<'m> {
    /// The current nesting depth. Items in a nested component or type use their own indices.
    depth: u32,
    numbers: Option<&'m HashMap<Id, u32>>,
    named: Vec<Id>,
}

impl<'m> Reindex<'m> {
    /// Returns the items that a part refers to.
    pub(super) fn needs(part: &Part<'_>, whole: &[u8]) -> Result<Vec<Id>> {
        let mut this = Self::by(None);
        this.append(part, whole, &mut Component::new())?;
        Ok(this.named)
    }

    /// Appends a part to a component, with its indices there.
    pub(super) fn write(
        numbers: &'m HashMap<Id, u32>,
        part: &Part<'_>,
        whole: &[u8],
        component: &mut Component,
    ) -> Result<()> {
        let mut this = Self::by(Some(numbers));
        this.append(part, whole, component)?;
        match this.named.iter().all(|id| numbers.contains_key(id)) {
            true => Ok(()),
            false => unsupported("an item refers to a whole instance that would be fused"),
        }
    }

    fn by(numbers: Option<&'m HashMap<Id, u32>>) -> Self {
        Self {
            depth: 0,
            numbers,
            named: Vec::new(),
        }
    }

    fn append(&mut self, part: &Part<'_>, whole: &[u8], component: &mut Component) -> Copied<()> {
        match part {
            Part::Module(bytes) => {
                // Encode the module only when it is written: it may be large.
                if self.numbers.is_some() {
                    component.section(&raw_module(bytes));
                }
            }
            Part::Component(parser, bytes) => {
                self.parse_component_subcomponent(component, parser.clone(), bytes, whole)?;
            }
            Part::CoreInstance(instance) => {
                let mut section = InstanceSection::new();
                self.parse_instance(&mut section, instance.clone())?;
                component.section(&section);
            }
            Part::Type(ty) => {
                let mut section = ComponentTypeSection::new();
                self.parse_component_type(section.ty(), ty.clone())?;
                component.section(&section);
            }
            Part::Alias(alias) => {
                let mut section = ComponentAliasSection::new();
                section.alias(self.component_alias(alias.clone())?);
                component.section(&section);
            }
            Part::Canonical(function) => {
                let mut section = CanonicalFunctionSection::new();
                self.parse_component_canonical(&mut section, function.clone())?;
                component.section(&section);
            }
            Part::Instance(instance) => {
                let mut section = ComponentInstanceSection::new();
                self.parse_component_instance(&mut section, instance.clone())?;
                component.section(&section);
            }
            Part::Import(import) => {
                let mut section = ComponentImportSection::new();
                section.import(import.name, self.component_type_ref(import.ty)?);
                component.section(&section);
            }
            Part::Export(export) => {
                let mut section = ComponentExportSection::new();
                self.parse_component_export(&mut section, export.clone())?;
                component.section(&section);
            }
        }
        Ok(())
    }

    /// Returns the new number for `index` in an outer scope, `outwards` levels from its use.
    fn number(&mut self, space: Space, index: u32, outwards: u32) -> u32 {
        if self.depth != outwards {
            return index;
        }
        self.named.push((space, index));
        match self.numbers {
            // `write` reports missing items.
            Some(numbers) => numbers.get(&(space, index)).copied().unwrap_or(u32::MAX),
            None => index,
        }
    }
}

/// Returns a section with an unchanged core module.
pub(super) fn raw_module(bytes: &[u8]) -> RawSection<'_> {
    RawSection {
        id: ComponentSectionId::CoreModule.into(),
        data: bytes,
    }
}

impl Reencode for Reindex<'_> {
    type Error = Unsupported;

    fn function_index(&mut self, index: u32) -> Copied<u32> {
        Ok(self.number(Space::Core(ItemKind::Func), index, 0))
    }

    fn table_index(&mut self, index: u32) -> Copied<u32> {
        Ok(self.number(Space::Core(ItemKind::Table), index, 0))
    }

    fn memory_index(&mut self, index: u32) -> Copied<u32> {
        Ok(self.number(Space::Core(ItemKind::Memory), index, 0))
    }

    fn global_index(&mut self, index: u32) -> Copied<u32> {
        Ok(self.number(Space::Core(ItemKind::Global), index, 0))
    }
}

impl ReencodeComponent for Reindex<'_> {
    fn component_type_index(&mut self, index: u32) -> u32 {
        self.number(Space::Type, index, 0)
    }

    fn component_instance_index(&mut self, index: u32) -> u32 {
        self.number(Space::Instance, index, 0)
    }

    fn component_func_index(&mut self, index: u32) -> u32 {
        self.number(Space::Func, index, 0)
    }

    fn component_index(&mut self, index: u32) -> u32 {
        self.number(Space::Component, index, 0)
    }

    fn module_index(&mut self, index: u32) -> u32 {
        self.number(Space::Module, index, 0)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        self.number(Space::CoreInstance, index, 0)
    }

    fn outer_component_type_index(&mut self, outwards: u32, index: u32) -> u32 {
        self.number(Space::Type, index, outwards)
    }

    fn outer_component_index(&mut self, outwards: u32, index: u32) -> u32 {
        self.number(Space::Component, index, outwards)
    }

    fn outer_module_index(&mut self, outwards: u32, index: u32) -> u32 {
        self.number(Space::Module, index, outwards)
    }

    fn outer_type_index(&mut self, outwards: u32, index: u32) -> Copied<u32> {
        match self.depth == outwards {
            true => Err(Error::UserError(Unsupported::new(
                "an item refers to a core type",
            ))),
            false => Ok(index),
        }
    }

    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        _: Parser,
        module: &[u8],
    ) -> Copied<()> {
        component.section(&raw_module(module));
        Ok(())
    }

    fn parse_component_subcomponent(
        &mut self,
        component: &mut Component,
        parser: Parser,
        bytes: &[u8],
        whole: &[u8],
    ) -> Copied<()> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::UserError(Unsupported::new(
                "components are nested too deeply",
            )));
        }
        component_utils::parse_component_subcomponent(self, component, parser, bytes, whole)
    }
}
