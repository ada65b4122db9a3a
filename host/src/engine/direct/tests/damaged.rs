//! Applications in files with one bit changed.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Component;

use super::{BLOCKS, INPUT, Outcome, Text, answer_with};
use crate::engine::Engine;
use crate::engine::code_file::CodeFile;
use crate::engine::compiled::Compiled;
use crate::gateway::Failure;
use crate::policy::{Budget, Policy};

/// An application that uses each feature, with one bit changed: if it can still be called directly,
/// it behaves the same as the component.
#[test]
fn what_is_damaged_is_damaged_alike() {
    const CHANGES: usize = 300;
    let text = Text {
        call:
            "(call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64)) (call $dump)
               (call $variables (local.get 0) (i32.const 64)) (call $dump)
               (call $read (local.get 0) (i64.const 3) (i32.const 64)) (call $dump)
               (call $ok (local.get 1))
               (call $drop-environ (local.get 0))
               (call $write (local.get 1) (i32.const 392) (i32.const 7) (i32.const 64))
               (call $result (i32.const 0) (i32.const 1) (call $new (i32.const 500)) (i32.const 0))",
        ..BLOCKS
    };
    let bytes = text.binary();
    let budget = Budget {
        cpu_time: Duration::from_millis(20),
        ..Budget::default()
    };
    let engine = Engine::compiling_here(&budget, None).unwrap();
    let ticking = Arc::new(());
    let (weak, ticked) = (Arc::downgrade(&ticking), engine.clone());
    // Ends programs that now compute forever.
    std::thread::spawn(move || {
        while weak.strong_count() > 0 {
            std::thread::sleep(Duration::from_millis(1));
            ticked.tick();
        }
    });
    let direct = (0..CHANGES)
        .filter(|change| {
            let mut bytes = bytes.clone();
            let place = change * bytes.len() / CHANGES;
            let bit = change % 8;
            bytes[place] ^= 1 << bit;
            is_alike(
                &engine,
                &bytes,
                budget,
                &format!("bit {bit} of byte {place}"),
            )
        })
        .count();
    drop(ticking);
    assert!(direct > CHANGES / 10, "{direct} could be called directly");
}

/// Asserts that a file behaves the same either way, if it can be called directly. Returns whether
/// it can.
fn is_alike(engine: &Engine, bytes: &[u8], budget: Budget, change: &str) -> bool {
    let Ok(direct) = engine.load(bytes) else {
        return false;
    };
    if !direct.is_direct() {
        return false;
    }
    let component = Component::new(&engine.first.engine, bytes).expect(change);
    let component =
        engine.program(CodeFile::from_compiled(&Compiled::Component(component)).unwrap());
    let component = component.expect(change);
    let [direct, component] = [direct, component].map(|program| {
        let policy = Policy::new(budget, 1);
        answer_with(&program, INPUT, policy)
    });
    // How far it gets within its time varies.
    let is_late = |outcome: &Outcome| matches!(outcome.failure, Some(Failure::CpuTime(_)));
    if !(is_late(&direct) || is_late(&component)) {
        assert_eq!(direct, component, "{change}");
    }
    true
}
