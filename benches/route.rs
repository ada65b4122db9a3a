//! Finding the route of a path.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wasgi::router::{RequestPath, Route, Table};

fn route(c: &mut Criterion) {
    let mut table = Table::new();
    for name in [
        "hello",
        "api/users",
        "users/[id]",
        "files/[...rest]",
        "index",
    ] {
        let route = Route::parse(name).expect("a route");
        table.insert(route, name).expect("no conflict");
    }
    for path in ["/hello", "/users/7", "/files/a/b/c.txt", "/nothing/here"] {
        c.bench_function(&format!("route{path}"), |b| {
            b.iter(|| {
                let path = RequestPath::parse(black_box(path.as_bytes())).expect("a path");
                table.find(&path).map(|found| *found.value)
            });
        });
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
