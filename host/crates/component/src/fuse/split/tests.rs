//! Compares whole components with components in parts: they behave the same, and two snapshots of
//! one program have the same code.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Module, Store};

use super::super::{Apart, CODE, CodeKey, STATE, apart};
use super::*;

pub(in crate::fuse) fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Calls `run` of a component several times: in one instance per call, then in a shared one.
fn run(engine: &Engine, component: &Component, linker: &Linker<()>) -> Vec<u32> {
    let mut results = Vec::new();
    for calls in [1, 1, 3] {
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, component).expect("it runs");
        let run = instance
            .get_typed_func::<(), (u32,)>(&mut store, "run")
            .expect("it is there");
        for _ in 0..calls {
            results.push(run.call(&mut store, ()).expect("it returns").0);
        }
    }
    results
}

pub(in crate::fuse) fn run_whole(bytes: &[u8]) -> Vec<u32> {
    let engine = Engine::default();
    let component = Component::new(&engine, bytes).expect("it compiles");
    run(&engine, &component, &Linker::new(&engine))
}

pub(in crate::fuse) fn run_parts(parts: &Apart) -> Vec<u32> {
    let engine = Engine::default();
    let frame = Component::new(&engine, &parts.frame).expect("the frame compiles");
    let mut linker = Linker::new(&engine);
    for (name, module) in [(CODE, &parts.code), (STATE, &parts.state)] {
        let module = Module::new(&engine, module).expect("it compiles");
        linker.root().module(name, &module).expect("it is new");
    }
    run(&engine, &frame, &linker)
}

/// Returns a component of two modules. The first contains `first` and a function `next`.
fn component(first: &str) -> Vec<u8> {
    binary(&format!(
        r#"(component
          (core module $a {first})
          (core module $b
            (import "a" "next" (func $next (result i32)))
            (func (export "run") (result i32) (i32.add (call $next) (i32.const 1000))))
          (core instance $a (instantiate $a))
          (core instance $b (instantiate $b (with "a" (instance $a))))
          (func (export "run") (result u32) (canon lift (core func $b "run"))))"#
    ))
}

