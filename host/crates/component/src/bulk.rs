//! Splits long copies into pieces, so that a guest can yield between them.
//!
//! `memory.fill`, `memory.copy` and `memory.init` are one instruction each, of any length: compiled
//! code checks the epoch before such an instruction, but not during it. In each core module, at any
//! depth in a component, this replaces instructions longer than a piece with calls to added
//! functions, which copy in pieces, in a loop. A copy that is out of bounds traps before it writes
//! a byte, as the instruction does. An instruction with a constant length of at most one piece
//! stays. For any other length, the code compares it first: most copies are short and cost one
//! comparison more.
//!
//! Sections are copied byte by byte, except types, functions and code. Unreadable input stays as it
//! is: the compiler reports what is wrong with it.
//!
//! Table instructions stay: the tables that the server accepts have too few elements to matter.

mod helper;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use wasm_encoder::{BlockType, Encode, Instruction, ValType};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, CompositeInnerType, FunctionBody, Import,
    MemoryType, Operator, Parser, Payload, SubType, TypeRef, Validator, WasmFeatures,
};

use helper::Helper;

/// The size of a piece. Including the first touch of the memory, the slowest machine measured fills
/// 2 MB in a millisecond, and so a piece in an eighth of one.
const PIECE_BYTES: u32 = 256 * 1024;

/// The maximum nesting of components. A toolchain nests one or two levels, and each level is copied
/// once more.
const MAX_DEPTH: usize = 32;

/// The maximum number of core modules and components in a component, at any depth. A Python
/// component has twenty. The validator copies its type information for each, so its time grows with
/// the square.
const MAX_PARTS: usize = 1_000;

/// The maximum number of locals in a function, as in wasmparser (`limits.rs`).
const MAX_LOCALS: u32 = 50_000;

/// The preamble of components and modules, and the sections that this module reads
/// (component-model, Binary.md; core specification, section 5.5.2).
const PREAMBLE_BYTES: usize = 8;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

/// Replaces long copies in all core modules of a component.
///
/// # Errors
///
/// Fails if the component exceeds a limit; the text says which, in one line.
pub fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match level(bytes, 0, &mut 0) {
        Ok(Some(replaced)) => Ok(Cow::Owned(replaced)),
        Ok(None) | Err(Failure::Broken) => Ok(Cow::Borrowed(bytes)),
        Err(Failure::Deep) => Err(format!(
            "its components are nested more than {MAX_DEPTH} deep, which exceeds the limit"
        )),
        Err(Failure::Many) => Err(format!(
            "it has more than {MAX_PARTS} core modules and components, which exceeds the limit"
        )),
    }
}

/// Replaces long copies in a core module.
pub fn core_module(bytes: &[u8]) -> Cow<'_, [u8]> {
    match module(bytes) {
        Ok(Some(replaced)) => Cow::Owned(replaced),
        Ok(None) | Err(_) => Cow::Borrowed(bytes),
    }
}

/// Why a component or module is not transformed.
enum Failure {
    Broken,
    Deep,
    Many,
}

impl From<BinaryReaderError> for Failure {
    fn from(_: BinaryReaderError) -> Self {
        Self::Broken
    }
}

/// Transforms the bytes of a component. Returns `None` if nothing changes.
fn level(bytes: &[u8], depth: usize, parts: &mut usize) -> Result<Option<Vec<u8>>, Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::Deep);
    }
    let sections = sections(bytes)?;
    let within = |section: &&Section<'_>| matches!(section.id, CORE_MODULE | COMPONENT);
    *parts += sections.iter().filter(within).count();
    if *parts > MAX_PARTS {
        return Err(Failure::Many);
    }
    let mut replaced = None;
    for section in sections {
        let changed = match section.id {
            CORE_MODULE => module(section.content)?,
            COMPONENT => level(section.content, depth + 1, parts)?,
            _ => None,
        };
        section.write(changed.as_deref(), bytes, &mut replaced);
    }
    Ok(replaced)
}

/// A section and its start.
struct Section<'a> {
    start: usize,
    id: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl Section<'_> {
    /// Appends the section to `written`, with `changed` as its content if given. `written` starts
    /// as a copy of the preceding `bytes` at the first change.
    fn write(&self, changed: Option<&[u8]>, bytes: &[u8], written: &mut Option<Vec<u8>>) {
        match (changed, written.as_mut()) {
            (None, None) => {}
            (None, Some(written)) => written.extend_from_slice(self.whole),
            (Some(content), _) => {
                let written = written.get_or_insert_with(|| bytes[..self.start].to_vec());
                written.push(self.id);
                content.encode(written);
            }
        }
    }
}

