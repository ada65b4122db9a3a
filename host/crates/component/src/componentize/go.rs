//! Reserves memory for the adapter in a Go command.
//!
//! The adapter keeps its state and its stack in the memory of the command. It allocates them with
//! `cabi_realloc` if the command exports that, and otherwise grows the memory. Go's runtime exports
//! no such function. Since Go 1.24, it reads the size of the memory once, at startup, and uses all
//! memory beyond that for its heap, including the memory of the adapter.
//!
//! The heap begins after the program's data. The runtime reads the end of the data from its
//! variable `runtime.firstmoduledata.end` at startup and never again. This transformation raises
//! that value, as if the program had one more variable after the others. The gap belongs to the
//! adapter, and an added `cabi_realloc` hands it out.
//!
//! A module doesn't name the variable. It is recognized as follows: the function that reads the
//! size of the memory, or one that calls it, loads the variable from a fixed address; and its value
//! is after all data and within the memory. If that is ambiguous, the module stays unchanged.

mod survey;

use std::borrow::Cow;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, MemorySection, Module, TypeSection, ValType,
};
use wasmparser::{
    BinaryReaderError, CodeSectionReader, CustomSectionReader, Data, DataKind, DataSectionReader,
    ExportSectionReader, FunctionBody, FunctionSectionReader, GlobalSectionReader,
    MemorySectionReader, Parser, TypeSectionReader,
};

use survey::{End, Survey};

/// The size of a WebAssembly page.
const PAGE_BYTES: u64 = 64 * 1024;

/// The size of the address space.
const MAX_BYTES: u64 = 1 << 32;

/// The pages for the adapter: one for its state and one for its stack. It allocates each with a
/// separate call and never requests another size.
const ROOM_PAGES: u64 = 2;

/// The maximum number of data segments in a module, as in wasmparser (`limits.rs`). In a program
/// with that many, the bytes of existing segments change instead.
const MAX_DATA: u32 = 100_000;

/// The name of the allocation function in the component model.
const REALLOC: &str = "cabi_realloc";

/// Reserves memory for the adapter in a Go command. Returns a command unchanged if it doesn't need
/// that: before Go 1.24, the runtime uses only the memory that it gets from growing.
///
/// # Errors
///
/// Fails if the memory can't be reserved; the text says why.
pub(super) fn make_room(module: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let broken = |error: BinaryReaderError| error.message().to_owned();
    let survey = Survey::from_module(module).map_err(broken)?;
    let askers = survey.functions_with_size().map_err(broken)?;
    if askers.is_empty() {
        return Ok(Cow::Borrowed(module));
    }
    if survey.has_realloc {
        return Err(format!("it exports its own {REALLOC}"));
    }
    let loads = survey.loads_around(&askers).map_err(broken)?;
    let mut annexe = Annexe::behind(survey.find_end(&loads)?, &survey);
    if annexe.new_end() >= MAX_BYTES {
        return Err("it already has the maximum amount of memory".to_owned());
    }
    annexe.is_full = survey.data_count >= MAX_DATA;
    if annexe.is_full && !survey.can_change(annexe.end.address, annexe.new_end()) {
        return Err(format!("it has {MAX_DATA} data segments, the maximum"));
    }
    let mut changed = Module::new();
    annexe
        .parse_core_module(&mut changed, Parser::new(0), module)
        .map_err(|error| error.to_string())?;
    Ok(Cow::Owned(changed.finish()))
}

/// Copies a module with the additions for the reserved memory.
struct Annexe {
    end: End,
    /// The first reserved address.
    start: u64,
    /// The module has the maximum number of data segments.
    is_full: bool,
    /// The indices of the additions.
    realloc_type: u32,
    realloc: u32,
    next: u32,
}

impl Annexe {
    fn behind(end: End, survey: &Survey<'_>) -> Self {
        let functions_count = u32::try_from(survey.bodies.len()).unwrap_or(u32::MAX);
        Self {
            end,
            // The previous start of the heap.
            start: end.value.next_multiple_of(PAGE_BYTES),
            is_full: false,
            realloc_type: survey.types_count,
            realloc: survey
                .imported_functions_count
                .saturating_add(functions_count),
            next: survey
                .imported_globals_count
                .saturating_add(survey.globals_count),
        }
    }

    fn new_end(&self) -> u64 {
        self.start + ROOM_PAGES * PAGE_BYTES
    }

