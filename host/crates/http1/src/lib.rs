//! The server side of HTTP/1.1 and HTTP/1.0 as a state machine that does no I/O.
//!
//! Input is bytes and the current time; output is requests, bytes to send and a deadline. The crate
//! uses no socket, clock or file and knows nothing about handlers, so a test can feed it any byte
//! sequence, split at any position. [`Connection`] documents the states and the order of calls.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use wasgi_http1::{BodyLength, Connection, Incoming, Limits, ResponseHead, Stamp, Step};
//!
//! let now = Instant::now();
//! let mut connection = Connection::new(Arc::new(Limits::default()), now);
//! connection.receive(b"GET /a?b HTTP/1.1\r\nHost: example.com\r\n\r\n", now);
//! let Some(Incoming::Request(head)) = connection.next_request(now) else { panic!() };
//! assert_eq!((head.method(), head.path(), head.query()), ("GET", &b"/a"[..], &b"b"[..]));
//!
//! let mut out = Vec::new();
//! let fields = [("Content-Type", &b"text/plain"[..])];
//! let response = ResponseHead { status: 200, reason: b"OK", fields: fields.iter().copied() };
//! let stamp = Stamp { date: b"Sun, 06 Nov 1994 08:49:37 GMT", server: None };
//! let _ = connection.start_response(&response, BodyLength::Known(5), &stamp, &mut out);
//! let frame = connection.frame(5, &mut out);
//! out.extend_from_slice(&b"hello"[..frame.take]);
//! out.extend_from_slice(frame.suffix);
//! let _ = connection.finish_response(&mut out);
//! assert!(out.ends_with(b"Content-Length: 5\r\n\r\nhello"));
//! assert_eq!(connection.next_step(now), Step::NextRequest);
//! ```
//!
//! Files: `connection` holds the states. `scan`, `request_line`, `authority`, `layout` and
//! `framing` parse bytes into a `head` or an `error` with a status. `intake` reads the request
//! `body`, using `chunked` and `patience`. `answer` and `encode` write the `response`.
//! `docs/http-support.md` lists the supported features, rule by rule.

pub use authority::split_authority;
pub use body::{BodyProgress, Discard, RequestBody};
pub use chunked::{ChunkedDecoder, Piece};
pub use connection::Connection;
pub use encode::is_bodiless;
pub use error::{BodyError, CloseReason, Rejection};
pub use event::{Expiry, Incoming, Step};
pub use head::RequestHead;
pub use limits::Limits;
pub use patience::{Allowance, Patience};
pub use reason::reason;
pub use response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};
pub use version::Version;

mod answer;
mod authority;
mod body;
mod buffer;
mod chunked;
mod connection;
mod encode;
mod error;
mod event;
mod framing;
mod head;
mod intake;
mod layout;
mod limits;
mod patience;
mod reason;
mod request_line;
mod response;
mod scan;
mod span;
mod transaction;
mod version;

#[cfg(test)]
#[path = "../../../../tests/requests/mod.rs"]
mod requests;
