//! Tests which applications are called directly, which of their parts are omitted, and which stay
//! components.

use super::{INPUT, TEXT, Text, answer, binary, both};
use crate::engine::Engine;
use crate::engine::fuse::{self, Linked};
use crate::policy::Budget;

/// Returns the application with an intermediate module through which it calls `get`, as toolchains
/// do.
fn shimmed(text: Text, shim: &str, fill: &str) -> Vec<u8> {
    let text = text.text();
    let shim = format!(
        r#"(core module $shim-module
             (type $get (func (param i32 i32 i32 i32)))
             (table (export "table") 1 1 funcref)
             (func (export "get") (type $get) {shim}))
           (core instance $shim (instantiate $shim-module))
           (core instance $main (instantiate $main-module"#
    );
    let fixups = format!(
        r#"(core module $fixups-module
             (import "shim" "table" (table 1 1 funcref))
             (import "host" "get" (func $get (param i32 i32 i32 i32)))
             {fill})
           (core instance (instantiate $fixups-module
             (with "shim" (instance $shim))
             (with "host" (instance (export "get" (func $get))))))
           (type $body "#
    );
    let mut shimmed = text;
    for (from, to) in [
        ("(core instance $main (instantiate $main-module", &*shim),
        (
            "(export \"get\" (func $get))",
            "(export \"get\" (func $shim \"get\"))",
        ),
        ("(type $body ", &*fixups),
    ] {
        assert!(shimmed.contains(from));
        shimmed = shimmed.replacen(from, to, 1);
    }
    binary(&shimmed)
}

fn count_tables(module: &[u8]) -> u32 {
    let mut payloads = wasmparser::Parser::new(0).parse_all(module);
    let count = payloads.find_map(|payload| match payload.unwrap() {
        wasmparser::Payload::TableSection(section) => Some(section.count()),
        _ => None,
    });
    count.unwrap_or(0)
}

#[test]
fn what_only_calls_through_a_table_is_left_out_where_that_changes_nothing() {
    let text = Text {
        call: "(call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64)) (call $dump)
               (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    };
    let parameters = "(local.get 0) (local.get 1) (local.get 2) (local.get 3)";
    let plain = format!("{parameters} (call_indirect (type $get) (i32.const 0))");
    let fill = "(elem (i32.const 0) func $get)";
    let other = "(func $other (param i32 i32 i32 i32)) (elem (i32.const 0) func $other)";
    let swapped = "(local.get 0) (local.get 2) (local.get 1) (local.get 3) \
                   (call_indirect (type $get) (i32.const 0))";
    // One table belongs to the application.
    for (shim, fill, tables, is_trap) in [
        (&*plain, fill, 1, false),
        // Filled twice: the last element wins.
        (
            &plain,
            "(elem (i32.const 0) func $get) (elem (i32.const 0) func $get)",
            1,
            false,
        ),
        // Filled by a member with code, or not at all.
        (&plain, other, 2, false),
        (&plain, "", 2, true),
        // A call with different arguments.
        (swapped, fill, 2, true),
        // A type that differs from the entry's.
        (
            "(call_indirect (param i32) (local.get 0) (i32.const 0))",
            fill,
            2,
            true,
        ),
    ] {
        let bytes = shimmed(text, shim, fill);
        let Ok(Linked::Program(module)) = fuse::link(&bytes) else {
            panic!("it can be called directly");
        };
        assert_eq!(count_tables(&module), tables, "{shim} {fill}");
        let [direct, component] = both(&bytes).map(|program| answer(&program, INPUT, 1));
        assert_eq!(direct, component);
        assert_eq!(
            direct.failure.is_some(),
            is_trap,
            "{shim} {fill}: {direct:?}"
        );
    }
}

#[test]
fn a_destructor_that_is_a_function_of_the_hosts_behind_a_table_is_called() {
    let text = Text {
        call: "(call $drop (call $new (local.get 0))) (call $note (call $new (i32.const 5)))
               (call $note (call $new (i32.const 5))) (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    };
    let shim = r#"(core module $dtor-module
        (type $dtor (func (param i32)))
        (table (export "table") 1 1 funcref)
        (func (export "dtor") (type $dtor)
          (local.get 0) (call_indirect (type $dtor) (i32.const 0))))
      (core instance $dtor (instantiate $dtor-module))
      (type $blocks (resource (rep i32) (dtor (core func $dtor "dtor"))))"#;
    let fill = r#"(core module $fill-module
        (import "dtor" "table" (table 1 1 funcref))
        (import "host" "drop" (func $drop (param i32)))
        (elem (i32.const 0) func $drop))
      (core instance (instantiate $fill-module
        (with "dtor" (instance $dtor))
        (with "host" (instance (export "drop" (func $drop-environ))))))
      (type $body "#;
    let resource = r#"(type $blocks (resource (rep i32) (dtor (core func $memory "destroy"))))"#;
    let mut text = text.text();
    for (from, to) in [(resource, shim), ("(type $body ", fill)] {
        assert!(text.contains(from));
        text = text.replacen(from, to, 1);
    }
    let [direct, component] = both(&binary(&text)).map(|program| answer(&program, INPUT, 1));
    assert_eq!(direct, component);
    // The environ's handle is free again, and the one after it comes next.
    assert_eq!((direct.body[0], direct.body[4]), (1, 3));
}

/// Asserts that an application with one change stays a component, and responds.
#[track_caller]
fn stays_a_component(from: &str, to: &str) {
    let text = Text {
        call: "(call $ok (local.get 1)) (call $whole)",
        ..TEXT
    }
    .text();
    assert!(text.contains(from), "{from}");
    let bytes = binary(&text.replacen(from, to, 1));
    let engine = Engine::compiling_here(&Budget::default(), None).unwrap();
    let program = engine.load(&bytes).unwrap();
    assert!(!program.is_direct(), "{to}");
    assert_eq!(answer(&program, INPUT, 1).failure, None, "{to}");
}

#[test]
fn what_has_more_than_the_gateway_stays_a_component() {
    let clock = r#"(component
      (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (export "now" (func (result u64)))))
      (core func $now (canon lower (func $clock "now")))"#;
    stays_a_component(
        "(component",
        &clock.replace("(core func $now (canon lower (func $clock \"now\")))", ""),
    );
    let used = "(core module $clock-module (import \"a\" \"now\" (func (result i64))))
      (core instance (instantiate $clock-module
        (with \"a\" (instance (export \"now\" (func $now))))))";
    stays_a_component("(component", &format!("{clock}{used}"));
}

#[test]
fn what_is_not_of_the_usual_shape_stays_a_component() {
    for (from, to) in [
        // A start function.
        (
            "(func $reenter",
            "(func $begin) (start $begin) (func $reenter",
        ),
        // Values in another encoding.
        (
            "(func $gateway \"[method]environ.get\")",
            "(func $gateway \"[method]environ.get\") string-encoding=utf16",
        ),
        // Two memories.
        (
            "(core instance $memory (instantiate $memory-module))",
            "(core module $other (memory 1)) (core instance (instantiate $other))
             (core instance $memory (instantiate $memory-module))",
        ),
        // Two allocation functions.
        (
            "(core func $variables (canon lower (func $gateway \"[method]environ.variables\")
    (memory $mem) (realloc $realloc)))",
            "(core module $second (func (export \"realloc\") (param i32 i32 i32 i32) (result i32)
               i32.const 4096))
             (core instance $second (instantiate $second))
             (core func $variables (canon lower (func $gateway \"[method]environ.variables\")
               (memory $mem) (realloc (core func $second \"realloc\"))))",
        ),
        // A core module that is instantiated twice.
        (
            "(core instance $main (instantiate $main-module",
            "(core module $nothing) (core instance (instantiate $nothing))
             (core instance (instantiate $nothing))
             (core instance $main (instantiate $main-module",
        ),
    ] {
        stays_a_component(from, to);
    }
}
