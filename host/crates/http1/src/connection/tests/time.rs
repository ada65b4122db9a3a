//! Deadlines.

use super::*;

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

/// Returns how long a body of `bytes_per_gap` bytes per `gap` is read before it fails.
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
fn bytes_win_back_no_more_than_the_whole_time() {
    let (mut connection, now) =
        fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
    request(&mut connection, now);
    connection.receive(&[0; 1_000_000], now);
    let mut body = Vec::new();
    while connection.read_body(100_000, &mut body, now) == BodyProgress::Data {}
    assert_eq!(
        connection.deadline(),
        Some(now + Limits::default().body_patience)
    );
}

#[test]
fn draining_has_its_time_too() {
    let (mut connection, now) = fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    request(&mut connection, now);
    assert_eq!(connection.discard_body(), Discard::Incomplete);
    assert_eq!(connection.deadline(), None, "the answer comes first");
    assert_eq!(respond_whole(&mut connection, now).1, Step::Drain);
    let deadline = connection.deadline().expect("somebody waits");
    let reason = CloseReason::BodyFailed(BodyError::TooSlow);
    assert_eq!(connection.expired(deadline), Some(Expiry::Close(reason)));
}
