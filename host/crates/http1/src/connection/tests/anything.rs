//! Random sequences of bytes and of calls.

use super::*;

/// Valid and invalid pieces of requests, combined into random sequences.
const PIECES: [&[u8]; 24] = [
    GET,
    EXPECT,
    b"\r\n",
    b"\r",
    b"\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"HEAD http://a/ HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"Host: b c\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b" fold\r\n",
    b"X: \0\r\n",
    b"ffffffffffffffff\r\n",
    b"5;a=\"b",
    b"A: b\r\n\r\n",
];

#[test]
fn random_sequences_are_answered_alike_however_they_are_split() {
    let mut numbers = Numbers::new(0x5eed);
    for _ in 0..3000 {
        let count = 1 + numbers.below(12);
        let bytes: Vec<u8> = (0..count)
            .flat_map(|_| PIECES[numbers.below(PIECES.len())])
            .copied()
            .collect();
        let mut at_once = Driver::fed(limits(), &[&bytes]);
        let mut split = Driver::fed(limits(), &numbers.split(&bytes));
        assert_eq!(at_once.report(), split.report(), "{}", bytes.escape_ascii());
        at_once.end();
        split.end();
        assert_eq!(
            at_once.report(),
            split.report(),
            "{} and the end",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn random_calls_never_break_the_framing_of_what_is_sent() {
    for seed in 1..300 {
        let mut numbers = Numbers::new(seed);
        let now = origin();
        let mut connection = Connection::new(limits(), now);
        let (mut out, mut body) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            match numbers.below(12) {
                0..=3 => connection.receive(PIECES[numbers.below(PIECES.len())], now),
                4 if numbers.below(20) == 0 => connection.receive_end(),
                4 | 5 => drop(connection.next_request(now)),
                6 => drop(connection.read_body(numbers.below(9), &mut body, now)),
                7 => {
                    let length = [BodyLength::Unknown, BodyLength::Known(5)][numbers.below(2)];
                    out.clear();
                    let _ = answer(&mut connection, 200, length, b"hello", &mut out);
                    assert!(out.is_empty() || out.starts_with(b"HTTP/1.1 200 "));
                }
                8 => drop(connection.next_step(now)),
                9 => drop(connection.discard_body()),
                10 => drop(connection.expired(now + seconds(numbers.below(100) as u64))),
                _ => {
                    out.clear();
                    connection.send_continue(&mut out);
                    assert!(out.is_empty() || out.ends_with(b"\r\n\r\n"));
                }
            }
            let is_closed = matches!(connection.state, State::Closed(_));
            assert!(!(is_closed && connection.wants_bytes()));
            assert!(!is_closed || connection.buffer.is_empty());
        }
    }
}
