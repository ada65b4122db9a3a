//! Tests how often applications with long copies can be made to yield.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{TEXT, Text, as_component, binary, environ};
use crate::engine::{Call, Engine, Program};
use crate::gateway::Exchange;
use crate::policy::{Budget, Policy};

/// The size of one copy, in bytes: it touches more than 100 MB, twice.
const BYTES: u32 = 50 << 20;

/// The number of copies, and the minimum number of yields: several per copy. An undivided copy
/// yields once, plus before the first and after the last.
const COPIES: usize = 8;
const YIELDS: usize = 3 * COPIES;

const BEGIN: &str = "(drop (memory.grow (i32.const 1800))) (call $ok (local.get 1))";

/// Runs a request while the epoch advances. Returns the number of polls and the duration of the
/// longest.
fn polls(engine: &Engine, program: &Program) -> (usize, Duration) {
    let exchange = Arc::new(Exchange::new(true));
    exchange.end_body(Ok(()));
    let budget = Budget {
        cpu_time: Duration::from_secs(600),
        ..Budget::default()
    };
    let policy = Policy::new(budget, 1);
    let mut call = Call::new(program, "test".into(), environ(), exchange.clone(), policy);
    let mut context = Context::from_waker(Waker::noop());
    let (mut count, mut longest) = (0, Duration::ZERO);
    let ticking = Arc::new(());
    let (weak, ticked) = (Arc::downgrade(&ticking), engine.clone());
    std::thread::spawn(move || {
        while weak.strong_count() > 0 {
            std::thread::sleep(Duration::from_micros(200));
            ticked.tick();
        }
    });
    loop {
        count += 1;
        let before = Instant::now();
        let polled = call.poll(&mut context);
        longest = longest.max(before.elapsed());
        match polled {
            Poll::Ready(finished) => {
                assert!(finished.failure.is_none(), "{:?}", finished.failure);
                return (count, longest);
            }
            Poll::Pending => {
                exchange.take_output();
                exchange.sent();
            }
        }
    }
}

#[test]
fn what_copies_long_yields_between_pieces() {
    for copies in [
        format!("(memory.fill (i32.const 65536) (i32.const 7) (i32.const {BYTES}))"),
        format!(
            "(memory.copy (i32.const {}) (i32.const 65536) (i32.const {BYTES}))",
            (1 << 16) + BYTES
        ),
        format!("(memory.copy (i32.const 65537) (i32.const 65536) (i32.const {BYTES}))"),
    ] {
        let text = Text {
            call: format!("{BEGIN} {} (call $whole)", copies.repeat(COPIES)).leak(),
            ..TEXT
        };
        let engine = Engine::compiling_here(&Budget::default(), None).unwrap();
        let program = engine.load(&text.binary()).unwrap();
        let (count, longest) = polls(&engine, &program);
        println!("{copies}: {count} polls, the longest of {longest:?}");
        assert!(count >= YIELDS, "{count}");
    }
}

#[test]
fn what_copies_long_in_a_component_yields_too() {
    let fill = "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 52428800))";
    let text = Text {
        call: format!("{BEGIN} {} (call $whole)", fill.repeat(COPIES)).leak(),
        ..TEXT
    };
    // Two instances, so that it is not called directly.
    let bytes = binary(&text.text().replacen(
        "(core instance $memory",
        "(core module $nothing) (core instance (instantiate $nothing))
         (core instance (instantiate $nothing)) (core instance $memory",
        1,
    ));
    let engine = Engine::compiling_here(&Budget::default(), None).unwrap();
    let program = engine.load(&bytes).unwrap();
    assert!(!program.is_direct());
    let (count, _) = polls(&engine, &program);
    assert!(count >= YIELDS, "{count}");
    // Without splitting copies.
    let component = as_component(&engine, &text.binary());
    let (count, longest) = polls(&engine, &component);
    println!("whole: {count} polls, the longest of {longest:?}");
    assert!(count < YIELDS, "{count}");
}
