//! The ends of connections, and the requests that are still answered.

use super::*;

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

#[test]
fn draining_answers_one_more_request_and_says_close() {
    let now = origin();
    let until = now + Duration::from_secs(1);
    let mut connection = Connection::new(limits(), now);
    connection.drain(until);
    connection.receive(&GET.repeat(2), now);
    request(&mut connection, now);
    let (text, step) = respond_whole(&mut connection, now);
    assert!(text.contains("Connection: close\r\n"));
    assert_eq!(step, Step::Close(CloseReason::Stopping));

    let mut connection = Connection::new(limits(), now);
    connection.drain(until);
    assert_eq!(connection.deadline(), Some(until));
    assert_eq!(connection.expired(now), None);
    let expiry = Expiry::Close(CloseReason::Stopping);
    assert_eq!(connection.expired(until), Some(expiry));

    let (mut connection, now) = fed(GET);
    request(&mut connection, now);
    connection.drain(until);
    let step = respond_whole(&mut connection, now).1;
    assert_eq!(step, Step::Close(CloseReason::Stopping));
}

#[test]
fn stopping_does_not_wait_for_a_body_that_is_thrown_away() {
    let (mut connection, now) = fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12");
    request(&mut connection, now);
    assert_eq!(respond_whole(&mut connection, now).1, Step::Drain);
    connection.stop();
    assert_eq!(closed(&mut connection, now), CloseReason::BodyUnread);
}
