//! Compares components before and after fusing: they behave the same, and the fused ones have the
//! expected number of core instances.

use wasmparser::{Instance, Parser, Payload};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use super::{Linked, Unsupported};

/// Calls `run`, which returns a number, or returns why the call fails.
fn run(component: &[u8]) -> Result<u32, String> {
    let engine = Engine::default();
    let run = || {
        let component = Component::new(&engine, component)?;
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let length = |_: wasmtime::StoreContextMut<'_, ()>, (text,): (String,)| {
            Ok((u32::try_from(text.len()).unwrap_or(0),))
        };
        linker.root().func_wrap("length", length)?;
        let instance = linker.instantiate(&mut store, &component)?;
        let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run")?;
        Ok(run.call(&mut store, ())?.0)
    };
    run().map_err(|error: wasmtime::Error| format!("{error:?}"))
}

/// Counts the core modules that a component instantiates, without nested components.
fn count_instances(component: &[u8]) -> usize {
    let mut count = 0;
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("it is whole") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::InstanceSection(section) if depth == 0 => {
                count += section
                    .into_iter()
                    .filter(|instance| matches!(instance, Ok(Instance::Instantiate { .. })))
                    .count();
            }
            _ => {}
        }
    }
    count
}

/// Fuses a component into a component.
fn component(bytes: &[u8]) -> Result<Vec<u8>, Unsupported> {
    match super::link(bytes)? {
        Linked::Component(component) => Ok(component),
        Linked::Apart(_) => panic!("it has no snapshot"),
        Linked::Program(_) => panic!("it is no application"),
    }
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns a component with these definitions, of which `$main` exports `run`.
fn text(definitions: &str) -> String {
    format!(
        r#"(component {definitions}
        (func (export "run") (result u32) (canon lift (core func $main "run"))))"#
    )
}

/// Fuses a component. Asserts its result before and after, and the number of core instances after.
#[track_caller]
fn fuses(definitions: &str, result: u32, instances: usize) -> Vec<u8> {
    let before = binary(&text(definitions));
    assert_eq!(run(&before), Ok(result), "before");
    let after = component(&before).expect("it can be fused");
    assert_eq!(run(&after), Ok(result), "after");
    assert_eq!(count_instances(&after), instances);
    after
}

/// Asserts that a component stays unchanged, for this reason.
#[track_caller]
fn refuses(definitions: &str, result: u32, why: &str) {
    let before = binary(&text(definitions));
    assert_eq!(run(&before), Ok(result));
    let refusal = component(&before).expect_err("it stays as it is");
    assert!(refusal.to_string().contains(why), "{refusal}");
}

const NOTHING: &str = "can be combined";

#[test]
fn calls_go_across_modules_and_back() {
    let after = fuses(
        r#"
        (core module $a
          (table (export "table") 1 funcref)
          (type $back (func (param i32) (result i32)))
          (func (export "f") (param i32) (result i32)
            (call_indirect (type $back) (i32.add (local.get 0) (i32.const 1)) (i32.const 0))))
        (core module $b
          (import "a" "f" (func $f (param i32) (result i32)))
          (import "a" "table" (table 1 funcref))
          (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
          (elem (i32.const 0) func $double)
          (func (export "run") (result i32) (call $f (i32.const 20))))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))
        "#,
        42,
        1,
    );
    // The tables have no other users.
    assert!(!String::from_utf8_lossy(&after).contains("table"));
}

