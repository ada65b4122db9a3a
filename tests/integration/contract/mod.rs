//! The rules of `docs/contract.md`: each test is named after a rule and quotes it.

mod body;
mod environ;
mod input;
mod start_response;

use crate::support::response::Response;
use crate::support::server::Server;

/// Sends a GET, and another request on the same connection: a fault in the first response must not
/// affect the second.
#[track_caller]
fn get_and_go_on(server: &Server, target: &str) -> Response {
    let mut client = server.connect();
    let response = client.get(target);
    assert_eq!(client.get("/counter").text(), "1", "after {target}");
    response
}
