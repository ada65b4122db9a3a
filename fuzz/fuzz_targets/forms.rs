//! An application that does what the input says, as a component, fused, and called directly: nobody
//! can tell which is which.
//!
//! The application is that of the engine's own tests, with calls of the gateway in place of its
//! marks, and with a module of wasm-smith's beside it, which has its memory and which it calls.
//! Then its functions are called by the host in an order that the input says, too.
#![no_main]

use std::fmt::Write;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use wasgi::config::Budget;
use wasgi::engine::Engine;
use wasgi::engine::fuzzing::{Forms, Step};

/// Calls of one function's at most.
const CALLS: usize = 12;

/// What a module of wasm-smith's may compute in each of its functions.
const FUEL: u32 = 200;

/// What it may import, and what it has to export.
const IMPORTS: &str = r#"(module
  (import "memory" "memory" (memory 1))
  (import "memory" "table" (table 6 funcref))
  (import "memory" "note" (func (param i32))))"#;
const EXPORTS: &str = r#"(module
  (func (export "f0")) (func (export "f1") (param i32) (result i32) unreachable))"#;

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::compiling_here(&Budget::default(), None).expect("an engine"));

fuzz_target!(|input: &[u8]| -> Corpus {
    match run(&mut Unstructured::new(input)) {
        Ok(true) => Corpus::Keep,
        Ok(false) | Err(_) => Corpus::Reject,
    }
});

fn run(input: &mut Unstructured<'_>) -> Result<bool> {
    let requests = input.int_in_range(1..=3)?;
    let steps = input.int_in_range(0..=6)?;
    let steps: Vec<Step> = (0..steps)
        .map(|_| {
            let all = [Step::Call, Step::Next, Step::Close, Step::Destroy];
            input.choose(&all).copied()
        })
        .collect::<Result<_>>()?;
    let text = application(input)?;
    let component = match wat::parse_str(&text) {
        Ok(component) => component,
        Err(error) => panic!("{error}\n{text}"),
    };
    let Some(forms) = Forms::of(&ENGINE, &component) else {
        return Ok(false);
    };
    forms.compare(requests, &steps, b"hello");
    Ok(true)
}

/// The application's text.
fn application(input: &mut Unstructured<'_>) -> Result<String> {
    let mut marks = Vec::new();
    for (mark, is_inner) in [("{{realloc}}", true), ("{{after}}", true)] {
        marks.push((mark, calls(input, is_inner)?));
    }
    if input.ratio(7, 8)? {
        marks[0]
            .1
            .push_str("(call $allocate (local.get 2) (local.get 3))");
    } else {
        write!(marks[0].1, "(i32.const {})", address(input)?).expect("a string");
    }
    for mark in ["{{call}}", "{{next}}", "{{close}}"] {
        let start = match mark == "{{call}}" && input.ratio(3, 4)? {
            true => "(call $ok (local.get 1))",
            false => "",
        };
        marks.push((
            mark,
            format!("{}{start}{}", calls(input, false)?, result(input)?),
        ));
    }
    let smith = smith(input)?;
    let instance = r#"(core instance $smith (instantiate $smith-module
      (with "memory" (instance $memory))))"#;
    let mut text = include_str!("../../host/src/engine/direct/tests/application.wat")
        .lines()
        .filter(|line| !line.trim_start().starts_with(";;"))
        .collect::<Vec<_>>()
        .join("\n");
    for (mark, with) in &marks {
        text = text.replace(mark, with);
    }
    let memory = "(core instance $memory (instantiate $memory-module))";
    text = text.replacen(memory, &format!("{memory} {smith} {instance}"), 1);
    for (before, with) in [
        (
            "(import \"host\" \"get\"",
            "(import \"smith\" \"f0\" (func $f0))
             (import \"smith\" \"f1\" (func $f1 (param i32) (result i32)))",
        ),
        (
            "(with \"host\" (instance\n",
            "(with \"smith\" (instance $smith)) ",
        ),
    ] {
        text = text.replacen(before, &format!("{with} {before}"), 1);
    }
    Ok(text)
}

/// A module of wasm-smith's, in words.
fn smith(input: &mut Unstructured<'_>) -> Result<String> {
    let config = wasm_smith::Config {
        available_imports: Some(wat::parse_str(IMPORTS).expect("a module")),
        exports: Some(wat::parse_str(EXPORTS).expect("a module")),
        canonicalize_nans: true,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 100,
        max_funcs: 20,
        max_imports: 10,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..wasm_smith::Config::default()
    };
    let mut module = wasm_smith::Module::new(config, input)?;
    let terminates = module.ensure_termination(FUEL);
    terminates.expect("nothing of it is exported but the functions");
    let text = wasmprinter::print_bytes(module.to_bytes()).expect("a module");
    Ok(text.replacen("(module", "(core module $smith-module", 1))
}

