//! Makes a guest that calls one function, with values as large as they can be.

use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, FlatTypes, WasmType};
use wit_parser::{Function, Handle, Int, Type, TypeDefKind, TypeId};

use super::wit::World;
use crate::engine::Kind;

/// The guest's memory, in bytes: what leaves room for another page or two in a default budget.
const MEMORY_BYTES: u64 = 120 << 20;

/// Where results and other small things are, in bytes.
const AREA: u64 = 1024;

/// Where the host's results are allocated, in bytes.
const HEAP: u64 = 64 * 1024;

/// Where the values begin that are passed, in bytes.
pub(super) const VALUES: u64 = 1 << 20;

/// The longest list or string that a function may return, in bytes or entries.
const MAX_RETURNED: u64 = 1 << 20;

/// Bytes that have to have a value (where they are, and which), and an offset.
type Place = (Vec<(usize, usize)>, usize);

/// How large the values are.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// All strings and lists together.
    pub(super) bytes: u64,
    /// What each word of memory is. In a list of strings, each is that long.
    pub(super) word: u32,
    pub(super) encoding: StringEncoding,
}

impl Shape {
    /// All of the memory, with nothing in it: whoever looks at the lengths first need not look at
    /// that.
    pub(super) const HUGE: Self = Self {
        bytes: MEMORY_BYTES - VALUES,
        word: 0,
        encoding: StringEncoding::UTF8,
    };
}

/// A guest in the making.
struct Guest<'w> {
    world: &'w World,
    kind: Kind,
    shape: Shape,
    /// Functions that it imports, by their number in the world.
    imports: Vec<usize>,
    /// What it does first: it gets what it needs.
    begin: String,
    globals: usize,
    area: u64,
    /// What each word of its memory is, as an expression.
    word: String,
}

/// A flat value: an expression of `i32`, or a number of any type.
enum Flat {
    Number(i64),
    Word(String),
}

/// Which values are passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// A guest that calls a function of its world, or only gets ready to. None where no guest can have
/// what the function is called with.
pub(super) fn guest(kind: Kind, function: usize, shape: Shape, calls: bool) -> Option<Vec<u8>> {
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

/// An application that returns so from one of its functions: its result, as it lies in memory.
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
        // At 256 are blocks, and at 512 there is nothing: the end of them.
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

/// An application that traps in a function of this name.
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
        super::wit::world(Kind::Gateway),
        &text,
        StringEncoding::UTF8,
    )
}

/// A component of a core module's text.
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

    /// A call, and where its result is: what to run, and an expression.
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

    /// One case of several: the last that has a length, or the last.
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

    /// A handle of a resource, as an expression: what its kind is called with, or what one of the
    /// functions gives.
    fn handle(&mut self, resource: TypeId, seen: &mut Vec<usize>) -> Option<String> {
        let name = self.world.resolve.types[resource].name.as_deref();
        match (self.kind, name) {
            (Kind::Gateway, Some("environ")) | (Kind::WasiHttp, Some("incoming-request")) => {
                return Some("(global.get $first)".to_owned());
            }
            (Kind::Gateway, Some("start-response"))
            | (Kind::WasiHttp, Some("response-outparam")) => {
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

    /// Sees that the list in a result is no longer than what may be passed.
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

    /// Where in a function's result a resource is: as the result itself, or in memory, if some
    /// bytes say so.
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

    /// Where in a value what is looked for begins.
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

    /// The core module, with what it does last.
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
            Kind::Gateway => {
                "(func (export \"wasgi:gateway/application@0.1.0#[method]blocks.next\")
                   (param i32) (result i32) unreachable)
                 (func (export \"wasgi:gateway/application@0.1.0#[method]blocks.close\")
                   (param i32) (result i32) unreachable)
                 (func (export \"wasgi:gateway/application@0.1.0#call\")
                   (param i32 i32) (result i32)"
                    .to_owned()
            }
            Kind::WasiHttp => format!(
                "(func (export \"wasi:http/incoming-handler@{}#handle\") (param i32 i32)",
                self.world.version
            ),
            Kind::Command => format!(
                "(func (export \"wasi:cli/run@{}#run\") (result i32)",
                self.world.version
            ),
        };
        let arguments = match self.kind {
            Kind::Command => "",
            _ => "(global.set $first (local.get 0)) (global.set $second (local.get 1))",
        };
        let result = match self.kind {
            Kind::WasiHttp => "",
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
