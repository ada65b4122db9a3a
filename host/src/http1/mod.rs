//! The server's side of HTTP/1.1 and HTTP/1.0 as a state machine that does no I/O.
//!
//! Bytes and the time go in; requests, bytes to send and a deadline come out. There is no socket,
//! no clock and no file in here.

pub use body::{BodyProgress, Discard, RequestBody};
pub use chunked::{ChunkedDecoder, Piece};
pub use connection::{Connection, Expiry, Incoming, Step};
pub use error::{BodyError, CloseReason, Rejection};
pub use head::{RequestHead, Version};
pub use limits::Limits;
pub use response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};

mod answer;
mod authority;
mod body;
mod buffer;
mod chunked;
mod connection;
mod encode;
mod error;
mod framing;
mod head;
mod intake;
mod layout;
mod limits;
mod patience;
mod request_line;
mod response;
mod scan;
mod token;

#[cfg(test)]
#[path = "../../../tests/requests/mod.rs"]
mod requests;
