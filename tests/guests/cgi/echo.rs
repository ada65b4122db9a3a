//! A command that echoes its body, block by block as it arrives.

use std::io::{Read, Write};

fn main() {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(b"Content-Type: application/octet-stream\n\n")
        .expect("written");
    let mut stdin = std::io::stdin().lock();
    let mut block = vec![0; 16 * 1024];
    loop {
        let length = stdin.read(&mut block).expect("the body");
        if length == 0 {
            break;
        }
        stdout.write_all(&block[..length]).expect("written");
        stdout.flush().expect("flushed");
    }
}
