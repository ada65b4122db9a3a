//! What a component has around a module that was taken apart: the imports of its code and its
//! state, and an instance of the state.

use wasm_encoder::{
    ComponentImportSection, ComponentTypeRef, CoreTypeSection, InstanceSection, ModuleArg,
};

use super::outer::Space;
use super::rewrite::Rewrite;
use super::split::Split;
use super::{CODE, STATE};

/// The numbers of the two modules' types: a component that has core types of its own is not fused.
const CODE_TYPE: u32 = 0;
const STATE_TYPE: u32 = 1;

impl Rewrite<'_, '_, '_> {
    /// Imports a module's code and state, and has an instance of the state. Gives the number of
    /// the code's module.
    pub(super) fn imported_modules(&mut self, split: &Split) -> u32 {
        let mut types = CoreTypeSection::new();
        types.ty().module(&split.code_type);
        types.ty().module(&split.state_type);
        self.component.section(&types);
        let mut imports = ComponentImportSection::new();
        imports.import(CODE, ComponentTypeRef::Module(CODE_TYPE));
        let code = self.count(Space::Module);
        imports.import(STATE, ComponentTypeRef::Module(STATE_TYPE));
        let state = self.count(Space::Module);
        self.component.section(&imports);
        let mut instances = InstanceSection::new();
        instances.instantiate(state, Vec::<(&str, ModuleArg)>::new());
        self.state = Some(self.count(Space::CoreInstance));
        self.component.section(&instances);
        code
    }
}
