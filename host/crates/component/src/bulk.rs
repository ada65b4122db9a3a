//! Long copies in pieces, so that a guest can be made to yield between them.
//!
//! `memory.fill`, `memory.copy` and `memory.init` are one instruction each, of any length:
//! compiled code looks at the epoch before one, and not within it. So those of more than a piece
//! are replaced in each core module, wherever it is in a component, by calls of functions that are
//! added to the module: they do the same piece by piece, in a loop. What doesn't fit traps before
//! a byte is written, as the instruction does. One of a constant length that is no longer than a
//! piece stays, and one of another length is looked at first: most are short, and cost a
//! comparison more.
//!
//! Sections are copied byte by byte, but for types, functions and code. What can't be read stays as
//! it is: the compiler says what is wrong with it.
//!
//! Tables are left alone: those that the server takes have too few elements for that.

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

/// Bytes of a piece. A memory's first touch included, the slowest machine that this was measured on
/// fills 2 MB in a millisecond, and so a piece in an eighth of one.
const PIECE_BYTES: u32 = 256 * 1024;

/// Components within components. A toolchain nests one or two, and each level is copied once more.
const MAX_DEPTH: usize = 32;

/// Core modules and components within a component, at any depth. One of Python's has twenty. What
/// validates them copies what it knows of the types so far for each, so that takes the square.
const MAX_PARTS: usize = 1_000;

/// Locals that a function may have, by what wasmparser takes (`limits.rs`).
const MAX_LOCALS: u32 = 50_000;

/// The preambles of components and modules, and the sections that are looked into (component-model,
/// Binary.md; core specification, section 5.5.2).
const PREAMBLE_BYTES: usize = 8;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

/// Replaces what copies long in all core modules of a component.
///
/// # Errors
///
/// Says in a line what it has that is not looked into.
pub fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match level(bytes, 0, &mut 0) {
        Ok(Some(replaced)) => Ok(Cow::Owned(replaced)),
        Ok(None) | Err(Failure::Broken) => Ok(Cow::Borrowed(bytes)),
        Err(Failure::Deep) => Err(format!(
            "its components nest more than {MAX_DEPTH} deep: that is more than this server takes"
        )),
        Err(Failure::Many) => Err(format!(
            "it has more than {MAX_PARTS} core modules and components: that is more than this \
             server takes"
        )),
    }
}

/// Why something is left.
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

/// A component's bytes, replaced. None where there is nothing to replace.
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

/// A section, and where it begins.
struct Section<'a> {
    start: usize,
    id: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl Section<'_> {
    /// Appends it to what is written of `bytes`, with other content if that has changed. Nothing is
    /// written before something has.
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

/// The sections of a component or a module.
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

/// A core module's bytes, replaced. None where there is nothing to replace.
fn module(bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let shape = Shape::of(bytes)?;
    let mut helpers = Helpers::new(shape);
    let Some(code) = helpers.code(bytes)? else {
        return Ok(None);
    };
    // What names a function or a type that is not there would name one that is added.
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

/// A section that is a list, with more entries.
fn appended(content: &[u8], more: &[Vec<u8>]) -> Result<Vec<u8>, Failure> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32()?;
    let mut list = Vec::with_capacity(content.len() + more.len() * 8);
    count.saturating_add(more.len() as u32).encode(&mut list);
    list.extend_from_slice(&content[reader.original_position()..]);
    list.extend(more.iter().flatten());
    Ok(list)
}

/// What is to be known of a module.
#[derive(Default)]
struct Shape {
    /// How many parameters each type has, if it is a function's.
    params: Vec<u32>,
    /// How many functions there are, imported ones among them.
    functions: u32,
    /// The types of those that are defined.
    defined: Vec<u32>,
    memories: Vec<MemoryType>,
}

impl Shape {
    fn of(bytes: &[u8]) -> Result<Self, Failure> {
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

/// How many parameters a function of a type has.
fn params(ty: &SubType) -> u32 {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(ty) => ty.params().len() as u32,
        _ => 0,
    }
}

/// The functions that are added to a module.
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

    /// The code section of a module, with the helpers' own code. None where it has no use for any.
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

    /// A function's body, with calls in place of what copies long.
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
            // What is before it on the stack is how long it is.
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

    /// The numbers of a helper.
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

    /// The number of a helper's type, which that of a block follows.
    fn type_of(&self, place: u32) -> u32 {
        (self.shape.params.len() as u32).saturating_add(2 * place)
    }

    /// The helpers' types: two for each.
    fn types(&self) -> Vec<Vec<u8>> {
        let types = self.list.iter().flat_map(|helper| helper.types());
        types.collect()
    }

    /// Their entries in the function section.
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

/// What a helper is called by.
struct Numbers {
    function: u32,
    /// The type of a block that has all its parameters but the last on the stack.
    block: u32,
}

/// The locals that a length goes to while it is looked at, of 32 and of 64 bits. None in a function
/// that may have no more locals.
struct Lengths(Option<[u32; 2]>);

impl Lengths {
    /// Adds the locals to a function's body. Gives the body up to its first operator.
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

    /// Writes an instruction that copies so that it does no more than a piece, and a call where
    /// there is more.
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
    /// What is called in place of an operator, if it is one that copies.
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
