//! The server's side of HTTP/1.1 and HTTP/1.0 as a state machine that does no I/O.
//!
//! Bytes and the time go in; requests, bytes to send and a deadline come out. There is no socket,
//! no clock and no file in here.

pub use body::{BodyProgress, Discard, RequestBody};
pub use connection::{Connection, Expiry, Incoming, Step};
pub use error::{BodyError, CloseReason, Rejection};
pub use head::{RequestHead, Version};
pub use limits::Limits;
pub use response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};

mod body;
mod connection;
mod error;
mod head;
mod limits;
mod response;