#[test]
fn memory_and_globals_are_the_same_ones_for_all() {
    fuses(
        r#"
        (core module $a
          (memory (export "memory") 1)
          (global (export "stack") (mut i32) (i32.const 100))
          (global (export "fixed") (mut i32) (i32.const 7))
          (data (i32.const 0) "\01\02\03\04"))
        (core module $b
          (import "env" "memory" (memory 1))
          (import "env" "stack" (global $stack (mut i32)))
          (func (export "push") (global.set $stack (i32.sub (global.get $stack) (i32.const 10)))
            (i32.store8 (i32.const 0) (i32.const 5))))
        (core module $c
          (import "env" "memory" (memory 1))
          (import "env" "stack" (global $stack (mut i32)))
          (import "env" "fixed" (global $fixed (mut i32)))
          (import "b" "push" (func $push))
          (data (i32.const 3) "\09")
          (func (export "run") (result i32)
            (call $push)
            (i32.add (i32.add (global.get $stack) (global.get $fixed))
              (i32.add (i32.load8_u (i32.const 0)) (i32.load8_u (i32.const 3))))))
        (core instance $a (instantiate $a))
        (alias core export $a "memory" (core memory $memory))
        (alias core export $a "stack" (core global $stack))
        (alias core export $a "fixed" (core global $fixed))
        (core instance $env (export "memory" (memory $memory))
          (export "stack" (global $stack)) (export "fixed" (global $fixed)))
        (core instance $b (instantiate $b (with "env" (instance $env))))
        (core instance $main
          (instantiate $c (with "env" (instance $env)) (with "b" (instance $b))))
        "#,
        90 + 7 + 5 + 9,
        1,
    );
}

/// A library that is positioned by globals, like the libraries of an interpreter in
/// componentize-py.
const LIBRARIES: &str = r#"
    (core module $env
      (memory (export "memory") 1)
      (table (export "table") 8 funcref)
      (global (export "memory_base") i32 (i32.const 16))
      (global (export "table_base") i32 (i32.const 4)))
    (core module $lib
      (import "env" "memory" (memory 0))
      (import "env" "table" (table 0 funcref))
      (import "env" "memory_base" (global $memory_base i32))
      (import "env" "table_base" (global $table_base i32))
      (global $seven i32 (i32.add (global.get $table_base) (i32.const 3)))
      (func $f (result i32) (i32.load8_u (global.get $memory_base)))
      (elem (global.get $table_base) func $f)
      (elem (i32.const 5) func $f)
      (data (global.get $memory_base) "\23")
      (func (export "run") (result i32)
        (i32.add (global.get $seven)
          (call_indirect (result i32) (i32.add (global.get $table_base) (i32.const 1))))))
    (core instance $env (instantiate $env))
    (core instance $main (instantiate $lib (with "env" (instance $env))))"#;

#[test]
fn places_that_are_known_become_numbers() {
    let after = fuses(LIBRARIES, 7 + 0x23, 1);
    let mut has = (0, 0);
    for payload in Parser::new(0).parse_all(&after) {
        match payload.expect("it is whole") {
            Payload::ElementSection(section) => has.0 += section.count(),
            Payload::GlobalSection(section) => has.1 += section.count(),
            _ => {}
        }
    }
    assert_eq!(has, (2, 0), "segments of the table, and globals");
    // wasmtime could not lay out an element that is positioned by a global.
    let text = after.windows(3).any(|bytes| bytes == [0x41, 4, 0x0b]);
    assert!(text, "i32.const 4");
}

#[test]
fn of_two_segments_in_one_place_the_later_one_stays() {
    fuses(
        r#"
        (core module $a
          (memory (export "memory") 1)
          (table (export "table") 2 funcref)
          (func $one (result i32) (i32.const 1))
          (elem (i32.const 0) func $one)
          (data (i32.const 8) "\10\10"))
        (core module $b
          (import "a" "memory" (memory 1))
          (import "a" "table" (table 2 funcref))
          (func $two (result i32) (i32.const 2))
          (elem (i32.const 0) func $two)
          (data (i32.const 8) "\20")
          (func (export "run") (result i32)
            (i32.add (i32.load8_u (i32.const 8)) (call_indirect (result i32) (i32.const 0)))))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))
        "#,
        0x20 + 2,
        1,
    );
}

/// Returns three instances that write to one memory: the first defines it, the second writes in a
/// start function, and the third has a segment.
fn in_order(second: &str, third: &str) -> String {
    format!(
        r#"
        (core module $a (memory (export "memory") 1) (data (i32.const 0) "\01"))
        (core module $b (import "a" "memory" (memory 1)) {second})
        (core module $c
          (import "a" "memory" (memory 1)) {third}
          (func (export "run") (result i32) (i32.load8_u (i32.const 0))))
        (core instance $a (instantiate $a))
        (core instance $b (instantiate $b (with "a" (instance $a))))
        (core instance $main (instantiate $c (with "a" (instance $a))))"#
    )
}

