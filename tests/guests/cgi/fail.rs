//! A command that fails in the way that its query names: at once or, for a path of `/late`, after a
//! part of its response.

use std::io::Write;
use std::time::Duration;

fn main() {
    let how = std::env::var("QUERY_STRING").unwrap_or_default();
    if std::env::var("PATH_INFO").is_ok_and(|path| path == "/late") {
        print!("Content-Type: text/plain\n\nbegun");
        std::io::stdout().flush().expect("flushed");
        // Waits until the output has been sent.
        std::thread::sleep(Duration::from_millis(20));
    }
    match how.as_str() {
        "trap" => std::process::abort(),
        "panic" => panic!("as it was asked to"),
        "loop" => spin(),
        "memory" => fill_memory(),
        "sleep" => std::thread::sleep(Duration::from_secs(600)),
        "exit" => std::process::exit(3),
        _ => {}
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn fill_memory() -> ! {
    let mut blocks = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1_u8; 1024 * 1024]));
    }
}
