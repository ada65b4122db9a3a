//! The last step of building a program: adds the host's functions and the program's exports to a
//! merged module, under the names in `abi`.
//!
//! The program passes its results to the host before `post-return` frees them. The code for that is
//! generated here as well.
//!
//! To the program, a function of the canonical ABI is a single call, which allocates its result
//! with the program's `realloc`. The host needs several calls instead: it requests the allocations
//! one after the other. The generated code converts between the two.

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Module, TypeSection, ValType,
};
use wasmparser::{
    CodeSectionReader, ExportSectionReader, FuncType, FunctionSectionReader, ImportSectionReader,
    Parser, TypeRef, TypeSectionReader,
};

use super::unsupported::{Copied, Result, Unsupported, unsupported};
use crate::abi::{Export, HOST, HostFunction, NOTHING};

/// A merged module and the roles of its parts. All indices are in that module.
pub(super) struct Glue<'m> {
    /// The role of each imported function. The module imports nothing else.
    pub(super) imports: Vec<(HostFunction, FuncType)>,
    pub(super) exports: Vec<(Export, ExportKind, u32)>,
    /// The functions that the host calls for a result.
    pub(super) lifted: Vec<Lifted<u32>>,
    pub(super) realloc: Option<u32>,
    /// The destructor of a body's blocks.
    pub(super) destroy: Option<u32>,
    pub(super) merged: &'m [u8],
}

/// A function that the host calls and whose result it reads.
pub(super) struct Lifted<F> {
    pub(super) export: Export,
    pub(super) function: F,
    /// Its `post-return`.
    pub(super) after: Option<F>,
}

/// The host functions that only the generated code calls. They follow the program's imports.
const ADDED: [HostFunction; 2] = [HostFunction::Give, HostFunction::Return];

/// The additions to the module while it is copied.
struct Writer<'g, 'm> {
    glue: &'g Glue<'m>,
    /// The functions that the program calls instead of imports.
    wrappers: Vec<Wrapper>,
    /// The position of each import's wrapper among these, if it has one.
    wrapped: Vec<Option<u32>>,
    /// The number of types in the merged module: the index of the first new one.
    types_before: u32,
    /// The number of functions in the merged module.
    functions: u32,
    /// The types of imports as the program calls them, by import index.
    called_as: Vec<u32>,
}

/// A function that replaces an import.
struct Wrapper {
    import: u32,
    ty: FuncType,
    code: Code,
}

/// Generates a function that replaces an import.
type Code = fn(&Writer<'_, '_>, u32, &FuncType) -> Result<Function>;

impl Glue<'_> {
    /// Returns the bytes of the module.
    pub(super) fn module(&self) -> Result<Vec<u8>> {
        let mut wrappers = Vec::new();
        let mut wrapped = Vec::new();
        for (import, (function, ty)) in (0..).zip(&self.imports) {
            let code: Option<Code> = match function {
                HostFunction::DropBlocks => Some(destroy),
                function if function.wants() => Some(allocate),
                _ => None,
            };
            wrapped.push(code.map(|_| wrappers.len() as u32));
            wrappers.extend(code.map(|code| Wrapper {
                import,
                ty: ty.clone(),
                code,
            }));
        }
        let mut writer = Writer {
            glue: self,
            wrappers,
            wrapped,
            types_before: 0,
            functions: 0,
            called_as: Vec::new(),
        };
        writer.functions = self.imports.len() as u32 + count_functions(self.merged)?;
        let mut module = Module::new();
        writer.parse_core_module(&mut module, Parser::new(0), self.merged)?;
        Ok(module.finish())
    }

    /// Returns the index of a function of [`ADDED`] in the new module.
    fn added(&self, function: HostFunction) -> Result<u32> {
        let place = ADDED.iter().position(|added| *added == function);
        let place = place.ok_or(Unsupported::new("a host function is missing"))?;
        Ok((self.imports.len() + place) as u32)
    }

    /// Returns the new index of a function that the merged module defines.
    fn moved(&self, function: u32) -> u32 {
        function + ADDED.len() as u32
    }
}

impl Writer<'_, '_> {
    /// Returns the position of the wrapper that replaces an import.
    fn wrapper(&self, import: u32) -> Option<u32> {
        self.wrapped.get(import as usize).copied().flatten()
    }

    /// Returns the index to call in the new module for a function of the merged one.
    fn renumbered(&self, function: u32) -> u32 {
        if function >= self.glue.imports.len() as u32 {
            return self.glue.moved(function);
        }
        match self.wrapper(function) {
            Some(wrapper) => self.first_new() + wrapper,
            None => function,
        }
    }

    /// Returns the index of the first function added after those of the merged module: wrappers,
    /// then one per lifted function.
    fn first_new(&self) -> u32 {
        self.glue.moved(self.functions)
    }

    /// Returns the index of an added type. The first are those of `give`, of `next` and `close`, of
    /// `call` and the function that takes a result; then one per wrapped import.
    fn new_type(&self, place: u32) -> u32 {
        self.types_before + place
    }
}

/// The added types, in order.
const TYPE_OF_GIVE: u32 = 0;
const TYPE_OF_ONE: u32 = 1;
const TYPE_OF_TWO: u32 = 2;
const TYPES_OF_WRAPPERS: u32 = 3;

impl Reencode for Writer<'_, '_> {
    type Error = Unsupported;

