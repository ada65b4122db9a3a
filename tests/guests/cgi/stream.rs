//! A command that writes as many lines as its query says, with a pause before each, and logs each
//! of them.

use std::io::Write;
use std::time::Duration;

fn main() {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let lines: u32 = query.parse().unwrap_or(3);
    let mut stdout = std::io::stdout();
    stdout
        .write_all(b"Content-Type: text/plain\n\n")
        .expect("written");
    for number in 1..=lines {
        std::thread::sleep(Duration::from_millis(20));
        eprintln!("line {number}");
        // A client that has disconnected is not a failure.
        let written = writeln!(stdout, "line {number}").and_then(|()| stdout.flush());
        if written.is_err() {
            return;
        }
    }
}
