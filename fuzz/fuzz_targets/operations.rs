//! A connection whose methods are called in any order neither panics nor breaks its promises.
//!
//! The input is a list of operations. Each consists of a byte that selects it, a byte with a
//! number, and for some operations that many further bytes.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use wasgi_http1::{
    BodyLength, BodyProgress, Connection, Expiry, Finish, Incoming, Limits, ResponseHead, Stamp,
    Step,
};

/// The expected state of the connection, according to its results.
#[derive(Default)]
struct Known {
    /// A request was received, and its response has not ended.
    in_request: bool,
    /// The response has begun; the value is the number of bytes of its body that are left, if
    /// known.
    answering: Option<Option<u64>>,
    closed: bool,
}

struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    fn number(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: u8) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(usize::from(count).min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

fn head<'a>(status: u16) -> ResponseHead<'a, std::iter::Empty<(&'a str, &'a [u8])>> {
    ResponseHead {
        status,
        reason: b"",
        fields: std::iter::empty(),
    }
}

const STAMP: Stamp<'static> = Stamp {
    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    server: None,
};

fn run(input: &[u8]) {
    let mut operations = Operations(input);
    let mut now = Instant::now();
    let mut connection = Connection::new(Arc::new(Limits::default()), now);
    let mut known = Known::default();
    while let (Some(operation), Some(number)) = (operations.number(), operations.number()) {
        match operation % 12 {
            0 | 1 => {
                let bytes = operations.bytes(number);
                if connection.wants_bytes() {
                    connection.receive(bytes, now);
                }
            }
            2 => connection.receive_end(),
            3 => match connection.next_request(now) {
                Some(Incoming::Request(_) | Incoming::Rejected(_)) => {
                    assert!(!known.in_request, "a request before the last one's answer");
                    assert!(!known.closed, "a request after the end");
                    known.in_request = true;
                }
                Some(Incoming::Closed(_)) => known.closed = true,
                None => {}
            },
            4 => {
                let mut body = Vec::new();
                let progress = connection.read_body(usize::from(number), &mut body, now);
                assert!(body.len() <= usize::from(number), "more than was asked for");
                if progress == BodyProgress::Incomplete {
                    assert!(body.is_empty());
                }
            }
            5 => {
                let _ = connection.discard_body();
            }
            6 => {
                let length = match number {
                    0..64 => BodyLength::Unknown,
                    _ => BodyLength::Known(u64::from(number) - 64),
                };
                let status = if number % 8 == 7 { 304 } else { 200 };
                let mut out = Vec::new();
                let _ = connection.start_response(&head(status), length, &STAMP, &mut out);
                if known.in_request && known.answering.is_none() {
                    assert!(out.starts_with(b"HTTP/1.1 "), "an answer has a head");
                    known.answering = Some(match length {
                        BodyLength::Known(length) => Some(length),
                        BodyLength::Unknown => None,
                    });
                } else {
                    assert!(out.is_empty(), "no answer without a request");
                }
            }
            7 => {
                let mut out = Vec::new();
                let frame = connection.frame(usize::from(number), &mut out);
                assert!(frame.take <= usize::from(number));
                match &mut known.answering {
                    None => assert_eq!((frame.take, out.len()), (0, 0)),
                    Some(Some(left)) => {
                        assert!(frame.take as u64 <= *left, "more than was promised");
                        *left -= frame.take as u64;
                    }
                    Some(None) => {}
                }
            }
            8 if known.in_request => {
                let mut out = Vec::new();
                // A response that was never begun lacks its whole body.
                let finish = connection.finish_response(&mut out);
                if known.answering.is_none() {
                    assert_eq!(finish, Finish::Short);
                }
                if let Step::Close(_) = connection.next_step(now) {
                    known.closed = true;
                }
                known.in_request = false;
                known.answering = None;
            }
            9 => {
                now += Duration::from_millis(u64::from(number) * 100);
                if connection
                    .deadline()
                    .is_some_and(|deadline| deadline <= now)
                    && let Some(Expiry::Close(_)) = connection.expired(now)
                {
                    return;
                }
            }
            10 => connection.stop(),
            _ => {
                let mut out = Vec::new();
                if connection.continue_owed() {
                    connection.send_continue(&mut out);
                    assert!(out.starts_with(b"HTTP/1.1 100 "));
                    assert!(!connection.continue_owed(), "once is enough");
                }
            }
        }
    }
}

fuzz_target!(|input: &[u8]| run(input));
