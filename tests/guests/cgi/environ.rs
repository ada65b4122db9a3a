//! A command that lists its environment and arguments, and tries to access files and the network.

use std::io::Read;

fn main() {
    println!("Content-Type: text/plain; charset=utf-8\n");
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("{name}={value}");
    }
    let arguments: Vec<_> = std::env::args().collect();
    println!("arguments: {arguments:?}");
    println!("file: {}", std::fs::read("/etc/passwd").is_ok());
    println!("folder: {}", std::fs::read_dir("/").is_ok());
    let connected = std::net::TcpStream::connect(("127.0.0.1", 1)).map_err(|error| error.kind());
    println!("network: {connected:?}");
    let mut body = Vec::new();
    let read = std::io::stdin().read_to_end(&mut body);
    println!("body: {:?} bytes", read.ok());
}