    /// Returns an allocator that hands out one page after the other.
    fn realloc_body(&self) -> Function {
        let page = PAGE_BYTES as i32;
        let mut function = Function::new([]);
        let [old_pointer, new_bytes] = [0, 3];
        function
            .instructions()
            // Trap on reallocation,
            .local_get(old_pointer)
            // on any size but a page,
            .local_get(new_bytes)
            .i32_const(page)
            .i32_ne()
            .i32_or()
            // and when all pages are used.
            .global_get(self.next)
            .i32_const(self.new_end() as i32)
            .i32_eq()
            .i32_or()
            .if_(wasm_encoder::BlockType::Empty)
            .unreachable()
            .end()
            .global_get(self.next)
            .global_get(self.next)
            .i32_const(page)
            .i32_add()
            .global_set(self.next)
            .end();
        function
    }
}

type Reencoded = Result<(), Error<Infallible>>;

impl Reencode for Annexe {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.realloc_type);
        Ok(())
    }

    fn parse_memory_section(
        &mut self,
        memories: &mut MemorySection,
        section: MemorySectionReader<'_>,
    ) -> Reencoded {
        for memory in section {
            let mut memory = self.memory_type(memory?)?;
            memory.minimum = memory.minimum.saturating_add(ROOM_PAGES);
            memory.maximum = memory.maximum.map(|most| most.saturating_add(ROOM_PAGES));
            memories.memory(memory);
        }
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: GlobalSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_global_section(self, globals, section)?;
        let next = GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        };
        globals.global(next, &ConstExpr::i32_const(self.start as i32));
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_export_section(self, exports, section)?;
        exports.export(REALLOC, ExportKind::Func, self.realloc);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_code_section(self, code, section)?;
        code.function(&self.realloc_body());
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Reencoded {
        // All indices in it stay the same.
        code.raw(body.as_bytes());
        Ok(())
    }

    fn data_count(&mut self, count: u32) -> Result<u32, Error<Infallible>> {
        Ok(count.saturating_add(u32::from(!self.is_full)))
    }

    fn parse_data_section(
        &mut self,
        data: &mut DataSection,
        section: DataSectionReader<'_>,
    ) -> Reencoded {
        utils::parse_data_section(self, data, section)?;
        if !self.is_full {
            // Later segments overwrite the bytes of earlier ones.
            let place = ConstExpr::i32_const(self.end.address.cast_signed());
            data.active(0, &place, self.new_end().to_le_bytes());
        }
        Ok(())
    }

    fn parse_data(&mut self, data: &mut DataSection, datum: Data<'_>) -> Reencoded {
        let DataKind::Active { offset_expr, .. } = &datum.kind else {
            return utils::parse_data(self, data, datum);
        };
        let (Some(start), true) = (survey::place(offset_expr)?, self.is_full) else {
            return utils::parse_data(self, data, datum);
        };
        let mut changed = datum.data.to_vec();
        let value = self.new_end().to_le_bytes();
        for (at, byte) in (u64::from(self.end.address)..).zip(value) {
            let place = at
                .checked_sub(start)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(datum) = place.and_then(|place| changed.get_mut(place)) {
                *datum = byte;
            }
        }
        let datum = Data {
            data: &changed,
            ..datum
        };
        utils::parse_data(self, data, datum)
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Reencoded {
        // Copied unread: its content doesn't matter here.
        module.section(&CustomSection {
            name: section.name().into(),
            data: section.data().into(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Store};

    use super::*;

    /// Returns a module that starts like Go's runtime: it has two pages, `data`, and `loads` next
    /// to the instruction that reads the size of the memory.
    fn module(loads: &str, data: &str) -> Vec<u8> {
        wat::parse_str(text(loads, data)).expect("a module")
    }

    fn text(loads: &str, data: &str) -> String {
        format!(
            r#"(module
              (type (func))
              (memory (export "memory") 2)
              (global (mut i32) (i32.const 0))
              (func $size (result i32) memory.size)
              (func $start (export "start") (result i32) {loads} call $size)
              (func (export "end") (result i64) (i64.load (i32.const 4104)))
              {data}
              (@custom "name" "\ff")
            )"#
        )
    }

    const LOAD: &str = "(drop (i64.load offset=8 (i32.wrap_i64 (i64.const 4096))))";

    /// The variable is at 4104; its value is 0x10008, without the zero bytes at its top.
    const DATA: &str = r#"(data (i32.const 4103) "\ff\08\00\01") (data (i32.const 8192) "data")"#;

    #[test]
    fn the_room_is_behind_the_data_and_the_heap_behind_the_room() {
        let Ok(Cow::Owned(changed)) = make_room(&module(LOAD, DATA)) else {
            panic!("there is room");
        };
        let engine = Engine::default();
        let module = wasmtime::Module::new(&engine, &changed).expect("a valid module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let start = instance.get_typed_func::<(), i32>(&mut store, "start");
        let pages = start.expect("it is there").call(&mut store, ());
        assert_eq!(pages.expect("it runs"), 2 + ROOM_PAGES as i32);
        let end = instance.get_typed_func::<(), i64>(&mut store, "end");
        let end = end.expect("it is there").call(&mut store, ());
        assert_eq!(end.expect("it runs"), 0x4_0000);

        let realloc = instance
            .get_typed_func::<(i32, i32, i32, i32), i32>(&mut store, REALLOC)
            .expect("it is there");
        let page = PAGE_BYTES as i32;
        let mut ask = |old, bytes| realloc.call(&mut store, (old, 0, 8, bytes)).ok();
        assert_eq!(ask(0, page - 1), None, "only pages");
        assert_eq!(ask(0, page), Some(0x2_0000));
        assert_eq!(ask(0x2_0000, page), None, "only new ones");
        assert_eq!(ask(0, page), Some(0x3_0000));
        assert_eq!(ask(0, page), None, "there are two");
    }

    #[test]
    fn a_program_with_all_the_data_that_there_may_be_has_room() {
        let more = "(data (i32.const 8192) \"x\") ".repeat(MAX_DATA as usize - 2);
        // The value spans two segments.
        let data = format!(
            r#"(data (i32.const 4103) "\ff\08\00\01") (data (i32.const 4105) "\00") {more}"#
        );
        // With one segment fewer, one can be added.
        let less = data.replacen(r#"(data (i32.const 8192) "x") "#, "", 1);
        for data in [data, less] {
            let Ok(Cow::Owned(changed)) = make_room(&module(LOAD, &data)) else {
                panic!("there is room");
            };
            let engine = Engine::default();
            let module = wasmtime::Module::new(&engine, &changed).expect("a valid module");
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
            let end = instance.get_typed_func::<(), i64>(&mut store, "end");
            let end = end.expect("it is there").call(&mut store, ());
            assert_eq!(end.expect("it runs"), 0x4_0000);
            assert_eq!(Survey::from_module(&changed).unwrap().data_count, MAX_DATA);
        }
        // A byte that no segment holds would have to change.
        let data =
            format!(r#"(data (i32.const 4103) "\ff\f8\ff") (data (i32.const 8192) "x") {more}"#);
        let error = make_room(&module(LOAD, &data)).expect_err("there is no room");
        assert!(error.contains("data segments, the maximum"), "{error}");
    }

    #[test]
    fn what_can_not_be_told_is_left_alone() {
        let other = format!("{LOAD} (drop (i64.load (i32.const 4112)))");
        let two_ends = r#"(data (i32.const 4104) "\08\00\01\00\00\00\00\00\08\00\01")"#;
        let too_small =
            r#"(data (i32.const 4104) "\08\00\01") (data (i32.const 65536) "eight or more")"#;
        let too_large = r#"(data (i32.const 4104) "\01\00\02")"#;
        for (loads, data, part) in [
            (&*other, two_ends, "several variables"),
            (LOAD, too_small, "no variable holds"),
            (LOAD, too_large, "no variable holds"),
            ("", DATA, "no variable holds"),
        ] {
            let error = make_room(&module(loads, data)).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
        // The same address twice counts once.
        let twice = LOAD.repeat(2);
        assert!(matches!(
            make_room(&module(&twice, DATA)),
            Ok(Cow::Owned(_))
        ));
        let own = format!("{DATA} (func (export \"cabi_realloc\"))");
        let error = make_room(&module(LOAD, &own)).expect_err("two of that name");
        assert!(error.contains(REALLOC), "{error}");
    }

    #[test]
    fn a_runtime_that_does_not_ask_for_the_size_needs_no_room() {
        let text = text(LOAD, DATA).replace("memory.size", "i32.const 1 memory.grow");
        let module = wat::parse_str(text).expect("a module");
        assert!(matches!(make_room(&module), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_memory_that_can_not_be_larger_has_no_room() {
        let text = text(LOAD, DATA).replace("\"memory\") 2", "\"memory\") 65536");
        let text = text.replace(r"\08\00\01", r"\08\00\ff\ff");
        let error = make_room(&wat::parse_str(text).expect("a module")).expect_err("it is full");
        assert!(error.contains("maximum amount of memory"), "{error}");
    }

    #[test]
    fn what_is_broken_is_an_error_wherever_it_breaks() {
        let whole = module(LOAD, DATA);
        for end in 0..whole.len() {
            // Some prefixes are complete modules without their last sections.
            if let Ok(Cow::Owned(changed)) = make_room(&whole[..end]) {
                wasmtime::Module::new(&Engine::default(), changed).expect("a valid module");
            }
        }
    }
}
