//! Calls every function that guests can import, with the largest possible values.

mod guest;
mod wit;

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::component::Component;
use wit_component::StringEncoding;

use super::*;
use crate::engine::code_file::CodeFile;
use crate::engine::compiled::Compiled;
use crate::engine::{Call, Engine, HandlerKind, Program};
use crate::gateway::{Environ, Exchange};
use crate::http1::{Limits, RequestHead};
use crate::policy::Policy;
use guest::{Shape, VALUES, guest, returning, trapping};

const KINDS: [HandlerKind; 3] = [
    HandlerKind::Gateway,
    HandlerKind::Command,
    HandlerKind::WasiHttp,
];

/// The number of polls of a call that would wait forever.
const POLLS_COUNT: usize = 10;

/// The outcome of running a guest.
struct Outcome {
    /// Why it gave no response; empty if it gave one or is waiting.
    failure: String,
    /// The processor time that it took.
    cpu_time: Duration,
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::compiling_here(&Budget::default(), None).expect("an engine"))
}

/// Loads a guest. An application that is called directly is also loaded as a component.
fn programs(bytes: &[u8]) -> Vec<Program> {
    let engine = engine();
    let program = engine.load(bytes).expect("it loads");
    if !program.is_direct() {
        return vec![program];
    }
    let component = Component::new(&engine.first.engine, bytes).expect("a component");
    let file = CodeFile::from_compiled(&Compiled::Component(component)).expect("code");
    let component = engine.program(file);
    vec![program, component.expect("it loads")]
}

fn run(program: &Program) -> Outcome {
    let budget = Budget::default();
    let exchange = Arc::new(Exchange::new(false));
    let policy = Policy::new(budget, 1);
    let mut call = Call::new(program, "test".into(), environ(), exchange.clone(), policy);
    let mut context = Context::from_waker(Waker::noop());
    let before = cpu_time();
    for _ in 0..POLLS_COUNT {
        if let Poll::Ready(finished) = call.poll(&mut context) {
            let cpu_time = cpu_time() - before;
            let failure = finished.failure.as_ref().map(ToString::to_string);
            return Outcome {
                failure: failure.unwrap_or_default(),
                cpu_time,
            };
        }
        drop(exchange.take_output());
        exchange.sent();
    }
    Outcome {
        failure: String::new(),
        cpu_time: cpu_time() - before,
    }
}

fn environ() -> Environ {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let parsed = RequestHead::parse(request, &Limits::default());
    let (head, _) = parsed.expect("no rejection").expect("a whole head");
    Environ::local(Arc::new(head))
}

/// Returns the processor time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Values that no guest can obtain: files, sockets, responses from other servers, and errors of
/// streams that don't fail at once.
const NOT_TO_BE_HAD: [&str; 6] = [
    "wasi:filesystem/types@",
    "wasi:sockets/",
    "wasi:io/error@",
    "[method]incoming-response.",
    "[method]future-incoming-response.",
    "#http-error-code",
];

