//! The frame of a component around a module in parts: the imports of its code and its state, and an
//! instance of the state.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, CodeSection, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentTypeRef,
    ComponentTypeSection, ComponentValType, CoreTypeSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalType, ImportSection, InstanceSection, Module, ModuleArg,
    PrimitiveValType, TypeSection, ValType,
};

use super::component::{ItemKind, Space};
use super::plan::Group;
use super::reindex::raw_module;
use super::rewrite::Rewrite;
use super::split::{self, Split};
use super::unsupported::{Result, unsupported};
use super::{CAPTURE, CODE, GLOBAL, MEMORY, STATE};

/// The indices of the types of the two modules. A component that has core types itself is not
/// fused.
const CODE_TYPE: u32 = 0;
const STATE_TYPE: u32 = 1;

impl Rewrite<'_, '_, '_> {
    /// Imports a module's code and state, and instantiates the state. Returns the index of the code
    /// module.
    pub(super) fn imported_modules(&mut self, split: &Split) -> u32 {
        let start = self.component.as_slice().len();
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
        self.imports = start..self.component.as_slice().len();
        let mut instances = InstanceSection::new();
        instances.instantiate(state, Vec::<(&str, ModuleArg)>::new());
        self.state = Some(self.count(Space::CoreInstance));
        self.component.section(&instances);
        code
    }

    /// Adds an export through which the host takes a snapshot. It calls the functions that the code
    /// exports by name, and then passes each global of the state, and the memory, to the host.
    pub(super) fn loader(&mut self) -> Result<()> {
        let code = self.instances.get(&Group::First).copied();
        let (Some(code), Some(state), Some((_, split))) = (code, self.state, &self.split) else {
            return unsupported("no module can be split into code and state");
        };
        let capture = capture(split);
        let (memory_type, global_type, capture_type) = self.loader_types();
        let mut imports = ComponentImportSection::new();
        imports.import(MEMORY, ComponentTypeRef::Func(memory_type));
        let memory_function = self.count(Space::Func);
        imports.import(GLOBAL, ComponentTypeRef::Func(global_type));
        let global_function = self.count(Space::Func);
        self.component.section(&imports);
        let memory = self.alias(state, ExportKind::Memory, split::MEMORY, ItemKind::Memory);
        let mut canonical = CanonicalFunctionSection::new();
        canonical.lower(memory_function, [CanonicalOption::Memory(memory)]);
        let memory_lowered = self.count(Space::Core(ItemKind::Func));
        canonical.lower(global_function, []);
        let global_lowered = self.count(Space::Core(ItemKind::Func));
        self.component.section(&canonical);
        self.component.section(&raw_module(&capture));
        let module = self.count(Space::Module);
        let mut instances = InstanceSection::new();
        instances.export_items([
            ("memory", ExportKind::Func, memory_lowered),
            ("global", ExportKind::Func, global_lowered),
        ]);
        let host = self.count(Space::CoreInstance);
        instances.instantiate(
            module,
            [
                ("host", ModuleArg::Instance(host)),
                ("code", ModuleArg::Instance(code)),
                ("state", ModuleArg::Instance(state)),
            ],
        );
        let instance = self.count(Space::CoreInstance);
        self.component.section(&instances);
        let function = self.alias(instance, ExportKind::Func, CAPTURE, ItemKind::Func);
        let mut canonical = CanonicalFunctionSection::new();
        canonical.lift(function, capture_type, []);
        let function = self.count(Space::Func);
        self.component.section(&canonical);
        let mut exports = ComponentExportSection::new();
        exports.export(CAPTURE, ComponentExportKind::Func, function, None);
        self.count(Space::Func);
        self.component.section(&exports);
        Ok(())
    }

    fn alias(&mut self, instance: u32, kind: ExportKind, name: &str, space: ItemKind) -> u32 {
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport {
            instance,
            kind,
            name,
        });
        self.component.section(&aliases);
        self.count(Space::Core(space))
    }

    /// Adds the types of the two host functions and of the export.
    fn loader_types(&mut self) -> (u32, u32, u32) {
        let mut types = ComponentTypeSection::new();
        types.defined_type().list(PrimitiveValType::U8);
        let bytes = ComponentValType::Type(self.count(Space::Type));
        types.function().params([("bytes", bytes)]).result(None);
        let memory = self.count(Space::Type);
        let (index, bits) = (PrimitiveValType::U32, PrimitiveValType::U64);
        let params = [
            ("index", ComponentValType::Primitive(index)),
            ("bits", ComponentValType::Primitive(bits)),
        ];
        types.function().params(params).result(None);
        let global = self.count(Space::Type);
        let none: [(&str, ComponentValType); 0] = [];
        types.function().params(none).result(None);
        let capture = self.count(Space::Type);
        self.component.section(&types);
        (memory, global, capture)
    }
}

/// Returns the core module that implements the capture.
fn capture(split: &Split) -> Vec<u8> {
    const MEMORY_FUNCTION: u32 = 0;
    const GLOBAL_FUNCTION: u32 = 1;
    const FIRST_OF_CODE: u32 = 2;
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], []);
    types.ty().function([ValType::I32, ValType::I64], []);
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("host", "memory", EntityType::Function(0));
    imports.import("host", "global", EntityType::Function(1));
    for name in &split.exported {
        imports.import("code", name, EntityType::Function(2));
    }
    for (index, val_type) in &split.globals {
        let ty = GlobalType {
            val_type: *val_type,
            mutable: true,
            shared: false,
        };
        imports.import("code", &split::global_name(*index), EntityType::Global(ty));
    }
    let memory = EntityType::Memory(split::any_memory());
    imports.import("state", split::MEMORY, memory);
    let mut body = Function::new([]);
    let mut code = body.instructions();
    let resets = split.exported.len() as u32;
    for reset in 0..resets {
        code.call(FIRST_OF_CODE + reset);
    }
    for (number, (index, val_type)) in (0..).zip(&split.globals) {
        code.i32_const(index.cast_signed()).global_get(number);
        match val_type {
            ValType::I32 => code.i64_extend_i32_u(),
            ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
            ValType::F64 => code.i64_reinterpret_f64(),
            _ => &mut code,
        };
        code.call(GLOBAL_FUNCTION);
    }
    // All of the memory: a list whose bytes the host reads in place.
    code.i32_const(0).memory_size(0).i32_const(16).i32_shl();
    code.call(MEMORY_FUNCTION).end();
    let mut functions = FunctionSection::new();
    functions.function(2);
    let mut exports = ExportSection::new();
    exports.export(CAPTURE, ExportKind::Func, FIRST_OF_CODE + resets);
    let mut bodies = CodeSection::new();
    bodies.function(&body);
    let mut module = Module::new();
    module.section(&types);
    module.section(&imports);
    module.section(&functions);
    module.section(&exports);
    module.section(&bodies);
    module.finish()
}
