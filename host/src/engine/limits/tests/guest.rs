//! Generates a guest that calls one function with the largest possible values.

use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, FlatTypes, WasmType};
use wit_parser::{Function, Handle, Int, Type, TypeDefKind, TypeId};

use super::wit::World;
use crate::engine::HandlerKind;

/// The size of the guest's memory, in bytes: leaves space for one or two more pages in the default
/// budget.
const MEMORY_BYTES: u64 = 120 << 20;

/// The address of results and other small values.
const AREA: u64 = 1024;

/// The address at which the host's results are allocated.
const HEAP: u64 = 64 * 1024;

/// The address of the passed values.
pub(super) const VALUES: u64 = 1 << 20;

/// The maximum length of a list or string that a function returns, in bytes or entries.
const MAX_RETURNED: u64 = 1 << 20;

/// The bytes that must have certain values (their positions and values), and an offset.
type Place = (Vec<(usize, usize)>, usize);

/// The size of the values.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The total size of all strings and lists.
    pub(super) bytes: u64,
    /// The value of each word in memory. In a list of strings, also the length of each string.
    pub(super) word: u32,
    pub(super) encoding: StringEncoding,
}

impl Shape {
    /// All of the memory, filled with zeros: code that checks lengths first never reads it.
    pub(super) const HUGE: Self = Self {
        bytes: MEMORY_BYTES - VALUES,
        word: 0,
        encoding: StringEncoding::UTF8,
    };
}

/// A guest under construction.
struct Guest<'w> {
    world: &'w World,
    kind: HandlerKind,
    shape: Shape,
    /// The imported functions, by their indices in the world.
    imports: Vec<usize>,
    /// Its first instructions, which obtain the parameters.
    begin: String,
    globals: usize,
    area: u64,
    /// The value of each word of its memory, as an expression.
    word: String,
}

/// A flat value: an `i32` expression, or a number of any type.
enum Flat {
    Number(i64),
    Word(String),
}

/// The size of the passed values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// Returns a guest that calls a function of its world, or only prepares the call. `None` if no
/// guest can obtain the parameters.
pub(super) fn guest(
    kind: HandlerKind,
    function: usize,
    shape: Shape,
    calls: bool,
) -> Option<Vec<u8>> {
    let world = super::wit::world(kind);
    let mut guest = Guest {
        world,
        kind,
        shape,
        imports: Vec::new(),
        begin: String::new(),
        globals: 0,
        area: AREA,
        word: format!("(i32.const {})", shape.word),
    };
    let (mut call, result) = guest.call(function, Size::Large, &mut vec![function])?;
    call.push_str(&guest.check_length(function, &result));
    let text = guest.module(if calls { &call } else { "" });
    Some(component(world, &text, shape.encoding))
}

