//! The types of the two parts: of a core module, as the component that imports it must declare it,
//! and of its memory.

use std::collections::HashMap;

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{EntityType, MemoryType, ModuleType};
use wasmparser::FuncType;

use super::super::unsupported::{Result, Unsupported};

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
        let function = function.ok_or(Unsupported::new("a function has no type"))?;
        let mut same = RoundtripReencoder;
        let encoded = same.func_type(function.clone()).map_err(foreign)?;
        let written = self.ty.type_count();
        self.ty.ty().func_type(&encoded);
        self.written.insert(number, written);
        Ok(EntityType::Function(written))
    }
}

/// Returns the type of the memory that the code imports: any size.
pub(in crate::fuse) const fn any_memory() -> MemoryType {
    MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}

/// Returns the error for an item that the encoder has no form for.
pub(super) fn foreign<E>(_: Error<E>) -> Unsupported {
    Unsupported::new("it has something that can't be copied")
}
