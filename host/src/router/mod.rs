//! Maps a request-target to the handler that serves it.

mod path;
mod route;
mod table;

pub use path::{NotAbsolute, Oddity, RequestPath};
pub use route::{BadRoute, MAX_SEGMENTS, Route, Segment, Shape};
pub use table::{Found, MatchedBy, Table};