const ADD_TEN: &str = "(func $add
    (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 10)))) (start $add)";
const PUT_FIVE: &str = r#"(data (i32.const 0) "\05")"#;

#[test]
fn a_start_function_runs_when_it_did() {
    // After all segments: one instance.
    fuses(&in_order(PUT_FIVE, ADD_TEN), 15, 1);
    // Before a segment: a separate instance.
    fuses(&in_order(ADD_TEN, PUT_FIVE), 5, 2);
    // Two start functions: each is the last of its instance.
    fuses(&in_order(ADD_TEN, ADD_TEN), 21, 2);
}

/// Returns a program with functions of its own resource and a host function that needs its memory,
/// as wit-component links it: `shim` defines the table through which the host function and the
/// destructor are called, and `fixup` fills it.
fn with_resource(shim: &str, fixup: &str, behind: &str) -> String {
    format!(
        r#"
        (import "length" (func $length (param "text" string) (result u32)))
        (core module $shim {shim}
          (func (export "length") (param i32 i32) (result i32)
            (call_indirect (param i32 i32) (result i32)
              (local.get 0) (local.get 1) (i32.const 0)))
          (func (export "dtor") (param i32)
            (call_indirect (param i32) (local.get 0) (i32.const 1))))
        (core module $main
          (import "shim" "length" (func $length (param i32 i32) (result i32)))
          (import "" "new" (func $new (param i32) (result i32)))
          (import "" "rep" (func $rep (param i32) (result i32)))
          (import "" "drop" (func $drop (param i32)))
          (memory (export "memory") 1)
          (global $dropped (mut i32) (i32.const 0))
          (table (export "own") 1 funcref)
          (func (export "dtor") (param i32) (global.set $dropped (local.get 0)))
          (func (export "run") (result i32)
            (local i32)
            (local.set 0 (call $new (i32.const 30)))
            (call $rep (local.get 0))
            (call $drop (local.get 0))
            (i32.add (global.get $dropped))
            (i32.add (call $length (i32.const 8) (i32.const 5)))))
        (core module $fixup
          (import "" "length" (func $length (param i32 i32) (result i32)))
          (import "" "dtor" (func $dtor (param i32)))
          (import "" "table" (table 2 funcref)) {fixup}
          (elem (i32.const 0) func $length $dtor))
        (core instance $shim (instantiate $shim))
        (alias core export $shim "dtor" (core func $shim_dtor))
        (type $resource (resource (rep i32) (dtor $shim_dtor)))
        (core func $new (canon resource.new $resource))
        (core func $rep (canon resource.rep $resource))
        (core func $drop (canon resource.drop $resource))
        (core instance $handles
          (export "new" (func $new)) (export "rep" (func $rep)) (export "drop" (func $drop)))
        (core instance $main
          (instantiate $main (with "shim" (instance $shim)) (with "" (instance $handles))))
        (alias core export $main "memory" (core memory $memory))
        (core func $lowered (canon lower (func $length) (memory $memory)))
        (alias core export $shim "table" (core table $table))
        (alias core export $main "dtor" (core func $dtor))
        (core instance $args (export "length" (func $lowered)) (export "dtor" (func $dtor))
          (export "table" (table $table)))
        (core instance $fixup (instantiate $fixup (with "" (instance $args)))) {behind}"#
    )
}

const SHIM_TABLE: &str = r#"(table (export "table") 2 2 funcref)"#;

/// Returns the sizes of the tables that a component's modules define.
fn table_sizes(component: &[u8]) -> Vec<u64> {
    let mut sizes = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::TableSection(section) = payload.expect("it is whole") {
            sizes.extend(
                section
                    .into_iter()
                    .map(|table| table.expect("a table").ty.initial),
            );
        }
    }
    sizes
}

