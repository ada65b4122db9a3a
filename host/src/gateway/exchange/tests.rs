//! Tests that operate both sides of the exchange directly, without a connection or a guest.

use std::pin::pin;
use std::sync::Arc;

use super::*;
use crate::gateway::wakes::{Wakes, poll};

#[test]
fn i2_a_read_waits_for_bytes_and_ends_with_none() {
    let exchange = Exchange::new(true);
    let wakes = Arc::new(Wakes::default());
    {
        let mut read = pin!(exchange.read(10));
        assert!(poll(read.as_mut(), &wakes).is_pending());
        assert!(exchange.body_awaited());
        exchange.push_body(|into| into.extend_from_slice(b"hello world"));
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(read, &wakes), Poll::Ready(Ok(b"hello worl".to_vec())));
    }
    assert_eq!(
        poll(pin!(exchange.read(10)), &wakes),
        Poll::Ready(Ok(b"d".to_vec()))
    );
    exchange.end_body(Ok(()));
    for _ in 0..2 {
        assert_eq!(
            poll(pin!(exchange.read(10)), &wakes),
            Poll::Ready(Ok(Vec::new()))
        );
    }
}

#[test]
fn i2_a_read_without_waiting_takes_nothing_from_a_waiting_reader() {
    let exchange = Exchange::new(true);
    let wakes = Arc::new(Wakes::default());
    assert_eq!(exchange.try_read(10), None);
    assert!(!exchange.body_awaited(), "to look is not to wait");
    let mut readable = pin!(exchange.readable());
    assert!(poll(readable.as_mut(), &wakes).is_pending());
    assert!(exchange.body_awaited());
    exchange.push_body(|into| into.extend_from_slice(b"abc"));
    assert_eq!(wakes.count(), 1);
    assert!(poll(readable, &wakes).is_ready());
    assert_eq!(exchange.try_read(2), Some(Ok(b"ab".to_vec())));
    assert_eq!(exchange.try_read(2), Some(Ok(b"c".to_vec())));
    exchange.end_body(Err(InputError::TimedOut));
    assert!(poll(pin!(exchange.readable()), &wakes).is_ready());
    assert_eq!(exchange.try_read(2), Some(Err(InputError::TimedOut)));
}

#[test]
fn bytes_before_an_error_are_read_first() {
    let exchange = Exchange::new(true);
    let wakes = Arc::default();
    exchange.push_body(|into| into.push(b'x'));
    exchange.end_body(Err(InputError::Malformed));
    exchange.end_body(Ok(()));
    assert_eq!(
        poll(pin!(exchange.read(10)), &wakes),
        Poll::Ready(Ok(b"x".to_vec()))
    );
    let failed = poll(pin!(exchange.read(10)), &wakes);
    assert_eq!(failed, Poll::Ready(Err(InputError::Malformed)));
}

#[test]
fn i4_the_buffer_is_bounded_however_slowly_it_is_read() {
    let exchange = Exchange::new(true);
    let wakes = Arc::default();
    let mut pushed = 0;
    for _ in 0..1000 {
        let room = exchange.body_room();
        exchange.push_body(|into| into.resize(into.len() + room, 0));
        pushed += room;
        assert!(poll(pin!(exchange.read(100)), &wakes).is_ready());
        assert!(exchange.lock().body.bytes.len() <= Exchange::BODY_BUFFER_BYTES);
    }
    assert!(
        pushed > Exchange::BODY_BUFFER_BYTES,
        "the buffer was filled again and again"
    );
}

#[test]
fn b1_a_block_waits_until_the_one_before_has_left() {
    let exchange = Exchange::new(false);
    let wakes = Arc::new(Wakes::default());
    let mut send = pin!(exchange.send_block(b"one".to_vec()));
    assert!(poll(send.as_mut(), &wakes).is_pending());
    let output = exchange.take_output();
    assert_eq!(output.blocks, [b"one".to_vec()]);
    assert!(!output.ended);
    assert!(
        poll(send.as_mut(), &wakes).is_pending(),
        "taken is not sent"
    );
    exchange.sent();
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(send, &wakes), Poll::Ready(Sent::Left));
}

#[test]
fn b5_a_response_without_a_body_is_whole_with_its_head() {
    let head = |status| Head {
        status,
        reason: Vec::new(),
        fields: Vec::new(),
        length: None,
    };
    let to_head = Exchange {
        is_head: true,
        ..Exchange::new(false)
    };
    for (exchange, status) in [(to_head, 200), (Exchange::new(false), 304)] {
        let wakes = Arc::default();
        exchange.send_head(head(status));
        for _ in 0..3 {
            let sent = poll(pin!(exchange.send_block(b"x".to_vec())), &wakes);
            assert_eq!(sent, Poll::Ready(Sent::Dropped));
        }
        let output = exchange.take_output();
        assert!(output.ended && output.blocks.len() == 1, "{output:?}");
        let sent = poll(pin!(exchange.send_block(b"x".to_vec())), &wakes);
        assert_eq!(sent, Poll::Ready(Sent::Dropped));
        assert!(exchange.take_output().blocks.is_empty());
        assert!(!exchange.waits_for_client());
    }
}

#[test]
fn nothing_is_read_or_taken_when_the_response_is_over() {
    let exchange = Exchange::new(true);
    let wakes = Arc::default();
    exchange.push_body(|into| into.push(b'x'));
    exchange.end(b"last".to_vec());
    let read = poll(pin!(exchange.read(1)), &wakes);
    assert_eq!(read, Poll::Ready(Ok(Vec::new())));
    let sent = poll(pin!(exchange.send_block(b"later".to_vec())), &wakes);
    assert_eq!(sent, Poll::Ready(Sent::Refused));
    let output = exchange.take_output();
    assert_eq!(output.blocks, [b"last".to_vec()]);
    assert!(output.ended);
}

#[test]
fn b2_a_client_that_leaves_ends_every_wait() {
    let exchange = Exchange::new(true);
    let wakes = Arc::new(Wakes::default());
    let mut send = pin!(exchange.send_block(b"one".to_vec()));
    assert!(poll(send.as_mut(), &wakes).is_pending());
    exchange.client_gone();
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(send, &wakes), Poll::Ready(Sent::Refused));
    let read = poll(pin!(exchange.read(1)), &wakes);
    assert_eq!(read, Poll::Ready(Err(InputError::Disconnected)));
    assert!(exchange.take_output().blocks.is_empty());
}
