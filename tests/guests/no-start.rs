//! Never calls `start_response`. The body is one block, or `?blocks`, or `?empty`.

use wasgi_sdk::{Body, Environ, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, _start_response: StartResponse) -> Body {
    let query = environ.query();
    match query.get("blocks") {
        Some(_) => Body::blocks(["one", "two"]),
        None if query.get("empty").is_some() => Body::empty(),
        None => Body::from("body"),
    }
}