#[test]
fn a_call_that_passes_all_of_memory_is_refused_before_it_is_read() {
    let mut tried = 0;
    for kind in KINDS {
        let world = wit::world(kind);
        for (number, import) in world.functions.iter().enumerate() {
            let name = import.name();
            let is_to_be_had = !NOT_TO_BE_HAD.iter().any(|part| name.contains(part));
            let guest = guest(kind, number, Shape::HUGE, true);
            assert!(guest.is_some() || !is_to_be_had, "{name}");
            for program in guest.iter().flat_map(|guest| programs(guest)) {
                let failure = run(&program).failure;
                if failure.contains("not_to_be_had") {
                    assert!(!is_to_be_had, "{name}");
                    continue;
                }
                assert!(!failure.contains("too_long"), "{name}: {failure}");
                let is_refused = failure.contains("passed more than 1024 KiB to the host");
                let mut params = import.function.params.iter();
                let has_length = params.any(|param| world.has_length(&param.ty));
                assert_eq!(is_refused, has_length, "{name}: {failure}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried} calls");
}

/// Returns an application in which a function's result in memory consists of these words.
fn returned(function: &str, words: &[u32]) -> String {
    let data: String = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let bytes = returning(function, &data);
    let failures: Vec<_> = programs(&bytes)
        .iter()
        .map(|program| run(program).failure)
        .collect();
    assert_eq!(failures.len(), 2, "directly, and as a component");
    assert_eq!(without_stack(&failures[0]), without_stack(&failures[1]));
    failures[0].clone()
}

fn without_stack(failure: &str) -> &str {
    failure.lines().next().unwrap_or_default()
}

#[test]
fn what_an_application_returns_has_a_limit_either_way() {
    let most = returned_bytes(&Budget::default()) as u32;
    let text = VALUES as u32;
    for (function, before) in [("call", [0, 0]), ("[method]blocks.next", [0, 1])] {
        let block = |length| returned(function, &[before[0], before[1], text, length]);
        let taken = block(most);
        assert_eq!(taken, "", "{function}");
        for length in [most + 1, 100 << 20] {
            let refused = block(length);
            assert!(
                refused.contains("more than 8192 KiB (budget.block)"),
                "{refused}"
            );
        }
    }
    for function in ["call", "[method]blocks.next", "[method]blocks.close"] {
        let raised = returned(
            function,
            &[1, text, most / 3, text, most / 3, text, most / 3],
        );
        assert!(raised.contains("raised "), "{function}: {raised}");
        assert!(
            raised.len() < 200 * 1024,
            "{function}: {} bytes",
            raised.len()
        );
        let refused = returned(function, &[1, text, most / 3, text, most / 3, text, most]);
        assert!(refused.contains("(budget.block)"), "{function}: {refused}");
    }
}

/// Uses a mangled C++ name that expands to 2 to the power of 36 words: each parameter is a pair of
/// two of the previous one.
#[test]
fn a_trap_is_told_whatever_the_function_is_called() {
    let mut name = String::from("_Z1f4pairIiiE");
    for digit in ('0'..='9').chain('A'..='Z') {
        name.push_str(&format!("S_IS{digit}_S{digit}_E"));
    }
    for program in programs(&trapping(&name)) {
        let failure = run(&program).failure;
        assert!(failure.contains("unreachable"), "{failure}");
        assert!(failure.contains("_Z1f4pairIiiES_IS0_S0_E"), "{failure}");
        assert!(failure.len() < 4096, "{failure}");
    }
}

/// Prints the time of the slowest calls within the limits. Run it manually:
/// `cargo test -p wasgi --lib -- --ignored --nocapture the_largest_calls`.
#[test]
#[ignore = "figures for people, of a machine that does nothing else"]
fn the_largest_calls_that_are_taken() {
    let mut figures = Vec::new();
    for kind in KINDS {
        let world = wit::world(kind);
        for (number, import) in world.functions.iter().enumerate() {
            let mut add = |shape: Shape, name: &str| {
                if let Some(time) = cost(kind, number, shape) {
                    let name = format!("{kind} {}{name}", import.name());
                    figures.push((time, shape.bytes, name));
                    return true;
                }
                false
            };
            let mut params = import.function.params.iter();
            if !params.any(|param| world.has_length(&param.ty)) {
                add(Shape::HUGE, "");
                continue;
            }
            for (encoding, name) in [
                (StringEncoding::UTF8, ""),
                (StringEncoding::UTF16, " (UTF-16)"),
            ] {
                for word in [1, 0x0101_0101] {
                    let of = |bytes| Shape {
                        bytes,
                        word,
                        encoding,
                    };
                    let most = call_bytes(&Budget::default()) as u64;
                    // List entries count for more than their size in the guest's memory.
                    let _ = [1, 2, 3, 4, 6, 8, 12, 16]
                        .iter()
                        .any(|part| add(of(most / part / 16 * 16), name));
                }
            }
        }
    }
    figures.sort();
    for (time, bytes, name) in figures {
        let milliseconds = time.as_secs_f64() * 1e3;
        println!("{milliseconds:8.3} ms {:8} KiB  {name}", bytes >> 10);
    }
}

/// Returns the processor time of one call; `None` if it exceeds a limit or is impossible.
fn cost(kind: HandlerKind, number: usize, shape: Shape) -> Option<Duration> {
    let with = programs(&guest(kind, number, shape, true)?);
    let without = programs(&guest(kind, number, shape, false)?);
    let times = with.iter().zip(&without).map(|(with, without)| {
        let failure = run(with).failure;
        if failure.contains("KiB to the host") || failure.contains("not_to_be_had") {
            return None;
        }
        let least = |program: &Program| (0..3).map(|_| run(program).cpu_time).min();
        Some(least(with)?.saturating_sub(least(without)?))
    });
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[test]
fn what_is_cut_is_not_formatted() {
    let written = Cell::new(0);
    let endless = fmt::from_fn(|f| {
        loop {
            written.set(written.get() + 1);
            f.write_str("é")?;
        }
    });
    assert_eq!(limited(&endless, 7), "ééé");
    assert_eq!(written.get(), 4);
    assert_eq!(limited("abc", 3), "abc");
    assert_eq!(limited("abc", 2), "ab");
}

#[test]
fn a_line_has_every_cause_and_no_stack() {
    let error = wasmtime::Error::msg("the\ncause");
    let error = error.context(format!("{STACK_HEADING}\n 0: a!b"));
    let error = error.context("what was done");
    assert_eq!(line(&error), "what was done: the cause");
    assert_eq!(cause(&error), "the cause");
    let long = wasmtime::Error::msg("x".repeat(1 << 20));
    assert_eq!(line(&long).len(), ERROR_BYTES);
}
