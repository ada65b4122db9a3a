//! A complete request to a handler, from the received bytes to the sent bytes, without sockets:
//! head, path, route, new instance, call, response.
//!
//! Uses the demo handlers, so run `cargo xtask build` first. It doesn't include a connection's
//! buffers and deadlines, and the log.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use wasgi::engine::{Call, Engine, Program};
use wasgi::gateway::{Environ, Exchange, Head};
use wasgi::policy::{Budget, Policy};
use wasgi::router::{RequestPath, Route, Table};
use wasgi_benches::{BROWSER, SHORT};
use wasgi_http1::{
    BodyLength, Connection, Finish, Incoming, Limits, RequestHead, ResponseHead, Stamp,
};

/// The field values that a server adds.
const STAMP: Stamp<'static> = Stamp {
    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    server: Some("wasgi"),
};

fn dispatch(c: &mut Criterion) {
    let budget = Budget::default();
    let policy = Policy::new(budget, 1);
    let engine = Engine::compiling_here(&budget, None).expect("an engine");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../handlers/hello.wasm");
    let bytes = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask build`", file.display()));
    let program = engine.load(&bytes).expect("a handler");
    // One handler, with the requests of a load generator and of a browser.
    let mut table = Table::new();
    for route in ["hello", "users/[id]"] {
        let route = Route::parse(route).expect("a route");
        table.insert(route, program.clone()).expect("no conflict");
    }
    let limits = Arc::new(Limits {
        requests_per_connection_count: u32::MAX,
        ..Limits::default()
    });
    let now = Instant::now();
    for (name, request) in [("short", SHORT), ("browser", BROWSER)] {
        let mut connection = Connection::new(limits.clone(), now);
        let mut out = Vec::new();
        c.bench_function(&format!("dispatch/{name}"), |b| {
            b.iter(|| {
                out.clear();
                connection.receive(request, now);
                let Some(Incoming::Request(head)) = connection.next_request(now) else {
                    panic!("no request");
                };
                answer(&table, head, &policy, &mut connection, &mut out);
                let _ = black_box(connection.next_step(now));
            });
        });
        assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n"), "{name}");
    }
}

fn answer(
    table: &Table<Program>,
    head: Arc<RequestHead>,
    policy: &Policy,
    connection: &mut Connection,
    out: &mut Vec<u8>,
) {
    let path = RequestPath::parse(head.path()).expect("a path");
    let found = table.find(&path).expect("a route");
    let (script_name, path_info) = path.split_after(found.taken);
    let environ = Environ {
        script_name: script_name.to_vec(),
        path_info: path_info.to_vec(),
        args: found.args(&path),
        ..Environ::local(head)
    };
    let exchange = Arc::new(Exchange::new(false));
    let mut call = Call::new(
        found.value,
        "hello".into(),
        environ,
        exchange.clone(),
        policy.clone(),
    );
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(finished) = call.poll(&mut context) else {
        panic!("the handler waits")
    };
    assert_eq!(finished.failure, None);
    let output = exchange.take_output();
    send_head(&output.head.expect("a head"), connection, out);
    for block in output.blocks {
        let frame = connection.frame(block.len(), out);
        out.extend_from_slice(&block[..frame.take]);
        out.extend_from_slice(frame.suffix);
    }
    assert!(output.ended);
    assert!(matches!(connection.finish_response(out), Finish::Whole));
}

fn send_head(head: &Head, connection: &mut Connection, out: &mut Vec<u8>) {
    let fields = head.fields.iter();
    let response = ResponseHead {
        status: head.status,
        reason: &head.reason,
        fields: fields.map(|(name, value)| (name.as_str(), value.as_slice())),
    };
    let length = head.length.map_or(BodyLength::Unknown, BodyLength::Known);
    // The result matters only for HEAD requests.
    let _ = connection.start_response(&response, length, &STAMP, out);
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
