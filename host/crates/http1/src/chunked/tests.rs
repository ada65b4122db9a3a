//! Valid and invalid bodies in the chunked coding, decoded in every split.

use super::*;

/// Decodes `parts`, fed in order, at most `max` bytes per call. Returns the body, and whether it
/// has ended.
fn decode(parts: &[&[u8]], max: usize, limits: &Limits) -> (Vec<u8>, Result<bool, BodyError>) {
    let mut decoder = ChunkedDecoder::default();
    let mut body = Vec::new();
    for part in parts {
        let mut input = *part;
        loop {
            let before = input.len();
            match decoder.decode(&mut input, max, limits) {
                Ok(Piece::Data(data)) => {
                    assert!(!data.is_empty() && data.len() <= max);
                    body.extend_from_slice(data);
                }
                Ok(Piece::Incomplete) => {
                    assert!(input.is_empty());
                    break;
                }
                Ok(Piece::End) => return (body, Ok(true)),
                Err(error) => return (body, Err(error)),
            }
            assert!(input.len() < before);
        }
    }
    (body, Ok(false))
}

/// Decodes the bytes as a whole, split in two at every position, and byte by byte. Asserts that the
/// results agree.
fn decode_all_ways(bytes: &[u8], limits: &Limits) -> (Vec<u8>, Result<bool, BodyError>) {
    let at_once = decode(&[bytes], usize::MAX, limits);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(
        decode(&single, 1, limits),
        at_once,
        "{}",
        bytes.escape_ascii()
    );
    for at in 0..=bytes.len() {
        let (before, after) = bytes.split_at(at);
        let split = decode(&[before, after], 3, limits);
        assert_eq!(split, at_once, "{} at {at}", bytes.escape_ascii());
    }
    at_once
}

fn status(bytes: &[u8], limits: &Limits) -> u16 {
    match decode_all_ways(bytes, limits).1 {
        Ok(true) => 200,
        Ok(false) => 0,
        Err(error) => error.status(),
    }
}

#[test]
fn valid_chunks_are_decoded() {
    let table: [(&[u8], &[u8]); 18] = [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n00000000000000000000000\r\n\r\n", b"hello"),
        (
            b"a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n",
            b"0123456789abcdefghij",
        ),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"1;a\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=b;c=\"d;e\\\"f\";g\r\nx\r\n0;z\r\n\r\n", b"x"),
        (b"1;a=\"\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=\"\\\\\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1 ;a\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1\t; \ta \t= \tb \t; \tc\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=\"b\" ;c\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1\r\nx\r\n0\r\nA: b\r\nC:\r\nD:\t\xff \r\n\r\n", b"x"),
        (
            b"1\r\nx\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n",
            b"x",
        ),
        (b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"x"),
    ];
    for (bytes, body) in table {
        let decoded = decode_all_ways(bytes, &Limits::default());
        assert_eq!(
            decoded,
            (body.to_vec(), Ok(true)),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn every_prefix_of_a_good_body_is_incomplete() {
    let bytes = b"1;a=\"b\\\"\" ; c=d\r\nx\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for len in 0..bytes.len() {
        assert_eq!(status(&bytes[..len], &Limits::default()), 0, "{len}");
    }
    assert_eq!(status(bytes, &Limits::default()), 200);
}

#[test]
fn invalid_chunks_are_rejected() {
    let table: [&[u8]; 48] = [
        b"\r\n",
        b"\n",
        b";a\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"5\t\r\n",
        b"5 5\r\n",
        b"0x5\r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"1_0\r\n",
        b"5h\r\n",
        b"g\r\n",
        b"5,\r\n",
        b"5\n",
        b"5\rhello",
        b"5\r\r\n",
        b"5\0\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"8000000000000000\r\n",
        b"10000000000000005\r\n",
        b"010000000000000005\r\n",
        b"08000000000000000\r\n",
        b"5;\r\n",
        b"5; \r\n",
        b"5;a \r\n",
        b"5;a=\r\n",
        b"5;a= \r\n",
        b"5;a=b \r\n",
        b"5;a=\"b\" \r\n",
        b"5;=b\r\n",
        b"5;a b\r\n",
        b"5;a=b c\r\n",
        b"5;a=\"b\r\n\"\r\n",
        b"5;a=\"b\\\r\n\"\r\n",
        b"5;a=\"b\"c\r\n",
        b"5;a\nb\r\n",
        b"5;a\n",
        b"5;a\rb\r\n",
        b"5;a\0\r\n",
        b"5;\xc3\xa4\r\n",
        b"1\r\nx0\r\n\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nx\r0\r\n\r\n",
        b"1\r\nxy\r\n0\r\n\r\n",
        b"3\r\nabc\r\n\r\n",
        b"0\r\n\n",
        b"0\n\r\n",
    ];
    for bytes in table {
        assert_eq!(
            status(bytes, &Limits::default()),
            400,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn invalid_trailers_are_rejected() {
    let table: [&[u8]; 10] = [
        b"0\r\nA\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: b\rC: d\r\n\r\n",
        b"0\r\nA: b\rXC: d\r\n\r\n",
        b"0\r\nA: \0\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in table {
        assert_eq!(
            status(bytes, &Limits::default()),
            400,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn limits_are_exact() {
    let limits = Limits {
        body_bytes: 10,
        chunk_line_bytes: 18,
        chunk_extensions_bytes: 8,
        trailers_bytes: 12,
        trailers_count: 2,
        ..Limits::default()
    };
    let table: [(&[u8], u16); 15] = [
        (b"a\r\n0123456789\r\n0\r\n\r\n", 200),
        (b"b\r\n", 413),
        (b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", 200),
        (b"5\r\n01234\r\n6\r\n", 413),
        (b"7FFFFFFFFFFFFFFF\r\n", 413),
        (b"0000000000001;abcd\r\nx\r\n0\r\n\r\n", 200),
        (b"0000000000001;abcde", 400),
        (b"000000000000000001\r\nx\r\n0\r\n\r\n", 200),
        (b"0000000000000000001", 400),
        (b"1;abc\r\nx\r\n0;def\r\n\r\n", 200),
        (b"1;abcd\r\nx\r\n0;defg\r\n\r\n", 400),
        (b"0\r\nA: 78\r\nB: \r\n\r\n", 200),
        (b"0\r\nA: 78\r\nB: 9\r\n\r\n", 431),
        (b"0\r\nA: 7890123456", 431),
        (b"0\r\nA:\r\nB:\r\nC:\r\n\r\n", 431),
    ];
    for (bytes, expected) in table {
        assert_eq!(status(bytes, &limits), expected, "{}", bytes.escape_ascii());
    }
}
