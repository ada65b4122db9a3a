//! Parsing a request's head, and a complete turn of the protocol core.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use wasgi_benches::{BROWSER, SHORT};
use wasgi_http1::{BodyLength, Connection, Incoming, Limits, RequestHead, ResponseHead, Stamp};

fn parse(c: &mut Criterion) {
    let limits = Limits::default();
    for (name, request) in [("short", SHORT), ("browser", BROWSER)] {
        c.bench_function(&format!("head/{name}"), |b| {
            b.iter(|| RequestHead::parse(black_box(request), &limits));
        });
    }
}

fn turn(c: &mut Criterion) {
    let now = Instant::now();
    let limits = Arc::new(Limits {
        requests_per_connection_count: u32::MAX,
        ..Limits::default()
    });
    for (name, request) in [("short", SHORT), ("browser", BROWSER)] {
        let mut connection = Connection::new(limits.clone(), now);
        let mut out = Vec::new();
        c.bench_function(&format!("turn/{name}"), |b| {
            b.iter(|| {
                out.clear();
                connection.receive(request, now);
                let Some(Incoming::Request(_)) = connection.next_request(now) else {
                    panic!("no request");
                };
                let fields = [("Content-Type", &b"text/plain"[..])];
                let head = ResponseHead {
                    status: 200,
                    reason: b"OK",
                    fields: fields.into_iter(),
                };
                let stamp = Stamp {
                    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
                    server: Some("wasgi"),
                };
                let skipped =
                    connection.start_response(&head, BodyLength::Known(5), &stamp, &mut out);
                let frame = connection.frame(5, &mut out);
                let finish = connection.finish_response(&mut out);
                let _ = black_box((skipped.count, frame, finish, connection.next_step(now)));
            });
        });
    }
}

criterion_group!(benches, parse, turn);
criterion_main!(benches);
