//! A command that writes its percent-decoded query and nothing else. With `?exit=3&output=…` it
//! writes that output and exits with that status.

use std::io::Write;

fn main() {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let output = decode(value("output").unwrap_or_default());
    let mut stdout = std::io::stdout();
    stdout.write_all(&output).expect("written");
    stdout.flush().expect("flushed");
    if let Some(status) = value("exit").and_then(|status| status.parse().ok()) {
        std::process::exit(status);
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => b'?',
                }
            }
            other => other,
        };
        decoded.push(byte);
    }
    decoded
}
