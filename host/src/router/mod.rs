//! From a request-target to what answers it.

mod path;

pub use path::{BadPath, RequestPath};
