//! Handlers that attempt what their query asks for, and what is granted to them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::command::code_cache;
use super::process::Process;
use super::server::Server;
use super::site::Site;

/// The settings of tests in which many requests wait for each other: what the slowest machine
/// needs.
pub(crate) const PATIENT_BUDGET: &str = "[budget]\ncpu-time = \"60s\"\nwall-time = \"150s\"\n";

/// Replaces the site's configuration as a whole, so that a server never sees a part of it.
pub(crate) fn configure(site: &Site, text: &str) {
    let aside = site.path().join("aside.toml");
    fs::write(&aside, text).expect("written");
    fs::rename(aside, site.path().join("wasgi.toml")).expect("renamed");
}

/// Returns the text of a handler's response, whose status must be 200.
#[track_caller]
pub(crate) fn ask(server: &Server, handler: &str, query: &str) -> String {
    let response = server.get(&format!("/{handler}?{query}"));
    assert_eq!(response.status(), 200, "{handler}?{query}");
    response.text().to_owned()
}

/// Returns the text of a response with status 200, and `None` if the connection or the handler
/// fails, as they do while processes are killed.
pub(crate) fn try_ask(addr: SocketAddr, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}

/// Starts a server whose limit on open files is `count`.
pub(crate) fn serve_with_descriptors(site: &Site, count: usize) -> Server {
    // A shell lowers the limit for the server only.
    let mut limited = Command::new("sh");
    limited.arg("-c");
    limited.arg(format!("ulimit -n {count} && exec \"$0\" \"$@\""));
    limited.arg(env!("CARGO_BIN_EXE_wasgi"));
    limited.args(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    limited.arg(code_cache()).arg(site.path());
    Server::started(Process::start(&mut limited))
}
