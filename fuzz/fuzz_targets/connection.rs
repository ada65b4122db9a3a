//! A connection: requests are parsed and answered the same way however the bytes are split.
#![no_main]

use std::sync::Arc;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use wasgi_http1::{
    BodyLength, BodyProgress, Connection, Finish, Incoming, Limits, ResponseHead, Stamp, Step,
};

/// Returns the requests and responses of a server that reads every body to its end and sends
/// chunked responses.
fn serve(parts: &[&[u8]]) -> Vec<String> {
    let now = Instant::now();
    let mut connection = Connection::new(Arc::new(Limits::default()), now);
    let (mut seen, mut body, mut in_request) = (Vec::new(), Vec::new(), false);
    for part in parts {
        connection.receive(part, now);
        loop {
            let status = if in_request {
                match connection.read_body(7, &mut body, now) {
                    BodyProgress::Data => continue,
                    BodyProgress::Incomplete => break,
                    BodyProgress::End => 200,
                    BodyProgress::Failed(error) => error.status(),
                }
            } else {
                match connection.next_request(now) {
                    Some(Incoming::Rejected(rejection)) => rejection.status,
                    Some(Incoming::Request(head)) => {
                        seen.push(format!("{head:?}"));
                        in_request = true;
                        continue;
                    }
                    Some(Incoming::Closed(_)) | None => break,
                }
            };
            let head = ResponseHead {
                status,
                reason: b"",
                fields: std::iter::empty(),
            };
            let stamp = Stamp {
                date: b"Sun, 06 Nov 1994 08:49:37 GMT",
                server: None,
            };
            let mut out = Vec::new();
            assert_eq!(
                connection
                    .start_response(&head, BodyLength::Unknown, &stamp, &mut out)
                    .count,
                0
            );
            let _ = connection.frame(body.len(), &mut out);
            assert_eq!(connection.finish_response(&mut out), Finish::Whole);
            seen.push(format!(
                "{status} {} {}",
                body.escape_ascii(),
                out.escape_ascii()
            ));
            body.clear();
            in_request = false;
            if let Step::Close(reason) = connection.next_step(now) {
                seen.push(format!("{reason:?}"));
            }
        }
    }
    seen.push(format!("{} {}", connection.is_idle(), body.escape_ascii()));
    seen
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let parts: Vec<&[u8]> = bytes.chunks(usize::from(size) + 1).collect();
    assert_eq!(serve(&parts), serve(&[bytes]));
});