#[test]
fn functions_of_a_resource_are_called_through_slots() {
    let after = fuses(&with_resource(SHIM_TABLE, "", ""), 65, 2);
    assert_eq!(
        table_sizes(&after),
        [5, 1],
        "three slots behind the entries"
    );
    // No slots are added to a table whose size is observable.
    for (shim, fixup) in [
        (r#"(table (export "table") 2 funcref)"#, ""),
        (r#"(table (export "table") 2 3 funcref)"#, ""),
        (SHIM_TABLE, "(func (drop (table.size 0)))"),
    ] {
        let after = fuses(&with_resource(shim, fixup, ""), 65, 2);
        assert_eq!(table_sizes(&after), [2, 1, 3], "slots of their own");
    }
}

/// Returns a module that follows the fixup, like `__init` of componentize-py.
fn init(instance: &str, table: &str, place: u32) -> String {
    format!(
        r#"
        (core module $init
          (import "{instance}" "{table}" (table 1 funcref))
          (func $nothing (param i32))
          (elem (i32.const {place}) func $nothing))
        (core instance $init
          (instantiate $init (with "main" (instance $main)) (with "shim" (instance $shim))))"#
    )
}

#[test]
fn an_instance_comes_before_a_fixup_that_it_does_not_disturb() {
    let elements = |behind: &str, result| {
        let after = fuses(&with_resource(SHIM_TABLE, "", behind), result, 2);
        let mut counts = Vec::new();
        for payload in Parser::new(0).parse_all(&after) {
            if let Payload::ElementSection(section) = payload.expect("it is whole") {
                counts.push(section.count());
            }
        }
        counts
    };
    // In the first module; the second has the slots and the elements of the fixup.
    assert_eq!(elements(&init("main", "own", 0), 65), [1, 2]);
    // If it sets another destructor than the fixup, it stays after the fixup.
    assert_eq!(elements(&init("shim", "table", 1), 35), [0, 3]);
}

#[test]
fn an_instance_with_a_memory_of_its_own_keeps_it() {
    fuses(
        r#"
        (core module $a (memory 1) (data (i32.const 0) "\01")
          (func (export "a") (result i32) (i32.load8_u (i32.const 0))))
        (core module $b (import "a" "a" (func $a (result i32)))
          (func (export "b") (result i32) (i32.add (call $a) (i32.const 4))))
        (core module $c (import "b" "b" (func $b (result i32)))
          (memory 1) (data (i32.const 0) "\02")
          (func (export "run") (result i32) (i32.add (i32.load8_u (i32.const 0)) (call $b))))
        (core instance $a (instantiate $a))
        (core instance $b (instantiate $b (with "a" (instance $a))))
        (core instance $main (instantiate $c (with "b" (instance $b))))
        "#,
        7,
        2,
    );
}

#[test]
fn references_and_exports_of_imports_are_of_the_same_functions() {
    fuses(
        r#"
        (core module $a (func (export "f") (result i32) (i32.const 11)))
        (core module $b (import "a" "f" (func $f (result i32))) (export "g" (func $f)))
        (core module $c
          (import "b" "g" (func $g (result i32)))
          (table 1 funcref)
          (export "declared" (func $own))
          (func $own (result i32) (i32.const 20))
          (func (export "run") (result i32)
            (table.set (i32.const 0) (ref.func $own))
            (i32.add (call $g) (call_indirect (result i32) (i32.const 0)))))
        (core instance $a (instantiate $a))
        (core instance $b (instantiate $b (with "a" (instance $a))))
        (core instance $main (instantiate $c (with "b" (instance $b))))
        "#,
        31,
        1,
    );
}

#[test]
fn segments_that_are_used_later_keep_their_content() {
    fuses(
        r#"
        (core module $a
          (memory (export "memory") 1) (table (export "table") 1 funcref)
          (data "\ff") (data $d "\03")
          (func $f (result i32) (i32.const 1)) (func $g (result i32) (i32.const 4))
          (elem func $f) (elem $e func $g)
          (func (export "put")
            (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))))
        (core module $b
          (import "a" "memory" (memory 1)) (import "a" "table" (table 1 funcref))
          (import "a" "put" (func $put))
          (data "\ff") (data $d "\30")
          (func $h (result i32) (i32.const 5)) (elem $e func $h)
          (func $run (export "run") (result i32)
            (call $put)
            (memory.init $d (i32.const 1) (i32.const 0) (i32.const 1))
            (i32.add (i32.load16_u (i32.const 0)) (call_indirect (result i32) (i32.const 0)))
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))
            (i32.add (call_indirect (result i32) (i32.const 0)))))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))
        "#,
        0x3003 + 4 + 5,
        1,
    );
}

