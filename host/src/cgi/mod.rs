//! CGI/1.1 (RFC 3875): translates requests to environments and output to responses.
//! `engine::command` runs the programs.
//!
//! - [`variables()`] returns the environment of a program (section 4.1).
//! - [`HeadReader`] parses the head of a program's output (section 6).

mod head;
mod variables;

pub(crate) use head::{HeadReader, Started};
pub(crate) use variables::variables;
