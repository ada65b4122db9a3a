//! The chunked coding: the body, the end and the error are the same however the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi_http1::{ChunkedDecoder, Limits, Piece};

/// Returns the body, the rest of the last part, and the verdict.
fn decode(parts: &[&[u8]], max: usize) -> (Vec<u8>, String) {
    let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
    for mut part in parts.iter().copied() {
        loop {
            let before = part.len();
            match decoder.decode(&mut part, max, &Limits::default()) {
                Ok(Piece::Data(data)) => body.extend_from_slice(data),
                Ok(Piece::Incomplete) => break,
                verdict => return (body, format!("{verdict:?}")),
            }
            assert!(part.len() < before);
        }
    }
    (body, String::new())
}

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (at, max, bytes) = input;
    let (before, after) = bytes.split_at(usize::from(at).min(bytes.len()));
    let at_once = decode(&[bytes], usize::MAX);
    assert_eq!(decode(&[before, after], usize::from(max) + 1), at_once);
    assert!(at_once.0.len() <= bytes.len());
});
