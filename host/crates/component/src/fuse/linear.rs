//! Components with a very large number of one item: the time to fuse them must be linear in their
//! size.
//!
//! Quadratic time would be minutes here. The guard measures the thread's processor time, so that
//! other load on the machine doesn't count.

use std::fmt::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The limit for each test. Linear time is seconds, quadratic time is minutes.
const GUARD: Duration = Duration::from_secs(40);

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Fuses a component within the time limit.
#[track_caller]
fn fuses(text: &str) -> bool {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let before = processor_time();
    let fused = super::link(&bytes);
    let taken = processor_time() - before;
    println!("{} bytes: {taken:?}", bytes.len());
    assert!(taken < GUARD);
    fused.is_ok()
}

/// Returns one line for each number.
fn lines(count: u32, line: impl Fn(u32) -> String) -> String {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{}", line(number)).expect("a string");
    }
    text
}

/// Returns a component whose second module imports exports of the first, through `between`.
fn between(exports: &str, between: &str, imports: &str, with: &str) -> String {
    format!(
        r#"(component
          (core module $a (func $f) {exports})
          (core instance $a (instantiate $a))
          {between}
          (core module $b {imports} (func (export "run") (result i32) (i32.const 1)))
          (core instance $b (instantiate $b {with}))
          (func (export "run") (result u32) (canon lift (core func $b "run"))))"#
    )
}

#[test]
fn many_imports_of_many_exports_are_fused() {
    const COUNT: u32 = 40_000;
    let exports = lines(COUNT, |n| format!(r#"(export "{n}" (func $f))"#));
    let named = lines(COUNT, |n| format!(r#"(export "{n}" (func $a "{n}"))"#));
    let named = format!("(core instance $i {named})");
    let imports = lines(COUNT, |n| format!(r#"(import "a" "{n}" (func))"#));
    let with = r#"(with "a" (instance $i))"#;
    assert!(fuses(&between(&exports, &named, &imports, with)));
}

#[test]
fn names_through_nested_instances_take_linear_time() {
    // Close to the maximum number of instances.
    const COUNT: u32 = 900;
    const NAMES: u32 = 40;
    let exports = lines(NAMES, |name| format!(r#"(export "{name}" (func $f))"#));
    let chain = lines(COUNT, |n| {
        let before = match n {
            0 => "$a".to_owned(),
            n => format!("$i{}", n - 1),
        };
        let exports = lines(NAMES, |name| {
            format!(r#"(export "{name}" (func {before} "{name}"))"#)
        });
        format!("(core instance $i{n} {exports})")
    });
    let imports = lines(NAMES, |name| format!(r#"(import "a" "{name}" (func))"#));
    let with = format!(r#"(with "a" (instance $i{}))"#, COUNT - 1);
    assert!(fuses(&between(&exports, &chain, &imports, &with)));
}

#[test]
fn imports_of_component_functions_take_linear_time() {
    const COUNT: u32 = 40_000;
    let lowered = lines(COUNT, |n| {
        format!("(core func $l{n} (canon lower (func $host)))")
    });
    let named = lines(COUNT, |n| format!(r#"(export "{n}" (func $l{n}))"#));
    let imports = lines(COUNT, |n| format!(r#"(import "h" "{n}" (func))"#));
    let text = between(
        "",
        &format!("{lowered} (core instance $i {named})"),
        &imports,
        r#"(with "h" (instance $i))"#,
    );
    let text = text.replacen(
        "(component",
        r#"(component (import "host" (func $host))"#,
        1,
    );
    assert!(fuses(&text));
}

#[test]
fn types_of_modules_and_of_the_component_take_linear_time() {
    const COUNT: u32 = 20_000;
    // Each type encodes a different number in its bits.
    let core = lines(COUNT, |n| {
        let params: Vec<_> = (0..16)
            .map(|bit| match n >> bit & 1 {
                0 => "i32",
                _ => "i64",
            })
            .collect();
        format!("(type (func (param {})))", params.join(" "))
    });
    let parsed = lines(COUNT, |n| {
        format!(r#"(type (record (field "a" u32) (field "b{n}" string)))"#)
    });
    assert!(fuses(&between(&core, &parsed, &core, "")));
}
