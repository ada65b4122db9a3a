//! State of handlers between requests: buckets of keys and values.
//!
//! - `options`: the section `[state]`. `operation`: what can be asked of a store.
//! - [`Store`]: a process's handle on the store. It puts operations into a bounded `queue`, from
//!   which a thread takes them, so that no reactor waits for a disk or a network.
//! - `embedded`: one database file per site. The process that holds the file's lock is its owner;
//!   others send their operations to it through a Unix socket, in `frame`s. When the owner ends,
//!   however it ends, the kernel releases the lock and another process becomes the owner.
//! - `redis`: a Redis server instead, with the same semantics.
//! - [`Admin`]: blocking access for the command line. `json_lines`: the format of exports.

mod admin;
mod bucket;
mod embedded;
mod frame;
mod json_lines;
mod operation;
mod options;
mod queue;
mod redis;
mod store;
#[cfg(test)]
mod tests;

pub use admin::Admin;
pub use bucket::{BucketId, check_bucket_name};
pub use embedded::CopyTarget;
pub use json_lines::{Line, parse_line, show_line};
pub use operation::{
    BucketStatistics, Digest, Entry, Failure, MAX_BATCH_BYTES, MAX_BATCH_COUNT, MAX_KEY_BYTES,
    Operation, Reply,
};
pub use options::{Limits, StateOptions};
pub use store::{Store, check_options, create_folder, port};