/// Returns the sections of a component or a module.
fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, Failure> {
    let mut reader = BinaryReader::new(bytes, 0);
    reader.read_bytes(PREAMBLE_BYTES)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()?;
        let content = reader.read_bytes(length as usize)?;
        let whole = &bytes[start..reader.original_position()];
        sections.push(Section {
            start,
            id,
            content,
            whole,
        });
    }
    Ok(sections)
}

/// Transforms the bytes of a core module. Returns `None` if nothing changes.
fn module(bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let shape = Shape::from_module(bytes)?;
    let mut helpers = Helpers::new(shape);
    let Some(code) = helpers.code(bytes)? else {
        return Ok(None);
    };
    // Otherwise an invalid index of a function or a type could come to name an added one.
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes)?;
    let mut replaced = None;
    for section in sections(bytes)? {
        let changed = match section.id {
            TYPES => Some(appended(section.content, &helpers.types())?),
            FUNCTIONS => Some(appended(section.content, &helpers.functions())?),
            CODE => Some(code.clone()),
            _ => None,
        };
        section.write(changed.as_deref(), bytes, &mut replaced);
    }
    Ok(replaced)
}

/// Returns the content of a list section with additional entries.
fn appended(content: &[u8], more: &[Vec<u8>]) -> Result<Vec<u8>, Failure> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32()?;
    let mut list = Vec::with_capacity(content.len() + more.len() * 8);
    count.saturating_add(more.len() as u32).encode(&mut list);
    list.extend_from_slice(&content[reader.original_position()..]);
    list.extend(more.iter().flatten());
    Ok(list)
}

/// The parts of a module that this transformation needs.
#[derive(Default)]
struct Shape {
    /// The number of parameters of each type, 0 if it isn't a function type.
    params: Vec<u32>,
    /// The number of functions, including imported ones.
    functions: u32,
    /// The types of the defined functions.
    defined: Vec<u32>,
    memories: Vec<MemoryType>,
}

impl Shape {
    fn from_module(bytes: &[u8]) -> Result<Self, Failure> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        shape.params.extend(group?.types().map(params));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        shape.import(&import?);
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        shape.defined.push(ty?);
                    }
                    shape.functions += shape.defined.len() as u32;
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        shape.memories.push(memory?);
                    }
                }
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(shape)
    }

    fn import(&mut self, import: &Import<'_>) {
        match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
            TypeRef::Memory(memory) => self.memories.push(memory),
            _ => {}
        }
    }
}

/// Returns the number of parameters of a function type.
fn params(ty: &SubType) -> u32 {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(ty) => ty.params().len() as u32,
        _ => 0,
    }
}

/// The functions to add to a module.
struct Helpers {
    shape: Shape,
    list: Vec<Helper>,
    by_operation: HashMap<Helper, u32>,
}

impl Helpers {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            list: Vec::new(),
            by_operation: HashMap::new(),
        }
    }

    /// Returns the code section of a module, with the code of the helpers. Returns `None` if the
    /// module needs no helper.
    fn code(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let mut all = sections(bytes)?.into_iter();
        let Some(section) = all.find(|section| section.id == CODE) else {
            return Ok(None);
        };
        let reader = BinaryReader::new(section.content, 0);
        let mut bodies = Vec::new();
        for (place, body) in CodeSectionReader::new(reader)?.into_iter().enumerate() {
            let ty = self.shape.defined.get(place).map(|ty| *ty as usize);
            let params = ty.and_then(|ty| self.shape.params.get(ty)).copied();
            let params = params.ok_or(Failure::Broken)?;
            bodies.push(self.body(&body?, params)?);
        }
        if self.list.is_empty() {
            return Ok(None);
        }
        let mut code = Vec::with_capacity(section.content.len() + self.list.len() * 128);
        ((bodies.len() + self.list.len()) as u32).encode(&mut code);
        for body in &bodies {
            (**body).encode(&mut code);
        }
        for helper in &self.list {
            helper.code().encode(&mut code);
        }
        Ok(Some(code))
    }

    /// Returns the body of a function, with calls in place of long copies.
    fn body<'a>(&mut self, body: &FunctionBody<'a>, params: u32) -> Result<Cow<'a, [u8]>, Failure> {
        let (bytes, base) = (body.as_bytes(), body.range().start);
        let mut operators = body.get_operators_reader()?;
        let first = operators.original_position() - base;
        let mut written: Option<(Vec<u8>, Lengths)> = None;
        let (mut done, mut constant) = (first, None);
        while !operators.eof() {
            let start = operators.original_position() - base;
            let operator = operators.read()?;
            let end = operators.original_position() - base;
            let helper = self.shape.helper(&operator);
            // The preceding operator on the stack is the length.
            let is_short = constant.is_some_and(|length| length <= u64::from(PIECE_BYTES));
            if let (Some(helper), false) = (helper, is_short) {
                let (written, lengths) = match &mut written {
                    Some(written) => written,
                    None => written.insert(Lengths::added(body, params)?),
                };
                written.extend_from_slice(&bytes[done..start]);
                let number = self.number(helper);
                lengths.write(helper, &number, &bytes[start..end], written);
                done = end;
            }
            constant = match operator {
                Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
                Operator::I64Const { value } => Some(value.cast_unsigned()),
                _ => None,
            };
        }
        Ok(match written {
            Some((mut written, _)) => {
                written.extend_from_slice(&bytes[done..]);
                Cow::Owned(written)
            }
            None => Cow::Borrowed(bytes),
        })
    }

    /// Returns the indices of a helper.
    fn number(&mut self, helper: Helper) -> Numbers {
        let next = self.list.len() as u32;
        let place = *self.by_operation.entry(helper).or_insert(next);
        if place == next {
            self.list.push(helper);
        }
        Numbers {
            function: self.shape.functions.saturating_add(place),
            block: self.type_of(place).saturating_add(1),
        }
    }

    /// Returns the index of a helper's type. The type of its block follows.
    fn type_of(&self, place: u32) -> u32 {
        (self.shape.params.len() as u32).saturating_add(2 * place)
    }

    /// Returns the types of the helpers: two for each.
    fn types(&self) -> Vec<Vec<u8>> {
        let types = self.list.iter().flat_map(|helper| helper.types());
        types.collect()
    }

    /// Returns the entries of the helpers in the function section.
    fn functions(&self) -> Vec<Vec<u8>> {
        let places = 0..self.list.len() as u32;
        places
            .map(|place| {
                let mut encoded = Vec::new();
                self.type_of(place).encode(&mut encoded);
                encoded
            })
            .collect()
    }
}

