//! An event stream without an end.

use std::thread;
use std::time::Duration;

use wasgi_sdk::{Body, Environ, Result, StartResponse};

/// The pause between two events.
const PAUSE: Duration = Duration::from_millis(20);

#[wasgi_sdk::handler]
fn application(_: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &[("Content-Type", "text/event-stream")])?;
    Ok(Body::blocks((1u64..).map(|number| {
        thread::sleep(PAUSE);
        format!("data: {number}\n\n")
    })))
}