#[test]
fn a_component_within_keeps_its_types() {
    // It refers to a type of the outer component by index.
    let before = binary(
        r#"(component
        (core module $a (func (export "f") (param i32)))
        (core module $b (import "a" "f" (func (param i32)))
          (func (export "run") (result i32) (i32.const 3)))
        (core instance $a (instantiate $a))
        (alias core export $a "f" (core func $f))
        (type $resource (resource (rep i32) (dtor $f)))
        (type $u32 u32)
        (core instance $main (instantiate $b (with "a" (instance $a))))
        (type $run (func (result $u32)))
        (func $run (type $run) (canon lift (core func $main "run")))
        (component $within
          (import "run" (func $run (type $run)))
          (export "run" (func $run)))
        (instance $within (instantiate $within (with "run" (func $run))))
        (export "run" (func $within "run")))"#,
    );
    assert_eq!(run(&before), Ok(3));
    let after = component(&before).expect("it can be fused");
    assert_eq!(run(&after), Ok(3));
}

#[test]
fn what_would_not_be_the_same_stays_as_it_is() {
    let once = r#"(core module $m (func (export "run") (result i32) (i32.const 1)))
        (core instance $main (instantiate $m))"#;
    refuses(once, 1, NOTHING);
    // Two instances of one module each have their own globals.
    let twice = format!("{once} (core instance $again (instantiate $m))");
    refuses(&twice, 1, NOTHING);
    let given = r#"
        (core module $a (func (export "f") (result i32) (i32.const 1)))
        (core module $b (import "a" "f" (func $f (result i32)))
          (func (export "run") (result i32) (call $f)))
        (core module $c (import "a" "f" (func (result i32))))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))
        (core instance $c (instantiate $c (with "a" (instance $a))))
        (core instance $d (instantiate $c (with "a" (instance $a))))"#;
    refuses(given, 1, "needs a whole instance");
    // Members after a start function can't join its group.
    refuses(&in_order_of_two(), 1, NOTHING);
}

/// A start function, and then a reader of its effect.
fn in_order_of_two() -> String {
    r#"(core module $a (global (export "g") (mut i32) (i32.const 0))
          (func $f (global.set 0 (i32.const 1))) (start $f))
        (core module $b (import "a" "g" (global (mut i32)))
          (func (export "run") (result i32) (global.get 0)))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))"#
        .to_owned()
}

#[test]
fn a_trap_names_its_functions() {
    let before = binary(&text(
        r#"
        (core module $a (func $dig (export "f") unreachable))
        (core module $b (import "a" "f" (func $f))
          (func $walk (export "run") (result i32) (call $f) (i32.const 0)))
        (core instance $a (instantiate $a))
        (core instance $main (instantiate $b (with "a" (instance $a))))"#,
    ));
    let after = component(&before).expect("it can be fused");
    for component in [&before, &after] {
        let trap = run(component).expect_err("it traps");
        assert!(trap.contains("!dig") && trap.contains("!walk"), "{trap}");
    }
}

#[test]
fn what_is_broken_is_refused_wherever_it_breaks() {
    for definitions in [
        LIBRARIES,
        &with_resource(SHIM_TABLE, "", &init("main", "own", 0)),
    ] {
        let whole = binary(&text(definitions));
        for end in 0..whole.len() {
            // Some prefixes are complete without their last sections.
            let _ = super::link(&whole[..end]);
        }
        for place in 0..whole.len() {
            for bits in [0x01, 0x04, 0x40, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= bits;
                let _ = super::link(&bytes);
            }
        }
    }
}

#[test]
fn a_section_that_makes_linking_impossible_is_named() {
    let refusal = component(&binary("(component (core type (func)))"));
    let refusal = refusal.expect_err("it stays as it is");
    assert_eq!(refusal.why(), "a section is not supported");
    assert_eq!(refusal.item(), Some("section 3 at byte 10"));
}
