//! CGI/1.1 (RFC 3875), apart from how programs are run: what a program is told of its request, and
//! what becomes of its answer.
//!
//! - [`variables`] is the environment of a program (section 4.1).
//! - [`HeadReader`] takes the head off a program's output (section 6).

mod head;
mod variables;

pub use head::{BadHead, HeadReader, Started};
pub use variables::variables;
