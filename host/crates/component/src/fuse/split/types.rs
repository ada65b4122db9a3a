//! The type of a core module, as the component that imports it must declare it.

use std::collections::HashMap;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{EntityType, ModuleType};
use wasmparser::FuncType;

use super::super::unsupported::{Result, Unsupported};
use super::foreign;

/// A module type under construction.
pub(super) struct Types {
    ty: ModuleType,
    /// The function types of the module, by their indices there.
    functions: Vec<FuncType>,
    /// The indices of types written so far, by their indices in the module.
    written: HashMap<u32, u32>,
}

impl Default for Types {
    fn default() -> Self {
        Self {
            ty: ModuleType::new(),
            functions: Vec::new(),
            written: HashMap::new(),
        }
    }
}

impl Types {
    /// Records the types of the module.
    pub(super) fn add(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<()> {
        for ty in section.into_iter_err_on_gc_types() {
            self.functions.push(ty?);
        }
        Ok(())
    }

    pub(super) fn import(&mut self, module: &str, name: &str, ty: EntityType) -> Result<()> {
        let ty = self.entity(ty)?;
        self.ty.import(module, name, ty);
        Ok(())
    }

    pub(super) fn export(&mut self, name: &str, ty: EntityType) -> Result<()> {
        let ty = self.entity(ty)?;
        self.ty.export(name, ty);
        Ok(())
    }

    pub(super) fn finish(self) -> ModuleType {
        self.ty
    }

    /// Converts an entity type: a function's type index becomes its index in the module type.
    fn entity(&mut self, ty: EntityType) -> Result<EntityType> {
        let EntityType::Function(number) = ty else {
            return Ok(ty);
        };
        if let Some(written) = self.written.get(&number) {
            return Ok(EntityType::Function(*written));
        }
        let function = self.functions.get(number as usize);
        let function = function.ok_or(Unsupported::new("a function is of no type"))?;
        let mut same = RoundtripReencoder;
        let encoded = same.func_type(function.clone()).map_err(foreign)?;
        let written = self.ty.type_count();
        self.ty.ty().func_type(&encoded);
        self.written.insert(number, written);
        Ok(EntityType::Function(written))
    }
}
