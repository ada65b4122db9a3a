//! Tests of handlers in Hurl's file format, for `wasgi test`: requests, and what their responses
//! must be. The part of the format that is supported is documented in `docs/testing.md`; a file
//! that has complete URLs also runs with `hurl` against a server.
//!
//! | file | content |
//! |---|---|
//! | `entry` | a request and its expectation, as the file has them |
//! | `lines`, `literal`, `parse` | the parser: lines, values, and entries |
//! | `variables` | `{{name}}` in texts |
//! | `response` | a response, and what a test can ask of it |
//! | `predicate` | the comparison of a value |
//! | `run` | sends the requests of a file in order, and compares |
//!
//! Requests are sent by the caller's [`Send`], so this module knows neither the engine nor sockets.

mod cookies;
mod entry;
mod jsonpath;
mod lines;
mod literal;
mod parse;
mod predicate;
mod response;
mod run;
mod variables;

pub(crate) use entry::Outgoing;
pub(crate) use parse::parse;
pub(crate) use response::Response;
pub(crate) use run::{Failure, Send, run};