/// The indices of a helper.
struct Numbers {
    function: u32,
    /// The type of a block that takes all parameters but the last from the stack.
    block: u32,
}

/// The locals that hold a length for the comparison, with 32 and with 64 bits. `None` in a function
/// that can't have more locals.
struct Lengths(Option<[u32; 2]>);

impl Lengths {
    /// Adds the locals to the body of a function. Returns the body up to its first operator.
    fn added(body: &FunctionBody<'_>, params: u32) -> Result<(Vec<u8>, Self), Failure> {
        let (bytes, base) = (body.as_bytes(), body.range().start);
        let code = body.get_operators_reader()?.original_position() - base;
        let mut locals = body.get_locals_reader()?;
        let (groups, start) = (locals.get_count(), locals.original_position() - base);
        let mut count = params;
        for _ in 0..groups {
            count = count.saturating_add(locals.read()?.0);
        }
        if count > MAX_LOCALS - 2 {
            return Ok((bytes[..code].to_vec(), Self(None)));
        }
        let mut written = Vec::with_capacity(bytes.len() + 64);
        (groups + 2).encode(&mut written);
        written.extend_from_slice(&bytes[start..code]);
        for ty in [ValType::I32, ValType::I64] {
            1_u32.encode(&mut written);
            ty.encode(&mut written);
        }
        Ok((written, Self(Some([count, count + 1]))))
    }

    /// Writes a comparison that runs the instruction for up to one piece, and calls the helper for
    /// more.
    fn write(&self, helper: Helper, numbers: &Numbers, instruction: &[u8], into: &mut Vec<u8>) {
        let Some([short, long]) = self.0 else {
            Instruction::Call(numbers.function).encode(into);
            return;
        };
        let (local, piece, is_more) = match helper.counts_64() {
            true => {
                let piece = Instruction::I64Const(PIECE_BYTES.into());
                (long, piece, Instruction::I64GtU)
            }
            false => {
                let piece = Instruction::I32Const(PIECE_BYTES.cast_signed());
                (short, piece, Instruction::I32GtU)
            }
        };
        for part in [
            Instruction::LocalTee(local),
            piece,
            is_more,
            Instruction::If(BlockType::FunctionType(numbers.block)),
            Instruction::LocalGet(local),
            Instruction::Call(numbers.function),
            Instruction::Else,
            Instruction::LocalGet(local),
        ] {
            part.encode(into);
        }
        into.extend_from_slice(instruction);
        Instruction::End.encode(into);
    }
}

impl Shape {
    /// Returns the helper for an operator, if it copies.
    fn helper(&self, operator: &Operator<'_>) -> Option<Helper> {
        let is_64 = |memory: u32| Some(self.memories.get(memory as usize)?.memory64);
        match *operator {
            Operator::MemoryFill { mem } => Some(Helper::Fill {
                memory: mem,
                is_64: is_64(mem)?,
            }),
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Helper::Copy {
                to: dst_mem,
                to_64: is_64(dst_mem)?,
                from: src_mem,
                from_64: is_64(src_mem)?,
            }),
            Operator::MemoryInit { data_index, mem } => Some(Helper::Init {
                data: data_index,
                memory: mem,
                is_64: is_64(mem)?,
            }),
            _ => None,
        }
    }
}
