//! Tests that a copy in pieces matches the instruction: the same bytes, the same traps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{Config, Engine, Instance, Memory, Module, Store, TypedFunc, UpdateDeadline};

use super::{MAX_DEPTH, MAX_PARTS, PIECE_BYTES, component, module};

/// The size of the memory in most tests, in pages: eight pieces.
const PAGES: u64 = 32;
const BYTES: u64 = PAGES * 65_536;
const DATA_BYTES: u64 = 3 * PIECE_BYTES as u64;

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns a module with two memories, the first with address type `a`, the second with `b`, and
/// functions that copy within and between them.
fn text(a: &str, b: &str) -> String {
    let both = match (a, b) {
        ("i64", "i64") => "i64",
        _ => "i32",
    };
    let memory = |ty: &str| match ty {
        "i64" => format!("i64 {PAGES}"),
        _ => format!("{PAGES}"),
    };
    let data = "\\01\\02\\03\\05\\07\\0b\\0d".repeat(DATA_BYTES as usize / 7 + 1);
    let data = &data[..DATA_BYTES as usize * 3];
    format!(
        r#"(module
          (memory $a (export "a") {})
          (memory $b (export "b") {})
          (data $data "{data}")
          (func (export "fill") (param {a} i32 {a})
            (memory.fill $a (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy") (param {a} {a} {a})
            (memory.copy $a $a (local.get 0) (local.get 1) (local.get 2)))
          (func (export "across") (param {a} {b} {both})
            (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
          (func (export "init") (param {a} i32 i32)
            (memory.init $a $data (local.get 0) (local.get 1) (local.get 2)))
          (func (export "drop") (data.drop $data)))"#,
        memory(a),
        memory(b)
    )
}

/// An instance under test.
struct Tried {
    store: Store<()>,
    instance: Instance,
    a: Memory,
    b: Memory,
}

impl Tried {
    fn run(engine: &Engine, bytes: &[u8]) -> Self {
        let module = Module::new(engine, bytes).expect("a valid module");
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let [a, b] = ["a", "b"].map(|name| instance.get_memory(&mut store, name).unwrap());
        for memory in [a, b] {
            for (place, byte) in (0_u32..).zip(memory.data_mut(&mut store)) {
                *byte = (place.wrapping_mul(2_654_435_761) >> 24) as u8;
            }
        }
        Self {
            store,
            instance,
            a,
            b,
        }
    }

    /// Calls a function with numbers, converted to its parameter types. Returns the trap, if any.
    fn call(&mut self, name: &str, values: [u64; 3]) -> Option<String> {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let ty = function.ty(&self.store);
        let values: Vec<_> = ty
            .params()
            .zip(values)
            .map(|(ty, value)| match ty {
                wasmtime::ValType::I32 => wasmtime::Val::I32(value as u32 as i32),
                _ => wasmtime::Val::I64(value.cast_signed()),
            })
            .collect();
        let trap = function.call(&mut self.store, &values, &mut []).err()?;
        Some(trap.downcast_ref::<wasmtime::Trap>().unwrap().to_string())
    }
}

/// A generator of reproducible pseudo-random numbers.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a value at or near a boundary.
    fn place(&mut self) -> u64 {
        let piece = u64::from(PIECE_BYTES);
        let near = match self.next() % 6 {
            0 => self.next() % 9 * piece,
            1 => BYTES,
            2 => DATA_BYTES,
            3 => self.next() % BYTES,
            4 => match self.next() % 8 {
                0 => 1 << 32,
                1 => u64::MAX,
                _ => 0,
            },
            _ => self.next() % 100,
        };
        match self.next() % 4 {
            0 => near.wrapping_sub(1),
            1 => near.wrapping_add(self.next() % 20),
            _ => near,
        }
    }
}

#[test]
fn pieces_are_what_the_whole_would_be() {
    let mut config = Config::new();
    config.wasm_memory64(true).wasm_multi_memory(true);
    let engine = Engine::new(&config).unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut done, mut trapped) = (0, 0);
    for (a, b) in [
        ("i32", "i32"),
        ("i64", "i32"),
        ("i32", "i64"),
        ("i64", "i64"),
    ] {
        let plain = binary(&text(a, b));
        let replaced = module(&plain).ok().flatten().expect("something to replace");
        let mut both = [&plain, &replaced].map(|bytes| Tried::run(&engine, bytes));
        for turn in 0..120 {
            let name = match (turn, numbers.next() % 4) {
                (100, _) => "drop",
                (_, 0) => "fill",
                (_, 1) => "across",
                (_, 2) => "init",
                _ => "copy",
            };
            let values = [numbers.place(), numbers.place(), numbers.place()];
            let [one, other] = both.each_mut().map(|tried| tried.call(name, values));
            assert_eq!(one, other, "{a} {b} {name} {values:?}");
            match one {
                Some(_) => trapped += 1,
                None => done += 1,
            }
            let [one, other] = both.each_ref();
            for memory in [|tried: &Tried| tried.a, |tried: &Tried| tried.b] {
                assert!(
                    memory(one).data(&one.store) == memory(other).data(&other.store),
                    "{a} {b} {name} {values:?}"
                );
            }
        }
    }
    assert!(done > 100 && trapped > 100, "{done} {trapped}");
}

/// Returns how often compiled code checks the epoch in a call.
fn checks(bytes: &[u8], values: (i32, i32, i32), name: &str) -> u64 {
    let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
    let module = Module::new(&engine, bytes).expect("a valid module");
    let counted = Arc::new(AtomicU64::new(0));
    let mut store = Store::new(&engine, ());
    let count = counted.clone();
    store.set_epoch_deadline(1_000);
    store.epoch_deadline_callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(UpdateDeadline::Continue(0))
    });
    let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
    let function: TypedFunc<(i32, i32, i32), ()> =
        instance.get_typed_func(&mut store, name).unwrap();
    store.set_epoch_deadline(0);
    function.call(&mut store, values).expect("it runs");
    counted.load(Ordering::Relaxed)
}