    fn function_index(&mut self, function: u32) -> Copied<u32> {
        Ok(self.renumbered(function))
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Copied<()> {
        utils::parse_type_section(self, types, section)?;
        self.types_before = types.len();
        types.ty().function([ValType::I32], [ValType::I64]);
        types.ty().function([ValType::I32], []);
        types.ty().function([ValType::I32; 2], []);
        for wrapper in &self.wrappers {
            let ty = wasm_encoder::FuncType::try_from(wrapper.ty.clone())
                .map_err(|_| refused("a type can't be re-encoded"))?;
            let (function, _) = self.glue.imports[wrapper.import as usize];
            let result = match function.wants() {
                true => ValType::I64,
                false => ValType::I32,
            };
            types.ty().function(ty.params().to_vec(), [result]);
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Copied<()> {
        for (number, import) in (0..).zip(section.into_imports()) {
            let (TypeRef::Func(called_as), Some((function, _))) =
                (import?.ty, self.glue.imports.get(number as usize))
            else {
                return Err(refused("an import is not a function"));
            };
            self.called_as.push(called_as);
            let ty = match self.wrapper(number) {
                Some(wrapper) => self.new_type(TYPES_OF_WRAPPERS + wrapper),
                None => called_as,
            };
            imports.import(HOST, function.name(), EntityType::Function(ty));
        }
        for function in ADDED {
            let ty = match function {
                HostFunction::Give => TYPE_OF_GIVE,
                _ => TYPE_OF_TWO,
            };
            let ty = EntityType::Function(self.new_type(ty));
            imports.import(HOST, function.name(), ty);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Copied<()> {
        utils::parse_function_section(self, functions, section)?;
        for wrapper in &self.wrappers {
            let Some(ty) = self.called_as.get(wrapper.import as usize) else {
                return Err(refused("an import is missing"));
            };
            functions.function(*ty);
        }
        for lifted in &self.glue.lifted {
            functions.function(self.new_type(lifted.ty()));
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        _: ExportSectionReader<'_>,
    ) -> Copied<()> {
        for (export, kind, number) in &self.glue.exports {
            let number = match kind {
                ExportKind::Func => self.function_index(*number)?,
                _ => *number,
            };
            exports.export(export.name(), *kind, number);
        }
        let first = self.first_new() + self.wrappers.len() as u32;
        for (number, lifted) in (first..).zip(&self.glue.lifted) {
            exports.export(lifted.export.name(), ExportKind::Func, number);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Copied<()> {
        utils::parse_code_section(self, code, section)?;
        for wrapper in &self.wrappers {
            let written = (wrapper.code)(self, wrapper.import, &wrapper.ty);
            code.function(&written.map_err(reencode::Error::UserError)?);
        }
        for lifted in &self.glue.lifted {
            let written = lifted.code(self);
            code.function(&written.map_err(reencode::Error::UserError)?);
        }
        Ok(())
    }
}

impl Lifted<u32> {
    /// Returns which of the added types it has.
    fn ty(&self) -> u32 {
        match self.export {
            Export::Call => TYPE_OF_TWO,
            _ => TYPE_OF_ONE,
        }
    }

    /// Calls the function, passes its result to the host, and calls `post-return`.
    fn code(&self, writer: &Writer<'_, '_>) -> Result<Function> {
        let parameters = match self.export {
            Export::Call => 2,
            _ => 1,
        };
        let mut function = Function::new([(1, ValType::I32)]);
        let mut code = function.instructions();
        for parameter in 0..parameters {
            code.local_get(parameter);
        }
        code.call(writer.renumbered(self.function));
        code.local_set(parameters);
        code.i32_const(self.export.number() as i32);
        code.local_get(parameters);
        code.call(writer.glue.added(HostFunction::Return)?);
        if let Some(after) = self.after {
            code.local_get(parameters).call(writer.renumbered(after));
        }
        code.end();
        Ok(function)
    }
}

/// Calls the host, and allocates space until the host requests no more.
fn allocate(writer: &Writer<'_, '_>, import: u32, ty: &FuncType) -> Result<Function> {
    let Some(realloc) = writer.glue.realloc else {
        return unsupported("there is no allocation function");
    };
    let wanted = ty.params().len() as u32;
    let give = writer.glue.added(HostFunction::Give)?;
    let mut function = Function::new([(1, ValType::I64)]);
    let mut code = function.instructions();
    for parameter in 0..wanted {
        code.local_get(parameter);
    }
    code.call(import).local_set(wanted);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(wanted).i64_const(NOTHING).i64_eq().br_if(1);
    // realloc(old address, old size, alignment, size)
    code.i32_const(0).i32_const(0);
    code.local_get(wanted)
        .i64_const(32)
        .i64_shr_u()
        .i32_wrap_i64();
    code.local_get(wanted).i32_wrap_i64();
    code.call(writer.renumbered(realloc));
    code.call(give).local_set(wanted).br(0);
    code.end().end().end();
    Ok(function)
}

/// Drops a handle and destroys its value.
fn destroy(writer: &Writer<'_, '_>, import: u32, _: &FuncType) -> Result<Function> {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0).call(import);
    match writer.glue.destroy {
        Some(destroy) => code.call(writer.renumbered(destroy)),
        None => code.drop(),
    };
    code.end();
    Ok(function)
}

fn refused(why: &'static str) -> reencode::Error<Unsupported> {
    reencode::Error::UserError(Unsupported::new(why))
}

fn count_functions(module: &[u8]) -> Result<u32> {
    for payload in Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::FunctionSection(section) = payload? {
            return Ok(section.count());
        }
    }
    unsupported("the module defines no functions")
}
