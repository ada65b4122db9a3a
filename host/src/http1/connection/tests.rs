use core::mem::size_of;
use core::time::Duration;

use super::*;
use crate::http1::requests::driver::{Driver, Numbers, STAMP, answer, limits, origin};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection that was sent these bytes.
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

/// Answers the request with this body, and says what comes after.
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

// Memory.

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

// Order.

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
    assert_eq!(connection.discard_body(now), Discard::Done);
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

// Answers.

/// The answer's head (without status line, Date and Server), its body, and what comes after.
fn answer_to(
    request_bytes: &[u8],
    status: u16,
    length: BodyLength,
    body: &[u8],
) -> (String, String, Step) {
    let (mut connection, now) = fed(request_bytes);
    request(&mut connection, now);
    let mut out = Vec::new();
    let _ = answer(&mut connection, status, length, body, &mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some(&*format!("HTTP/1.1 {status} Reason")));
    assert_eq!(lines.next(), Some("Date: Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(lines.next(), Some("Server: wasgi"));
    let rest: Vec<&str> = lines.collect();
    (rest.join("; "), body.to_owned(), connection.next_step(now))
}

#[test]
fn framing_of_answers() {
    const GET10: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    const KEEP10: &[u8] = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    const HEAD10: &[u8] = b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let (known, unknown) = (BodyLength::Known(2), BodyLength::Unknown);
    let next = Step::NextRequest;
    let asked = Step::Close(CloseReason::PeerAsked);
    let ends = Step::Close(CloseReason::EndsAnswer);
    let table = [
        (GET, 200, known, "Content-Length: 2", "ok", next),
        (
            GET,
            200,
            unknown,
            "Transfer-Encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            next,
        ),
        (GET, 204, known, "", "", next),
        (GET, 204, unknown, "", "", next),
        (GET, 304, known, "", "", next),
        (GET, 304, unknown, "", "", next),
        (GET, 404, known, "Content-Length: 2", "ok", next),
        (HEAD, 200, known, "Content-Length: 2", "", next),
        (HEAD, 200, unknown, "", "", next),
        (HEAD, 204, known, "", "", next),
        (HEAD, 304, known, "", "", next),
        (
            CLOSE,
            200,
            known,
            "Content-Length: 2; Connection: close",
            "ok",
            asked,
        ),
        (CLOSE, 204, known, "Connection: close", "", asked),
        (
            GET10,
            200,
            known,
            "Content-Length: 2; Connection: close",
            "ok",
            asked,
        ),
        (GET10, 200, unknown, "Connection: close", "ok", asked),
        (
            KEEP10,
            200,
            known,
            "Content-Length: 2; Connection: keep-alive",
            "ok",
            next,
        ),
        (KEEP10, 200, unknown, "Connection: close", "ok", ends),
        (HEAD10, 200, unknown, "Connection: keep-alive", "", next),
    ];
    for (request, status, length, head, body, step) in table {
        let expected = (head.to_owned(), body.to_owned(), step);
        let got = answer_to(request, status, length, b"ok");
        assert_eq!(
            got,
            expected,
            "{} {status} {length:?}",
            request.escape_ascii()
        );
    }
}

#[test]
fn blocks_are_framed_one_by_one() {
    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    let head = ResponseHead {
        status: 200,
        reason: "OK",
        fields: core::iter::empty(),
    };
    let mut out = Vec::new();
    let _ = connection.start_response(&head, BodyLength::Unknown, &STAMP, &mut out);
    out.clear();
    assert_eq!(
        connection.frame(0, &mut out),
        Frame {
            take: 0,
            suffix: b""
        }
    );
    assert!(out.is_empty(), "an empty chunk would end the body");
    assert_eq!(
        connection.frame(70000, &mut out),
        Frame {
            take: 70000,
            suffix: b"\r\n"
        }
    );
    assert_eq!(out, b"11170\r\n");
    out.clear();
    assert_eq!(connection.finish_response(&mut out), Finish::Whole);
    assert_eq!(out, b"0\r\n\r\n");
}

#[test]
fn an_answer_is_never_longer_than_it_said() {
    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    let head = ResponseHead {
        status: 200,
        reason: "OK",
        fields: core::iter::empty(),
    };
    let mut out = Vec::new();
    let _ = connection.start_response(&head, BodyLength::Known(5), &STAMP, &mut out);
    assert_eq!(connection.frame(3, &mut out).take, 3);
    assert_eq!(connection.frame(3, &mut out).take, 2);
    assert_eq!(connection.frame(3, &mut out).take, 0);
    assert_eq!(connection.finish_response(&mut out), Finish::Whole);
    assert_eq!(connection.next_step(now), Step::NextRequest);
}

#[test]
fn an_answer_that_comes_out_short_is_cut() {
    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    let mut out = Vec::new();
    let finish = answer(
        &mut connection,
        200,
        BodyLength::Known(5),
        b"four",
        &mut out,
    );
    assert_eq!(finish, Finish::Short);
    let reason = CloseReason::AnswerShort;
    assert_eq!(connection.next_step(now), Step::Close(reason));
    assert!(reason.cuts_answer());
}

#[test]
fn an_answer_that_is_given_up_is_cut() {
    let (mut connection, now) = fed(&GET.repeat(2));
    request(&mut connection, now);
    let reason = CloseReason::AnswerUnfinished;
    assert_eq!(connection.next_step(now), Step::Close(reason));
    assert!(reason.cuts_answer());
    assert_eq!(closed(&mut connection, now), reason);

    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    let head = ResponseHead {
        status: 200,
        reason: "OK",
        fields: core::iter::empty(),
    };
    let _ = connection.start_response(&head, BodyLength::Unknown, &STAMP, &mut Vec::new());
    assert_eq!(connection.next_step(now), Step::Close(reason));
}

// Bodies.

#[test]
fn an_unread_body_is_drained_and_never_parsed() {
    let length = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n".to_vec();
    let chunked =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n".to_vec();
    for (head, tail) in [(length, &b""[..]), (chunked, b"\r\n0\r\n\r\n")] {
        let bytes = [&head[..], b"GET /never HTTP/1.1\r\nHost: ", tail, GET].concat();
        for at in head.len()..bytes.len() {
            let (mut connection, now) = fed(&bytes[..at]);
            request(&mut connection, now);
            let (text, step) = respond_whole(&mut connection, now);
            assert!(!text.contains("Connection: close"));
            match step {
                Step::Drain => assert!(connection.next_request(now).is_none()),
                step => assert_eq!(step, Step::NextRequest),
            }
            connection.receive(&bytes[at..], now);
            assert_eq!(request(&mut connection, now).path(), b"/", "split at {at}");
        }
    }
}

#[test]
fn a_body_that_is_too_long_to_drain_ends_the_connection() {
    let limits = Limits {
        drain_bytes: 10,
        ..Limits::default()
    };
    let (mut connection, now) = fed_with(
        limits.clone(),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
    );
    request(&mut connection, now);
    assert_eq!(
        respond_whole(&mut connection, now).1,
        Step::Close(CloseReason::BodyUnread)
    );

    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut connection, now) = fed_with(limits, head);
    request(&mut connection, now);
    assert_eq!(respond_whole(&mut connection, now).1, Step::Drain);
    connection.receive(b"ff\r\n123456", now);
    assert_eq!(closed(&mut connection, now), CloseReason::BodyUnread);
    connection.receive(GET, now);
    assert_eq!(closed(&mut connection, now), CloseReason::BodyUnread);
}

#[test]
fn a_body_that_turns_out_broken_while_drained_ends_the_connection() {
    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(respond_whole(&mut connection, now).1, Step::Drain);
    connection.receive(b"+5\r\n", now);
    let reason = closed(&mut connection, now);
    assert!(
        matches!(reason, CloseReason::BodyFailed(BodyError::Malformed(_))),
        "{reason:?}"
    );
}

#[test]
fn a_body_can_be_discarded_before_the_answer() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut connection, now) = fed(head);
    request(&mut connection, now);
    assert_eq!(connection.discard_body(now), Discard::Incomplete);
    connection.receive(b"5\r\nhello\r\n0\r\n\r\n", now);
    assert_eq!(connection.discard_body(now), Discard::Done);
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);

    let (mut connection, now) = fed(&[&head[..], b"5\r\nhelloX"].concat());
    request(&mut connection, now);
    let Discard::Failed(error) = connection.discard_body(now) else {
        panic!("it is broken")
    };
    assert_eq!(error.status(), 400);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::BodyFailed(error)));

    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(connection.discard_body(now), Discard::TooMuch);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::BodyUnread));
}

