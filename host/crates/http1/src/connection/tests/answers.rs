//! The framing of responses, and failed responses.

use super::*;

/// Returns the response head (without status line, Date and Server), its body, and the next step.
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
fn an_answer_is_framed_by_its_version_status_and_length() {
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
        (GET, 205, known, "Content-Length: 0", "", next),
        (GET, 205, unknown, "Content-Length: 0", "", next),
        (GET, 304, known, "", "", next),
        (GET, 304, unknown, "", "", next),
        (GET, 404, known, "Content-Length: 2", "ok", next),
        (HEAD, 200, known, "Content-Length: 2", "", next),
        (HEAD, 200, unknown, "", "", next),
        (HEAD, 204, known, "", "", next),
        (HEAD, 205, known, "Content-Length: 0", "", next),
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
        reason: b"OK",
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
        reason: b"OK",
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
        reason: b"OK",
        fields: core::iter::empty(),
    };
    let _ = connection.start_response(&head, BodyLength::Unknown, &STAMP, &mut Vec::new());
    assert_eq!(connection.next_step(now), Step::Close(reason));
}