/// Calls of the gateway's and others. Where they are `inner`, in what the host calls meanwhile, the
/// gateway's functions can be had by the table alone.
fn calls(input: &mut Unstructured<'_>, is_inner: bool) -> Result<String> {
    let mut text = String::new();
    let count = match is_inner {
        true => input.int_in_range(0..=2)?,
        false => input.int_in_range(0..=CALLS)?,
    };
    for _ in 0..count {
        text.push_str(&match is_inner {
            true => inner(input)?,
            false => outer(input)?,
        });
    }
    Ok(text)
}

fn inner(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=5)? {
        0 if input.ratio(1, 4)? => {
            format!("(call_indirect (i32.const {}))", input.int_in_range(0..=7)?)
        }
        0 | 1 => format!("(call $note (i32.load (i32.const {})))", address(input)?),
        2 if input.ratio(1, 8)? => "unreachable".to_owned(),
        3 => format!(
            "(drop (memory.grow (i32.const {})))",
            input.int_in_range(0..=3)?
        ),
        4 => format!(
            "(memory.fill (i32.const {}) (i32.const 7) (i32.const {}))",
            address(input)?,
            input.int_in_range(0..=70_000)?
        ),
        _ => "(call $note (local.get 0))".to_owned(),
    })
}

fn outer(input: &mut Unstructured<'_>) -> Result<String> {
    let this = handle(input)?;
    let (name, length) = text(input)?;
    let result = address(input)?;
    Ok(match input.int_in_range(0..=16)? {
        0 => format!("(call $get {this} {name} {length} (i32.const {result})) (call $dump)"),
        1 => format!("(call $variables {this} (i32.const {result})) (call $dump)"),
        2 => format!(
            "(call $read {this} (i64.const {}) (i32.const {result})) (call $dump)",
            input.int_in_range(-1..=7)?
        ),
        3 => format!("(call $write-errors {this} {name} {length})"),
        4 => {
            let is_some = input.int_in_range(0..=2)?;
            let (fields, count) = (address(input)?, input.int_in_range(0..=3)?);
            format!(
                "(call $start {this} {name} {length} (i32.const {fields}) (i32.const {count})
                   (i32.const {is_some}) {name} {length} {name} {length} {name} {length}
                   (i32.const {result})) (call $dump)"
            )
        }
        5 => "(call $ok (i32.const 2)) (call $dump)".to_owned(),
        6 => format!("(call $write {this} {name} {length} (i32.const {result})) (call $dump)"),
        7 => format!("(call $panicked {name} {length} {name} {length} {name} {length})"),
        8 => format!("(call $drop-environ {this})"),
        9 => format!("(call $drop-start {this})"),
        10 => format!("(call $note (call $new (i32.const {result})))"),
        11 => format!("(call $note (call $rep {this}))"),
        12 => format!("(call $drop {this})"),
        13 => "(call $f0)".to_owned(),
        14 => format!("(call $note (call $f1 (i32.const {result})))"),
        15 => format!(
            "(i32.store (i32.const {result}) (i32.const {}))",
            address(input)?
        ),
        _ => inner(input)?,
    })
}

/// What a function of the application's returns.
fn result(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=7)? {
        0 | 1 => "(call $whole)".to_owned(),
        2 => "(call $raise)".to_owned(),
        3 | 4 => {
            "(call $result (i32.const 0) (i32.const 1) (call $new (i32.const 500)) (i32.const 0))"
                .to_owned()
        }
        5 => "(call $result (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))".to_owned(),
        6 => format!(
            "(call $result (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}))",
            input.int_in_range(0..=2)?,
            input.int_in_range(0..=2)?,
            address(input)?,
            input.int_in_range(0..=40)?
        ),
        _ => format!("(i32.const {})", address(input)?),
    })
}

fn handle(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=4)? {
        0 | 1 => "(local.get 0)".to_owned(),
        // Next and close have one parameter.
        _ => format!("(i32.const {})", input.int_in_range(0..=5)?),
    })
}

/// The place and the length of a text.
fn text(input: &mut Unstructured<'_>) -> Result<(String, String)> {
    let (place, length) = match input.int_in_range(0..=7)? {
        0 => (256, 6),
        1 => (272, 6),
        2 => (320, 14),
        3 => (336, 7),
        4 => (344, 10),
        5 => (392, 7),
        _ => (address(input)?, input.int_in_range(0..=200)?),
    };
    Ok((
        format!("(i32.const {place})"),
        format!("(i32.const {length})"),
    ))
}

/// An address that means something, or none.
fn address(input: &mut Unstructured<'_>) -> Result<i32> {
    const PLACES: [i32; 16] = [
        0, 64, 66, 68, 128, 256, 288, 500, 1024, 4096, 65_504, 65_528, 65_535, 65_536, -4, -1,
    ];
    match input.ratio(15, 16)? {
        true => input.choose(&PLACES).copied(),
        false => input.arbitrary(),
    }
}