#[test]
fn a_broken_body_fails_every_later_read_and_closes() {
    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX");
    request(&mut connection, now);
    let mut body = Vec::new();
    assert_eq!(
        connection.read_body(100, &mut body, now),
        BodyProgress::Data
    );
    assert_eq!(body, b"ab");
    for _ in 0..2 {
        let progress = connection.read_body(100, &mut body, now);
        assert!(
            matches!(progress, BodyProgress::Failed(BodyError::Malformed(_))),
            "{progress:?}"
        );
    }
    connection.receive(GET, now);
    assert!(connection.buffer.is_empty(), "nothing more is kept");
    assert!(matches!(
        respond_whole(&mut connection, now).1,
        Step::Close(CloseReason::BodyFailed(BodyError::Malformed(_)))
    ));
}

#[test]
fn a_body_that_is_cut_short_fails() {
    for head in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\n");
        let (mut connection, now) = fed(head.as_bytes());
        request(&mut connection, now);
        connection.receive_end();
        let mut body = Vec::new();
        let progress = loop {
            match connection.read_body(100, &mut body, now) {
                BodyProgress::Data => {}
                progress => break progress,
            }
        };
        assert_eq!(progress, BodyProgress::Failed(BodyError::CutShort));
        let reason = CloseReason::BodyFailed(BodyError::CutShort);
        assert_eq!(respond_whole(&mut connection, now).1, Step::Close(reason));
        assert!(!reason.lingers());
    }
}

