//! Tests of the state machine as a whole. Fixtures for whole requests are in `tests/requests`.

use core::mem::size_of;
use core::time::Duration;

use super::*;
use crate::requests::driver::{Driver, Numbers, STAMP, answer, limits, origin};

mod answers;
mod anything;
mod bodies;
mod ends;
mod time;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const EXPECT: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// Returns a connection that has received these bytes.
fn fed(bytes: &[u8]) -> (Connection, Instant) {
    fed_with(Limits::default(), bytes)
}

fn fed_with(limits: Limits, bytes: &[u8]) -> (Connection, Instant) {
    let now = origin();
    let mut connection = Connection::new(Arc::new(limits), now);
    connection.receive(bytes, now);
    (connection, now)
}

fn request(connection: &mut Connection, now: Instant) -> Arc<RequestHead> {
    match connection.next_request(now) {
        Some(Incoming::Request(head)) => head,
        other => panic!("{other:?}"),
    }
}

fn rejection(connection: &mut Connection, now: Instant) -> u16 {
    match connection.next_request(now) {
        Some(Incoming::Rejected(rejection)) => rejection.status,
        other => panic!("{other:?}"),
    }
}

fn closed(connection: &mut Connection, now: Instant) -> CloseReason {
    match connection.next_request(now) {
        Some(Incoming::Closed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Responds to the request with this body and returns the next step.
fn respond(
    connection: &mut Connection,
    now: Instant,
    length: BodyLength,
    body: &[u8],
) -> (String, Step) {
    let mut out = Vec::new();
    let _ = answer(connection, 200, length, body, &mut out);
    (String::from_utf8(out).unwrap(), connection.next_step(now))
}

fn respond_whole(connection: &mut Connection, now: Instant) -> (String, Step) {
    respond(connection, now, BodyLength::Known(2), b"ok")
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_connection_is_small_and_idle_ones_hold_no_buffer() {
    assert!(size_of::<Connection>() < 300, "{}", size_of::<Connection>());
    let (mut connection, now) = fed(&[GET, b"\r\n"].concat());
    request(&mut connection, now);
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
    assert!(connection.is_idle());
    assert_eq!(connection.buffer.capacity(), 0);

    connection.receive(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
        now,
    );
    request(&mut connection, now);
    connection.receive(&[0; 9000], now);
    assert_eq!(
        connection.read_body(9000, &mut Vec::new(), now),
        BodyProgress::Data
    );
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
    assert_eq!(connection.buffer.capacity(), 0);
}

#[test]
fn bytes_are_not_wanted_while_enough_are_buffered() {
    let limits = Limits {
        read_ahead_bytes: 100,
        ..Limits::default()
    };
    let (mut connection, now) = fed_with(limits, GET);
    assert!(connection.wants_bytes());
    request(&mut connection, now);
    assert!(connection.wants_bytes());
    connection.receive(&GET.repeat(10), now);
    assert!(!connection.wants_bytes());
    for _ in 0..10 {
        assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
        request(&mut connection, now);
    }
    assert!(connection.wants_bytes());
    connection.receive_end();
    assert!(!connection.wants_bytes());
}

#[test]
fn a_body_that_is_not_read_stops_the_reading() {
    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    request(&mut connection, now);
    let mut received = 0;
    while connection.wants_bytes() {
        connection.receive(&[0; 8192], now);
        received += 8192;
    }
    assert_eq!(received, 65536);
    assert_eq!(
        connection.read_body(8192, &mut Vec::new(), now),
        BodyProgress::Data
    );
    assert!(connection.wants_bytes());
}

#[test]
fn the_next_request_waits_for_the_answer_to_the_one_before() {
    let (mut connection, now) = fed(&GET.repeat(2));
    request(&mut connection, now);
    assert!(connection.next_request(now).is_none());
    let mut out = Vec::new();
    let _ = answer(&mut connection, 200, BodyLength::Known(0), b"", &mut out);
    assert!(connection.next_request(now).is_none());
    assert_eq!(connection.next_step(now), Step::NextRequest);
    request(&mut connection, now);
}

#[test]
fn calls_that_are_out_of_order_do_nothing() {
    let now = origin();
    let mut connection = Connection::new(limits(), now);
    let mut out = Vec::new();
    assert_eq!(
        answer(&mut connection, 200, BodyLength::Known(2), b"ok", &mut out),
        Finish::Short
    );
    connection.send_continue(&mut out);
    assert_eq!(connection.read_body(10, &mut out, now), BodyProgress::End);
    assert_eq!(connection.discard_body(), Discard::Done);
    assert_eq!(connection.next_step(now), Step::NextRequest);
    assert_eq!(connection.expired(now), None);
    assert_eq!(connection.rejected_line(), b"");
    assert!(out.is_empty() && connection.is_idle());

    connection.receive(GET, now);
    request(&mut connection, now);
    assert_eq!(connection.frame(5, &mut out), Frame::default());
    assert_eq!(connection.finish_response(&mut out), Finish::Short);
    assert!(out.is_empty());
    let _ = answer(&mut connection, 200, BodyLength::Unknown, b"ok", &mut out);
    let len = out.len();
    let _ = answer(&mut connection, 200, BodyLength::Unknown, b"ok", &mut out);
    assert_eq!(out.len(), len, "a second answer");
}
