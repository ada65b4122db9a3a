//! Sends `?n=` blocks of text, each of `?size=` bytes, with an entity-tag. `?length=` becomes the
//! Content-Length, and `?control=` the Cache-Control.

use wasgi_sdk::{Body, Environ, Result, StartResponse};

const LINE: &str = "A line of text, as there are many.\n";

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let query = environ.query();
    let number = |name, default| {
        query
            .get(name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (blocks, size) = (number("n", 1), number("size", 4096));
    let mut fields = vec![("Content-Type", "text/plain"), ("ETag", "\"1\"")];
    for (key, name) in [("length", "Content-Length"), ("control", "Cache-Control")] {
        if let Some(value) = query.get(key) {
            fields.push((name, value));
        }
    }
    start_response.call("200 OK", &fields)?;
    let block: String = LINE.chars().cycle().take(size).collect();
    if blocks == 1 {
        return Ok(Body::from(block));
    }
    Ok(Body::blocks((0..blocks).map(move |_| block.clone())))
}
