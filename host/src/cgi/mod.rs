//! CGI/1.1 (RFC 3875): the translation of requests and responses. Execution of programs is in
//! `engine`.
//!
//! - [`variables()`] returns the environment of a program (section 4.1).
//! - [`HeadReader`] parses the head of a program's output (section 6).

mod head;
mod variables;

pub use head::{BadHead, HeadReader, Started};
pub use variables::variables;