#[test]
fn reading_nothing_is_no_progress() {
    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    request(&mut connection, now);
    assert_eq!(
        connection.read_body(0, &mut Vec::new(), now),
        BodyProgress::Incomplete
    );
    let mut body = Vec::new();
    assert_eq!(connection.read_body(3, &mut body, now), BodyProgress::Data);
    assert_eq!(connection.read_body(3, &mut body, now), BodyProgress::Data);
    assert_eq!(connection.read_body(3, &mut body, now), BodyProgress::End);
    assert_eq!(body, b"hello");
}

// Expect: 100-continue.

const EXPECT: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn a_continue_is_sent_once_and_when_asked() {
    let (mut connection, now) = fed(EXPECT);
    assert!(request(&mut connection, now).expects_continue());
    assert!(connection.continue_owed());
    let mut out = Vec::new();
    connection.send_continue(&mut out);
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!connection.continue_owed());
    connection.send_continue(&mut out);
    assert_eq!(out.len(), 25);
    connection.receive(b"hello", now);
    assert_eq!(connection.read_body(9, &mut out, now), BodyProgress::Data);
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
}

#[test]
fn no_continue_is_sent_once_the_body_comes() {
    let (mut connection, now) = fed(&[EXPECT, b"h"].concat());
    request(&mut connection, now);
    assert!(!connection.continue_owed());

    let (mut connection, now) = fed(EXPECT);
    request(&mut connection, now);
    connection.receive(b"h", now);
    assert!(!connection.continue_owed());
    connection.send_continue(&mut Vec::new());
}

#[test]
fn an_answer_without_the_continue_is_the_last() {
    let (mut connection, now) = fed(EXPECT);
    request(&mut connection, now);
    assert_eq!(connection.discard_body(now), Discard::TooMuch);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::ContinueUnsent));
}

// Ends.

#[test]
fn a_half_closed_client_gets_every_answer() {
    let (mut connection, now) = fed(&GET.repeat(3));
    connection.receive_end();
    for _ in 0..3 {
        request(&mut connection, now);
        assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
    }
    assert_eq!(closed(&mut connection, now), CloseReason::PeerFinished);
    assert_eq!(closed(&mut connection, now), CloseReason::PeerFinished);
}

#[test]
fn an_end_inside_a_head_is_a_bad_request() {
    for len in 1..GET.len() {
        let (mut connection, now) = fed(&GET[..len]);
        assert!(connection.next_request(now).is_none());
        connection.receive_end();
        assert_eq!(rejection(&mut connection, now), 400, "{len}");
    }
}

#[test]
fn rejections_are_answered_and_close() {
    let (mut connection, now) = fed(b"HEAD /x HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(rejection(&mut connection, now), 400);
    assert!(connection.next_request(now).is_none());
    assert_eq!(connection.rejected_line(), b"HEAD /x HTTP/1.1");
    connection.receive(GET, now);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(
        text.ends_with("Content-Length: 2\r\nConnection: close\r\n\r\n"),
        "no body: {text}"
    );
    let Step::Close(reason @ CloseReason::Rejected(_)) = step else {
        panic!("{step:?}")
    };
    assert!(reason.lingers());
    assert_eq!(connection.rejected_line(), b"");

    let (mut connection, now) = fed(&[b'A'; 20000]);
    assert_eq!(rejection(&mut connection, now), 414);
    assert_eq!(connection.rejected_line().len(), REJECTED_LINE_BYTES);
    let (text, _) = respond(&mut connection, now, BodyLength::Unknown, b"ok");
    assert!(
        text.ends_with("Connection: close\r\n\r\nok"),
        "nothing is known of the client: {text}"
    );
}

#[test]
fn the_number_of_requests_is_limited() {
    let limits = Limits {
        requests_per_connection_count: 2,
        ..Limits::default()
    };
    let (mut connection, now) = fed_with(limits, &GET.repeat(3));
    request(&mut connection, now);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(!text.contains("Connection"));
    assert_eq!(step, Step::NextRequest);
    request(&mut connection, now);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::RequestLimit));
}

