//! A `wasi:http` handler that attempts what its query asks for.

#[path = "../../../guests/grants/attempt.rs"]
mod attempt;
#[path = "../attempting/wasi_http.rs"]
mod wasi_http;

fn main() {}