/// Returns an application in which the result of one function has this representation in memory.
pub(super) fn returning(function: &str, result: &str) -> Vec<u8> {
    let place = |name: &str, other: u64| if name == function { AREA } else { other };
    application(
        &format!(
            "(import \"[export]wasgi:gateway/application@0.1.0\" \"[resource-new]blocks\"
               (func $new (param i32) (result i32)))
             (import \"wasgi:gateway/gateway@0.1.0\" \"[method]start-response.call\"
               (func $start
                 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
             (data (i32.const 600) \"200 OK\")
             (data (i32.const {AREA}) \"{result}\")"
        ),
        // At 256 is a body of blocks; at 512 are zeros, which mean the end of the blocks.
        &format!(
            "(call $start (local.get 1) (i32.const 600) (i32.const 6) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 700))
             (i32.store8 (i32.const 260) (i32.const 1))
             (i32.store (i32.const 264) (call $new (i32.const 1)))
             (i32.const {})",
            place("call", 256)
        ),
        place("[method]blocks.next", 512),
        place("[method]blocks.close", 512),
    )
}

/// Returns an application that traps in a function of this name.
pub(super) fn trapping(name: &str) -> Vec<u8> {
    let function = format!("(func ${name} unreachable)");
    application(&function, &format!("(call ${name}) (i32.const 0)"), 0, 0)
}

fn application(items: &str, call: &str, next: u64, close: u64) -> Vec<u8> {
    let text = format!(
        "(module {items}
         (memory (export \"memory\") {pages})
         (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
         (func (export \"wasgi:gateway/application@0.1.0#call\") (param i32 i32) (result i32)
           {call})
         (func (export \"wasgi:gateway/application@0.1.0#[method]blocks.next\")
           (param i32) (result i32) (i32.const {next}))
         (func (export \"wasgi:gateway/application@0.1.0#[method]blocks.close\")
           (param i32) (result i32) (i32.const {close})))",
        pages = MEMORY_BYTES >> 16,
    );
    component(
        super::wit::world(HandlerKind::Gateway),
        &text,
        StringEncoding::UTF8,
    )
}

/// Converts the text of a core module into a component.
fn component(world: &World, text: &str, encoding: StringEncoding) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    embed_component_metadata(&mut module, &world.resolve, world.id, encoding).expect("metadata");
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.unwrap_or_else(|error| panic!("{error:#}: {text}"))
}

impl Guest<'_> {
    fn function(&self, number: usize) -> &'static Function {
        &super::wit::world(self.kind).functions[number].function
    }

    /// Returns the code of a call, and the expression for its result.
    fn call(
        &mut self,
        number: usize,
        size: Size,
        seen: &mut Vec<usize>,
    ) -> Option<(String, String)> {
        let function = self.function(number);
        let signature = self
            .world
            .resolve
            .wasm_signature(AbiVariant::GuestImport, function);
        assert!(!signature.indirect_params, "{}", function.name);
        let lengths = function
            .params
            .iter()
            .filter(|param| self.world.has_length(&param.ty));
        let share = self.shape.bytes / lengths.count().max(1) as u64;
        let mut flat = Vec::new();
        for param in &function.params {
            self.flatten(&param.ty, size, share, &mut flat, seen)?;
        }
        let area = self.area;
        if signature.retptr {
            let bytes = function
                .result
                .iter()
                .map(|ty| self.world.sizes.size(ty).size_wasm32());
            self.area = (area + bytes.sum::<usize>() as u64).next_multiple_of(8);
            flat.push(Flat::Number(area as i64));
        }
        let mut text = format!("(call $f{number}");
        for (value, ty) in flat.iter().zip(&signature.params) {
            text.push_str(&value.text(*ty));
        }
        text.push(')');
        if !self.imports.contains(&number) {
            self.imports.push(number);
        }
        if signature.results.is_empty() {
            return Some((text, format!("(i32.const {area})")));
        }
        let global = self.globals;
        self.globals += 1;
        let ty = name(signature.results[0]);
        match ty {
            "i32" => Some((
                format!("(global.set $g{global} {text})"),
                format!("(global.get $g{global})"),
            )),
            _ => Some((format!("(drop {text})"), "(i32.const 0)".to_owned())),
        }
    }

    fn flatten(
        &mut self,
        ty: &Type,
        size: Size,
        share: u64,
        flat: &mut Vec<Flat>,
        seen: &mut Vec<usize>,
    ) -> Option<()> {
        let is_large = size == Size::Large;
        let most = |most: i64| Flat::Number(if is_large { most } else { 0 });
        let Some(kind) = self.world.kind(ty) else {
            let value = match self.world.alias(ty) {
                Type::Bool => most(1),
                Type::U8 => most(u8::MAX.into()),
                Type::U16 => most(u16::MAX.into()),
                Type::S8 => most(i8::MAX.into()),
                Type::S16 => most(i16::MAX.into()),
                Type::S32 => most(i32::MAX.into()),
                Type::U32 | Type::U64 => most(-1),
                Type::S64 => most(i64::MAX),
                Type::String => {
                    let unit = match self.shape.encoding {
                        StringEncoding::UTF16 => 2,
                        _ => 1,
                    };
                    flat.push(Flat::Number(VALUES as i64));
                    most((share / unit) as i64)
                }
                _ => most('a' as i64),
            };
            flat.push(value);
            return Some(());
        };
        let kind = kind.clone();
        match &kind {
            TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => {
                let handle = self.handle(self.world.resource(*id), seen)?;
                flat.push(Flat::Word(handle));
            }
            TypeDefKind::List(element) => {
                if is_large
                    && let Some(TypeDefKind::Handle(Handle::Borrow(id))) = self.world.kind(element)
                {
                    let id = self.world.resource(*id);
                    self.word = self.handle(id, seen)?;
                }
                let bytes = self.world.sizes.size(element).size_wasm32() as u64;
                flat.push(Flat::Number(VALUES as i64));
                flat.push(most((share / bytes.max(1)) as i64));
            }
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    self.flatten(&field.ty, size, share, flat, seen)?;
                }
            }
            TypeDefKind::Tuple(tuple) => {
                for ty in &tuple.types {
                    self.flatten(ty, size, share, flat, seen)?;
                }
            }
            TypeDefKind::Enum(_) => flat.push(Flat::Number(0)),
            TypeDefKind::Flags(_) => flat.push(most(1)),
            TypeDefKind::Option(some) => {
                self.case(ty, &[None, Some(*some)], size, share, flat, seen)?;
            }
            TypeDefKind::Result(it) => self.case(ty, &[it.ok, it.err], size, share, flat, seen)?,
            TypeDefKind::Variant(it) => {
                let cases: Vec<_> = it.cases.iter().map(|case| case.ty).collect();
                self.case(ty, &cases, size, share, flat, seen)?;
            }
            other => panic!("a parameter of type {}", other.as_str()),
        }
        Some(())
    }

    /// Selects one of several cases: the last with a length, or the last.
    fn case(
        &mut self,
        ty: &Type,
        cases: &[Option<Type>],
        size: Size,
        share: u64,
        flat: &mut Vec<Flat>,
        seen: &mut Vec<usize>,
    ) -> Option<()> {
        let has_length = |case: &Option<Type>| case.is_some_and(|ty| self.world.has_length(&ty));
        let case = match size {
            Size::Small => 0,
            Size::Large => cases
                .iter()
                .rposition(has_length)
                .unwrap_or(cases.len() - 1),
        };
        let mut storage = [WasmType::I32; 32];
        let mut types = FlatTypes::new(&mut storage);
        assert!(self.world.resolve.push_flat(ty, &mut types));
        let end = flat.len() + types.to_vec().len();
        flat.push(Flat::Number(case as i64));
        if let Some(payload) = &cases[case] {
            self.flatten(payload, size, share, flat, seen)?;
        }
        while flat.len() < end {
            flat.push(Flat::Number(0));
        }
        Some(())
    }

    /// Returns a handle of a resource as an expression: a parameter of the guest, or the result of
    /// a function.
    fn handle(&mut self, resource: TypeId, seen: &mut Vec<usize>) -> Option<String> {
        let name = self.world.resolve.types[resource].name.as_deref();
        match (self.kind, name) {
            (HandlerKind::Gateway, Some("environ"))
            | (HandlerKind::WasiHttp, Some("incoming-request")) => {
                return Some("(global.get $first)".to_owned());
            }
            (HandlerKind::Gateway, Some("start-response"))
            | (HandlerKind::WasiHttp, Some("response-outparam")) => {
                return Some("(global.get $second)".to_owned());
            }
            _ => {}
        }
        let mut makers: Vec<usize> = (0..self.world.functions.len())
            .filter(|number| !seen.contains(number))
            .filter(|number| self.finds(*number, resource).is_some())
            .collect();
        makers.sort_by_key(|number| self.function(*number).params.len());
        for maker in makers {
            let before = (self.begin.clone(), self.imports.clone(), self.area);
            seen.push(maker);
            let made = self.call(maker, Size::Small, seen);
            seen.pop();
            let Some((call, result)) = made else {
                (self.begin, self.imports, self.area) = before;
                continue;
            };
            self.begin.push_str(&call);
            let found = self.finds(maker, resource)?;
            let Some((checks, offset)) = found else {
                return Some(result);
            };
            for (offset, case) in checks {
                let _ = write!(
                    self.begin,
                    "(if (i32.ne (i32.load8_u offset={offset} {result}) (i32.const {case}))
                       (then (call $not_to_be_had)))"
                );
            }
            let global = self.globals;
            self.globals += 1;
            let _ = write!(
                self.begin,
                "(global.set $g{global} (i32.load offset={offset} {result}))"
            );
            return Some(format!("(global.get $g{global})"));
        }
        None
    }

    /// Returns code that checks that the list in a result is no longer than the limit for passing
    /// it.
    fn check_length(&self, number: usize, result: &str) -> String {
        let is_list = |ty: &Type| {
            self.world.alias(ty) == Type::String
                || matches!(self.world.kind(ty), Some(TypeDefKind::List(_)))
        };
        let ty = self.function(number).result.as_ref();
        let Some((checks, offset)) = ty.and_then(|ty| self.find(ty, 0, &is_list)) else {
            return String::new();
        };
        let mut check = format!(
            "(if (i32.gt_u (i32.load offset={} {result}) (i32.const {MAX_RETURNED}))
               (then (call $too_long)))",
            offset + 4
        );
        for (offset, case) in checks {
            check = format!(
                "(if (i32.eq (i32.load8_u offset={offset} {result}) (i32.const {case}))
                   (then {check}))"
            );
        }
        check
    }

    /// Finds a resource in a function's result: the result itself, or a place in memory, on the
    /// condition that some bytes have certain values.
    #[expect(
        clippy::option_option,
        reason = "whether it is there, and whether in memory"
    )]
    fn finds(&self, number: usize, resource: TypeId) -> Option<Option<Place>> {
        let result = self.function(number).result.as_ref()?;
        let is_it = |ty: &Type| match self.world.kind(ty) {
            Some(TypeDefKind::Handle(Handle::Own(id))) => self.world.resource(*id) == resource,
            _ => false,
        };
        let found = self.find(result, 0, &is_it)?;
        Some((!is_it(result)).then_some(found))
    }

    /// Returns the position of a matching type in a value.
    fn find(&self, ty: &Type, at: usize, is_it: &dyn Fn(&Type) -> bool) -> Option<Place> {
        if is_it(ty) {
            return Some((Vec::new(), at));
        }
        let sizes = &self.world.sizes;
        let cases = |cases: &[Option<Type>]| {
            let payload = sizes.payload_offset(Int::U8, cases.iter().map(Option::as_ref));
            cases.iter().enumerate().find_map(|(case, ty)| {
                let (mut checks, offset) =
                    self.find(ty.as_ref()?, at + payload.size_wasm32(), is_it)?;
                checks.insert(0, (at, case));
                Some((checks, offset))
            })
        };
        match self.world.kind(ty)? {
            TypeDefKind::Tuple(tuple) => sizes
                .field_offsets(&tuple.types)
                .into_iter()
                .find_map(|(offset, ty)| self.find(ty, at + offset.size_wasm32(), is_it)),
            TypeDefKind::Option(some) => cases(&[None, Some(*some)]),
            TypeDefKind::Result(result) => cases(&[result.ok, result.err]),
            _ => None,
        }
    }

    /// Returns the core module, with its last instructions.
    fn module(&self, call: &str) -> String {
        let mut text = String::from("(module");
        for &number in &self.imports {
            let import = &self.world.functions[number];
            let signature = self
                .world
                .resolve
                .wasm_signature(AbiVariant::GuestImport, &import.function);
            let types = |types: &[WasmType]| {
                types
                    .iter()
                    .map(|ty| name(*ty))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let _ = write!(
                text,
                "(import \"{}\" \"{}\" (func $f{number} (param {}) (result {})))",
                import.interface,
                import.function.name,
                types(&signature.params),
                types(&signature.results)
            );
        }
        for global in 0..self.globals {
            let _ = write!(text, "(global $g{global} (mut i32) (i32.const 0))");
        }
        let root = match self.kind {
            HandlerKind::Gateway => {
                "(func (export \"wasgi:gateway/application@0.1.0#[method]blocks.next\")
                   (param i32) (result i32) unreachable)
                 (func (export \"wasgi:gateway/application@0.1.0#[method]blocks.close\")
                   (param i32) (result i32) unreachable)
                 (func (export \"wasgi:gateway/application@0.1.0#call\")
                   (param i32 i32) (result i32)"
                    .to_owned()
            }
            HandlerKind::WasiHttp => format!(
                "(func (export \"wasi:http/incoming-handler@{}#handle\") (param i32 i32)",
                self.world.version
            ),
            HandlerKind::Command => format!(
                "(func (export \"wasi:cli/run@{}#run\") (result i32)",
                self.world.version
            ),
        };
        let arguments = match self.kind {
            HandlerKind::Command => "",
            _ => "(global.set $first (local.get 0)) (global.set $second (local.get 1))",
        };
        let result = match self.kind {
            HandlerKind::WasiHttp => "",
            _ => "(i32.const 0)",
        };
        let _ = write!(
            text,
            "(memory (export \"memory\") {pages})
             (data (i32.const 1) \"a\")
             (global $first (mut i32) (i32.const 0))
             (global $second (mut i32) (i32.const 0))
             (global $free (mut i32) (i32.const {HEAP}))
             (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
               (local $place i32)
               (local.set $place
                 (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
               (global.set $free (i32.add (local.get $place) (local.get 3)))
               (local.get $place))
             (func $not_to_be_had unreachable)
             (func $too_long unreachable)
             (func $fill (local $at i32)
               (local.set $at (i32.const {VALUES}))
               (loop $next
                 (i32.store (local.get $at) {word})
                 (local.set $at (i32.add (local.get $at) (i32.const 4)))
                 (br_if $next (i32.lt_u (local.get $at) (i32.const {end})))))
             (func $begin {begin})
             (func $call {call})
             {root} {arguments} (call $begin) (call $fill) (call $call) {result}))",
            pages = MEMORY_BYTES >> 16,
            word = self.word,
            end = match self.shape.word {
                0 => VALUES,
                _ => VALUES + self.shape.bytes,
            },
            begin = self.begin,
        );
        text
    }
}

impl Flat {
    fn text(&self, ty: WasmType) -> String {
        match (self, name(ty)) {
            (Self::Number(number), "i32") => format!("(i32.const {})", *number as i32),
            (Self::Number(number), ty) => format!("({ty}.const {number})"),
            (Self::Word(word), "i32") => word.clone(),
            (Self::Word(word), _) => format!("(i64.extend_i32_u {word})"),
        }
    }
}

fn name(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}
