//! Greets a visitor, by name if the query has one: `?name=Ada`.

use wasgi_sdk::{Request, RequestExt};

#[wasgi_sdk::handler]
fn greet(request: Request) -> String {
    let query = request.query();
    let name = query.get("name").unwrap_or("world");
    format!("Hello, {name}!\n")
}
