//! Request bodies: read, unread, discarded, malformed, and requested with `100 Continue`.

use super::*;

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
fn an_answer_that_leaves_a_large_body_says_that_it_is_the_last() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let large = Limits::default().drain_bytes + 1;
    for (fields, is_last) in [
        (format!("Content-Length: {large}"), true),
        (format!("Content-Length: {}", large - 1), false),
        ("Transfer-Encoding: chunked".to_owned(), true),
        ("Content-Length: 0".to_owned(), false),
    ] {
        let (mut connection, now) = fed(post(&fields).as_bytes());
        request(&mut connection, now);
        connection.leave_body();
        let (text, step) = respond_whole(&mut connection, now);
        assert_eq!(text.contains("Connection: close"), is_last, "{fields}");
        assert_eq!(
            step == Step::Close(CloseReason::BodyUnread),
            is_last,
            "{fields}"
        );
    }
    // A body that has ended is no reason to close.
    let chunked = post("Transfer-Encoding: chunked") + "0\r\n\r\n";
    let (mut connection, now) = fed(chunked.as_bytes());
    request(&mut connection, now);
    assert_eq!(
        connection.read_body(1, &mut Vec::new(), now),
        BodyProgress::End
    );
    connection.leave_body();
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);
}

#[test]
fn who_asked_for_the_end_may_be_in_the_middle_of_a_body_all_the_same() {
    let fields = "Connection: close\r\nContent-Length: 1000000";
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let (mut connection, now) = fed(head.as_bytes());
    request(&mut connection, now);
    let (_, step) = respond_whole(&mut connection, now);
    assert_eq!(step, Step::Close(CloseReason::BodyUnread));
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
    assert_eq!(connection.discard_body(), Discard::Incomplete);
    assert_eq!(connection.deadline(), None, "nobody waits for it");
    connection.receive(b"5\r\nhello\r\n0\r\n\r\n", now);
    assert_eq!(connection.discard_body(), Discard::Done);
    assert_eq!(respond_whole(&mut connection, now).1, Step::NextRequest);

    let (mut connection, now) = fed(&[&head[..], b"5\r\nhelloX"].concat());
    request(&mut connection, now);
    let Discard::Failed(error) = connection.discard_body() else {
        panic!("it is broken")
    };
    assert_eq!(error.status(), 400);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::BodyFailed(error)));

    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(connection.discard_body(), Discard::TooMuch);
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
    assert_eq!(connection.discard_body(), Discard::TooMuch);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::ContinueUnsent));

    let (mut connection, now) = fed(EXPECT);
    request(&mut connection, now);
    let mut out = Vec::new();
    let _ = answer(&mut connection, 200, BodyLength::Unknown, b"", &mut out);
    let len = out.len();
    connection.send_continue(&mut out);
    assert_eq!(
        out.len(),
        len,
        "an answer has begun: no interim one may follow"
    );
}
