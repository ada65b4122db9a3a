//! The last step to a program: a merged module, with the host's functions and the program's own
//! under the names that `direct::abi` gives them.
//!
//! A function of the canonical ABI is one call for the program, and allocates what it returns by
//! the program's `realloc`. The host's are several: what there is to allocate is asked for one
//! after the other. What makes one of the other is written here, in the program's own language.

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Module, TypeSection, ValType,
};
use wasmparser::{
    CodeSectionReader, ExportSectionReader, FuncType, FunctionSectionReader, ImportSectionReader,
    Parser, TypeRef, TypeSectionReader,
};

use super::refusal::{Copied, Refusal, Result, refuse};
use crate::engine::direct::abi::{Export, HOST, HostFunction, NOTHING};

/// A merged module, and what its parts are for. All numbers are the module's.
pub(super) struct Glue<'m> {
    /// What each function is that it imports; it imports nothing else.
    pub(super) imports: Vec<(HostFunction, FuncType)>,
    pub(super) exports: Vec<(Export, ExportKind, u32)>,
    pub(super) realloc: Option<u32>,
    /// The destructor of a body's blocks.
    pub(super) destroy: Option<u32>,
    pub(super) merged: &'m [u8],
}

/// What is added to the module while it is copied.
struct Writer<'g, 'm> {
    glue: &'g Glue<'m>,
    /// The functions that the program calls in place of an import's.
    wrappers: Vec<Wrapper>,
    /// How many types the merged module has, which is the number of the first new one.
    types_before: u32,
    /// How many functions the merged module has.
    functions: u32,
    /// Types of imports as the program calls them, by the import's number.
    called_as: Vec<u32>,
}

/// A function in place of an import.
struct Wrapper {
    import: u32,
    ty: FuncType,
    code: fn(&Glue<'_>, u32, &FuncType) -> Result<Function>,
}

impl Glue<'_> {
    /// The module's bytes.
    pub(super) fn module(&self) -> Result<Vec<u8>> {
        let mut wrappers = Vec::new();
        for (import, (function, ty)) in (0..).zip(&self.imports) {
            let code = match function {
                HostFunction::DropBlocks => destroy,
                function if function.wants() => allocate,
                _ => continue,
            };
            let ty = ty.clone();
            wrappers.push(Wrapper { import, ty, code });
        }
        let mut writer = Writer {
            glue: self,
            wrappers,
            types_before: 0,
            functions: 0,
            called_as: Vec::new(),
        };
        writer.functions = self.imports.len() as u32 + count_functions(self.merged)?;
        let mut module = Module::new();
        writer.parse_core_module(&mut module, Parser::new(0), self.merged)?;
        Ok(module.finish())
    }

    /// The number of `give` in the new module.
    fn give(&self) -> u32 {
        self.imports.len() as u32
    }

    /// The new number of a function that the merged module defines.
    fn moved(&self, function: u32) -> u32 {
        function + 1
    }
}

impl Writer<'_, '_> {
    fn is_wrapped(&self, import: u32) -> Option<usize> {
        let mut wrappers = self.wrappers.iter();
        wrappers.position(|wrapper| wrapper.import == import)
    }
}

impl Reencode for Writer<'_, '_> {
    type Error = Refusal;

    fn function_index(&mut self, function: u32) -> Copied<u32> {
        if function >= self.glue.imports.len() as u32 {
            return Ok(self.glue.moved(function));
        }
        Ok(match self.is_wrapped(function) {
            Some(wrapper) => self.glue.moved(self.functions) + wrapper as u32,
            None => function,
        })
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Copied<()> {
        utils::parse_type_section(self, types, section)?;
        self.types_before = types.len();
        // The type of `give`, then that of each import which is called in another way.
        types.ty().function([ValType::I32], [ValType::I64]);
        for wrapper in &self.wrappers {
            let ty = wasm_encoder::FuncType::try_from(wrapper.ty.clone())
                .map_err(|_| refused("a type can't be copied"))?;
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
                return Err(refused("it imports what is no function"));
            };
            self.called_as.push(called_as);
            let ty = match self.is_wrapped(number) {
                Some(wrapper) => self.types_before + 1 + wrapper as u32,
                None => called_as,
            };
            imports.import(HOST, function.name(), EntityType::Function(ty));
        }
        let ty = EntityType::Function(self.types_before);
        imports.import(HOST, HostFunction::Give.name(), ty);
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
                return Err(refused("an import is not there"));
            };
            functions.function(*ty);
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
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Copied<()> {
        utils::parse_code_section(self, code, section)?;
        for wrapper in &self.wrappers {
            let written = (wrapper.code)(self.glue, wrapper.import, &wrapper.ty);
            code.function(&written.map_err(reencode::Error::UserError)?);
        }
        Ok(())
    }
}

/// Calls the host, and allocates for it until it wants nothing more.
fn allocate(glue: &Glue<'_>, import: u32, ty: &FuncType) -> Result<Function> {
    let Some(realloc) = glue.realloc else {
        return refuse("there is nothing to allocate with");
    };
    let wanted = ty.params().len() as u32;
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
    code.call(glue.moved(realloc));
    code.call(glue.give()).local_set(wanted).br(0);
    code.end().end().end();
    Ok(function)
}

/// Gives a handle back, and destroys what it stood for.
fn destroy(glue: &Glue<'_>, import: u32, _: &FuncType) -> Result<Function> {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0).call(import);
    match glue.destroy {
        Some(destroy) => code.call(glue.moved(destroy)),
        None => code.drop(),
    };
    code.end();
    Ok(function)
}

fn refused(why: &'static str) -> reencode::Error<Refusal> {
    reencode::Error::UserError(Refusal::new(why))
}

fn count_functions(module: &[u8]) -> Result<u32> {
    for payload in Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::FunctionSection(section) = payload? {
            return Ok(section.count());
        }
    }
    refuse("it defines no function")
}
