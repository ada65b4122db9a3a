//! A `wasi:http` handler that attempts what its query asks for, with hosts that may be granted.

#[path = "../outbound/attempt.rs"]
mod attempt;
#[path = "../attempting/wasi_http.rs"]
mod wasi_http;

fn main() {}