#[test]
fn stopping_closes_idle_connections_and_finishes_the_others() {
    let now = origin();
    let mut connection = Connection::new(limits(), now);
    connection.stop();
    assert_eq!(closed(&mut connection, now), CloseReason::Stopping);

    let (mut connection, now) = fed(&GET.repeat(2));
    request(&mut connection, now);
    connection.stop();
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::Stopping));

    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    let mut out = Vec::new();
    let _ = answer(&mut connection, 200, BodyLength::Known(0), b"", &mut out);
    connection.stop();
    assert_eq!(
        connection.next_step(now),
        Step::Close(CloseReason::Stopping)
    );
}

// Time.

#[test]
fn idle_connections_expire() {
    let now = origin();
    let mut connection = Connection::new(limits(), now);
    let idle = Limits::default().idle_timeout;
    assert_eq!(connection.deadline(), Some(now + idle));
    connection.receive(b"\r\n\r", now + seconds(30));
    assert_eq!(
        connection.deadline(),
        Some(now + idle),
        "empty lines buy no time"
    );
    assert_eq!(connection.expired(now + idle - seconds(1)), None);
    assert_eq!(
        connection.expired(now + idle),
        Some(Expiry::Close(CloseReason::Idle))
    );
    assert_eq!(closed(&mut connection, now), CloseReason::Idle);
}

#[test]
fn a_trickle_does_not_extend_the_heads_time() {
    let now = origin();
    let mut connection = Connection::new(limits(), now);
    let begin = now + seconds(50);
    let deadline = begin + Limits::default().head_timeout;
    for (second, byte) in GET[..20].iter().enumerate() {
        connection.receive(&[*byte], begin + seconds(second as u64));
        assert_eq!(connection.deadline(), Some(deadline));
    }
    assert_eq!(connection.expired(deadline), Some(Expiry::Request));
    assert_eq!(rejection(&mut connection, deadline), 408);
    assert_eq!(
        connection.deadline(),
        None,
        "the answer's time is not ours to keep"
    );
}

#[test]
fn a_head_that_was_sent_ahead_has_its_time_from_the_answer_on() {
    let (mut connection, now) = fed(&[GET, b"GET /"].concat());
    request(&mut connection, now);
    assert_eq!(connection.deadline(), None, "a request is being answered");
    let later = now + seconds(100);
    assert_eq!(respond_whole(&mut connection, later).1, Step::NextRequest);
    assert_eq!(
        connection.deadline(),
        Some(later + Limits::default().head_timeout)
    );
}

#[test]
fn only_waiting_uses_up_the_bodys_time() {
    let (mut connection, now) = fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(connection.deadline(), None, "nobody waits");
    let reading = now + seconds(1000);
    let progress = connection.read_body(9, &mut Vec::new(), reading);
    assert_eq!(progress, BodyProgress::Incomplete);
    let deadline = reading + Limits::default().body_patience;
    assert_eq!(connection.deadline(), Some(deadline));
    assert_eq!(connection.expired(deadline), Some(Expiry::Body));
    let progress = connection.read_body(9, &mut Vec::new(), deadline);
    assert_eq!(progress, BodyProgress::Failed(BodyError::TooSlow));
    assert_eq!(BodyError::TooSlow.status(), 408);
}

/// For how long a body of one byte per `gap` is read.
fn trickle(gap: Duration, bytes_per_gap: usize) -> Option<Duration> {
    let (mut connection, start) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    request(&mut connection, start);
    let mut now = start;
    for _ in 0..10_000 {
        let mut body = Vec::new();
        while connection.read_body(100_000, &mut body, now) == BodyProgress::Data {}
        let next = now + gap;
        if let Some(deadline) = connection.deadline().filter(|deadline| *deadline <= next) {
            return Some(deadline - start);
        }
        now = next;
        connection.receive(&vec![0; bytes_per_gap], now);
    }
    None
}

#[test]
fn a_body_below_the_rate_ends_and_one_above_goes_on() {
    assert_eq!(
        trickle(seconds(30), 1_000_000),
        Some(seconds(20)),
        "the longest silence"
    );
    let slow = trickle(seconds(1), 1).expect("a byte per second is too slow");
    assert!((seconds(20)..seconds(21)).contains(&slow), "{slow:?}");
    let half = trickle(seconds(1), 250).expect("half the rate is too slow");
    assert!((seconds(38)..seconds(42)).contains(&half), "{half:?}");
    assert_eq!(trickle(seconds(1), 500), None);
    assert_eq!(trickle(seconds(19), 9_500), None, "bursts at the rate");
}

#[test]
fn draining_has_its_time_too() {
    let (mut connection, now) = fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(respond_whole(&mut connection, now).1, Step::Drain);
    let deadline = connection.deadline().expect("somebody waits");
    let reason = CloseReason::BodyFailed(BodyError::TooSlow);
    assert_eq!(connection.expired(deadline), Some(Expiry::Close(reason)));
}

// Anything.

/// Pieces of requests, good and bad, for random sequences of them.
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
                9 => drop(connection.discard_body(now)),
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