#[test]
fn what_copies_long_can_be_made_to_yield_between_pieces() {
    let plain = binary(&text("i32", "i32"));
    let replaced = module(&plain).ok().flatten().expect("something to replace");
    let length = BYTES as i32 - 1;
    let pieces = BYTES / u64::from(PIECE_BYTES) - 1;
    for (name, values) in [
        ("fill", (1, 7, length)),
        ("copy", (0, 1, length)),
        ("copy", (1, 0, length)),
        ("across", (1, 0, length)),
    ] {
        let (before, after) = (
            checks(&plain, values, name),
            checks(&replaced, values, name),
        );
        assert!(
            after >= before + pieces - 1,
            "{name}: {before}, then {after}"
        );
    }
}

#[test]
fn what_has_nothing_long_stays_as_it_is() {
    for body in [
        "",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 128))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 262144))",
        "(memory.init $data (i32.const 0) (i32.const 0) (i32.const 3))",
    ] {
        let text = format!(
            r#"(component (core module
            (memory 10) (data $data "abc") (func {body})))"#
        );
        let bytes = binary(&text);
        assert_eq!(*component(&bytes).unwrap(), *bytes, "{body}");
    }
    // The constant is not the length: another operator follows it.
    let text = "(component (core module (memory 10) (func (param i32)
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 0) (local.get 0) (i32.add)))))";
    let bytes = binary(text);
    assert_ne!(*component(&bytes).unwrap(), *bytes);
}

#[test]
fn a_function_that_may_have_no_more_locals_copies_in_pieces_too() {
    for locals in [
        super::MAX_LOCALS - 3,
        super::MAX_LOCALS - 2,
        super::MAX_LOCALS - 1,
    ] {
        let locals = "i32 ".repeat(locals as usize);
        let text = format!(
            r#"(module (memory 32) (func (export "fill") (param i32)
                 (local {locals}) (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#
        );
        let replaced = module(&binary(&text)).ok().flatten();
        wasmparser::validate(&replaced.expect("something to replace")).expect("it is valid");
    }
}

#[test]
fn modules_are_found_however_deep_they_are() {
    let fill = "(core module (memory 1) (func (param i32)
        (memory.fill (i32.const 0) (i32.const 0) (local.get 0))))";
    let nested = |depth: usize| {
        let (open, close) = ("(component ".repeat(depth), ")".repeat(depth));
        binary(&format!("(component {open} {fill} {close} {fill})"))
    };
    for depth in [0, 1, 5, MAX_DEPTH] {
        let bytes = nested(depth);
        let replaced = component(&bytes).unwrap();
        assert!(replaced.len() > bytes.len() + 100, "{depth}");
        wasmparser::validate(&replaced).expect("a valid component");
    }
    let error = component(&nested(MAX_DEPTH + 1)).unwrap_err();
    assert!(error.contains("nested more than 32 deep"), "{error}");
}

#[test]
fn more_modules_and_components_than_a_toolchain_makes_are_refused() {
    let parts = |count: usize| {
        let parts = "(component (core module)) ".repeat(count / 2);
        binary(&format!("(component {parts})"))
    };
    assert!(component(&parts(MAX_PARTS)).is_ok());
    let error = component(&parts(MAX_PARTS + 2)).unwrap_err();
    assert!(
        error.contains("more than 1000 core modules and components"),
        "{error}"
    );
}

#[test]
fn what_is_broken_is_left_to_the_compiler() {
    let whole = binary(
        "(component (core module (memory 1) (func (param i32)
           (memory.fill (i32.const 0) (i32.const 0) (local.get 0)))))",
    );
    for end in 0..whole.len() {
        let cut = component(&whole[..end]).unwrap();
        assert_eq!(*cut, whole[..end]);
    }
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << bit;
            let is_valid = wasmparser::validate(&damaged).is_ok();
            let replaced = component(&damaged).unwrap();
            assert_eq!(
                wasmparser::validate(&replaced).is_ok(),
                is_valid,
                "{place} {bit}"
            );
        }
    }
}
