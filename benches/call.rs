//! One request in a new instance, without sockets: store, instance, call, reset. Also its parts:
//! the store alone, and a minimal hand-written handler, which shows the cost of an instance. Also
//! new instances on two threads at the same time.
//!
//! Uses the demo handlers, so run `cargo xtask build` first.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use wasgi::engine::{Call, Engine, Program};
use wasgi::gateway::{Environ, Exchange};
use wasgi::policy::{Budget, Policy};
use wasgi_benches::{SHORT, head};

fn call(c: &mut Criterion) {
    let budget = Budget::default();
    let policy = Policy::new(budget, 1);
    let engine = Engine::compiling_here(&budget, None).expect("an engine");
    let load = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../handlers/{name}.wasm"));
        let bytes = std::fs::read(&file)
            .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask build`", file.display()));
        engine.load(&bytes).expect("a handler")
    };
    let hello = load("hello");
    for (name, program) in [("hello", &hello), ("environ", &load("environ"))] {
        c.bench_function(&format!("fresh/{name}"), |b| {
            b.iter(|| once(program, &policy))
        });
    }
    let page = include_str!("../tests/support/page.wat");
    let page = page.replace("{{length}}", "2").replace("{{page}}", "hi");
    let program = engine.load(page.as_bytes()).expect("a handler");
    c.bench_function("instance", |b| b.iter(|| once(&program, &policy)));
    c.bench_function("store", |b| b.iter(|| drop(prepare(&program, &policy))));
    for count in [1, 2] {
        c.bench_function(&format!("threads/{count}"), |b| {
            b.iter_custom(|rounds| on_threads(&hello, &policy, count, rounds));
        });
    }
}

/// Returns the time in which `count` threads make `rounds` calls each. It is that of one thread if
/// they never wait for each other.
fn on_threads(program: &Program, policy: &Policy, count: usize, rounds: u64) -> Duration {
    let start = Barrier::new(count + 1);
    let began = std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                start.wait();
                for _ in 0..rounds {
                    once(program, policy);
                }
            });
        }
        start.wait();
        Instant::now()
    });
    began.elapsed()
}

fn once(program: &Program, policy: &Policy) {
    let (mut call, exchange) = prepare(program, policy);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(finished) = call.poll(&mut context) else {
        panic!("the handler waits")
    };
    assert_eq!(finished.failure, None);
    assert!(exchange.take_output().ended);
}

/// Creates a call that has not started.
fn prepare(program: &Program, policy: &Policy) -> (Call, Arc<Exchange>) {
    let environ = Environ {
        script_name: b"/hello".to_vec(),
        path_info: Vec::new(),
        ..Environ::local(head(SHORT))
    };
    let exchange = Arc::new(Exchange::new(false));
    let call = Call::new(
        program,
        "hello".into(),
        environ,
        exchange.clone(),
        policy.clone(),
    );
    (call, exchange)
}

criterion_group!(benches, call);
criterion_main!(benches);