/// Returns a component that counts in its memory and in globals of all types.
pub(in crate::fuse) fn counter(pages: u32, text: &str, number: i64) -> Vec<u8> {
    component(&format!(
        r#"(memory {pages})
        (table 1 funcref)
        (global $count (mut i32) (i32.const {number}))
        (global $long (mut i64) (i64.const {number}))
        (global $float (mut f32) (f32.const {number}))
        (global $double (mut f64) (f64.const {number}))
        (global $fixed i32 (i32.const 7))
        (global $null (mut funcref) (ref.null func))
        (elem (i32.const 0) $step)
        (type $step (func (result i32)))
        (func $step (type $step)
          (global.set $long (i64.add (global.get $long) (i64.const 2)))
          (global.set $float (f32.add (global.get $float) (f32.const 1)))
          (global.set $double (f64.add (global.get $double) (f64.const 1)))
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (global.set $null (ref.null func))
          (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
          (i32.add (i32.add (i32.load16_u (i32.const 0)) (global.get $count))
            (i32.add (i32.wrap_i64 (global.get $long))
              (i32.add (i32.add (memory.size) (global.get $fixed))
                (i32.add (i32.trunc_f32_s (global.get $float))
                  (i32.trunc_f64_s (global.get $double)))))))
        (func (export "next") (result i32) (call_indirect (type $step) (i32.const 0)))
        (data (i32.const 0) "{text}")
        (data (i32.const 60000) "far away")"#
    ))
}

#[test]
fn a_component_in_parts_does_what_it_did_whole() {
    let whole = counter(2, "ab", 5);
    let parts = apart(&whole).expect("it can be taken apart");
    assert_eq!(run_parts(&parts), run_whole(&whole));
}

#[test]
fn two_snapshots_of_a_program_have_the_same_code_and_states_of_their_own() {
    let snapshots = [counter(2, "ab", 5), counter(3, "xyz", -9)];
    let [one, two] = snapshots
        .each_ref()
        .map(|whole| apart(whole).expect("it can be taken apart"));
    assert!(one.key == two.key && one.code == two.code && one.frame == two.frame);
    assert_ne!(one.state, two.state);
    assert_eq!(run_parts(&two), run_whole(&snapshots[1]));
    // Exchange the states: each fits the code of the other.
    let exchanged = Apart {
        state: two.state.clone(),
        ..one
    };
    assert_eq!(run_parts(&exchanged), run_parts(&two));
}

#[test]
fn other_code_has_another_key() {
    let text = |constant: u32| {
        component(&format!(
            r#"(memory 1) (func (export "next") (result i32) (i32.const {constant}))"#
        ))
    };
    let [one, two] = [1, 2].map(|constant| apart(&text(constant)).expect("it is taken apart"));
    assert_ne!(one.key, two.key);
}

#[test]
fn a_state_says_which_code_it_belongs_to() {
    let parts = apart(&counter(1, "a", 0)).expect("it can be taken apart");
    let engine = Engine::default();
    let state = Module::new(&engine, &parts.state).expect("it compiles");
    let mut names = state.exports().map(|export| export.name().to_owned());
    assert_eq!(
        names.find_map(|name| CodeKey::from_mark(&name)),
        Some(parts.key)
    );
    assert_eq!(CodeKey::from_mark("wasgi-code:12"), None);
    assert_eq!(CodeKey::from_mark("memory"), None);
}

#[test]
fn what_cannot_be_kept_true_in_parts_stays_whole() {
    let next = r#"(func (export "next") (result i32) (i32.const 1))"#;
    let globals = |count: usize| -> String {
        let global = |n| format!(r#"(global (export "{n}") (mut i32) (i32.const 1)) "#);
        (0..count).map(global).collect()
    };
    let many = globals(MAX_GLOBALS + 1);
    for (first, why) in [
        ("", "exactly one memory"),
        (r#"(memory 1) (data "passive")"#, "passive data segment"),
        (
            r#"(memory 1) (data $d (i32.const 0) "a")
               (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)))"#,
            "refers to data segments",
        ),
        (
            r#"(memory 1) (data $d (i32.const 0) "a") (func (data.drop $d))"#,
            "refers to data segments",
        ),
    ] {
        let refusal = apart(&component(&format!("{first} {next}")));
        let refusal = refusal.err().map(|refusal| refusal.to_string());
        assert!(
            refusal.as_ref().is_some_and(|text| text.contains(why)),
            "{first}: {refusal:?}"
        );
    }
    // Split modules directly: fusing would omit globals that are used by no other module.
    let module = |first: &str| binary(&format!("(module {first} {next})"));
    for (first, why) in [
        (&*format!("(memory 1) {many}"), "too many globals"),
        ("(memory 1) (memory 1)", "exactly one memory"),
        ("(memory i64 1)", "64-bit addresses, or"),
        ("(memory 1 1 shared)", "64-bit addresses, or"),
        (r#"(import "a" "m" (memory 1))"#, "imports a memory"),
        (
            r#"(import "a" "g" (global i32)) (memory 1) (data (global.get 0) "a")"#,
            "is computed",
        ),
    ] {
        let refusal = split(&module(first), &[]).err();
        let refusal = refusal.map(|refusal| refusal.to_string());
        assert!(
            refusal.as_ref().is_some_and(|text| text.contains(why)),
            "{first}: {refusal:?}"
        );
    }
    let enough = module(&format!("(memory 1) {}", globals(MAX_GLOBALS)));
    assert!(split(&enough, &[]).is_ok());
}

#[test]
fn imported_globals_keep_their_numbers_and_a_start_function_finds_the_state() {
    let module = binary(
        r#"(module
          (import "a" "g" (global $imported i32))
          (memory 1)
          (global $derived i32 (global.get $imported))
          (global $own (mut i32) (i32.const 2))
          (data (i32.const 8) "\01")
          (start $started)
          (func $started
            (global.set $own (i32.add (global.get $own) (i32.load (i32.const 8)))))
          (func (export "f") (result i32)
            (i32.add (global.get $imported) (i32.add (global.get $derived) (global.get $own))))
          (export "own" (global $own)))"#,
    );
    let parts = split(&module, &[]).expect("it can be taken apart");
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = wasmtime::Linker::new(&engine);
    let ty = wasmtime::GlobalType::new(wasmtime::ValType::I32, wasmtime::Mutability::Const);
    let global = wasmtime::Global::new(&mut store, ty, 100.into()).expect("a global");
    linker.define(&store, "a", "g", global).expect("it is new");
    let state = state(&module, &parts, "mark").expect("it has one");
    let state = Module::new(&engine, state).expect("it compiles");
    let state = linker.instantiate(&mut store, &state).expect("it runs");
    linker
        .instance(&mut store, super::STATE, state)
        .expect("it is new");
    let code = Module::new(&engine, &parts.code).expect("it compiles");
    let instance = linker.instantiate(&mut store, &code).expect("it runs");
    let f = instance
        .get_typed_func::<(), i32>(&mut store, "f")
        .expect("it is there");
    assert_eq!(f.call(&mut store, ()).expect("it returns"), 203);
    let own = instance.get_global(&mut store, "own").expect("it is there");
    assert_eq!(own.get(&mut store).i32(), Some(3));
}

#[test]
fn named_functions_are_exported_once_with_the_globals_of_the_state() {
    let module = binary(
        r#"(module (memory 1) (global $g (mut i32) (i32.const 3))
          (func $reset (global.set $g (i32.const 0))) (func $other)
          (func (export "f") (call $reset)))"#,
    );
    let parts = split(&module, &["reset", "missing"]).expect("it can be taken apart");
    let engine = Engine::default();
    let code = Module::new(&engine, &parts.code).expect("it compiles");
    let names: Vec<_> = code
        .exports()
        .map(|export| export.name().to_owned())
        .collect();
    assert_eq!(names, ["f", "reset", "global-0"]);
}

#[test]
fn globals_that_only_dead_functions_write_to_are_code() {
    let states = |caller: &str| {
        let module = binary(&format!(
            r#"(module (memory 1)
              (type $t (func))
              (table 1 funcref)
              (global $g (mut i32) (i32.const 3))
              (func $sets (type $t) (global.set $g (i32.const 0)))
              (func $calls (call $sets))
              {caller}
              (func (export "f")))"#
        ));
        let parts = split(&module, &[]).expect("it can be taken apart");
        let state = state(&module, &parts, "mark").expect("it has one");
        let state = Module::new(&Engine::default(), state).expect("it compiles");
        state.exports().any(|export| export.name() == "global-0")
    };
    assert!(!states(""));
    for caller in [
        r#"(export "calls" (func $calls))"#,
        r#"(export "g" (global $g))"#,
        "(start $calls)",
        "(elem (i32.const 0) $calls)",
        "(elem declare func $calls)",
        "(elem funcref (ref.func $calls))",
        "(global funcref (ref.func $calls))",
        "(table 1 funcref (ref.func $calls))",
        r#"(func (export "h") (return_call $calls))"#,
        r#"(elem declare func $sets) (func (export "h") (drop (ref.func $sets)))"#,
    ] {
        assert!(states(caller), "{caller}");
    }
}
