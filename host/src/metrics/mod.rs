//! What the server counts, for `/metrics` of the admin listener.
//!
//! - [`HandlerCounts`]: the requests of one handler. [`Counter`]: what is counted for the whole
//!   process. Both have a shard per thread (`shard`), so a reactor writes to cache lines that no
//!   other thread writes to, and a scrape adds the shards.
//! - `resources`: processor time, memory and descriptors of the process.
//! - [`LoadSteps`]: how long each step of a load takes, and in which it fails.
//! - `table`: the table of all metrics, which the documentation and the encoding share.
//! - [`Snapshot`]: all values at one time. Snapshots of several processes are added.
//! - `encode`: the formats of Prometheus.
//!
//! Nothing is counted, and no clock is read for it, in a process without an admin listener.
//!
//! No label has a value that a client chooses: the values are names of handlers that are served,
//! and words from fixed lists.

#[cfg(test)]
mod dashboard;
mod encode;
mod handler;
mod load_steps;
mod process;
mod resources;
mod sampling;
mod shard;
mod snapshot;
mod table;

pub(crate) use encode::{Format, encode};
#[cfg(test)]
pub(crate) use handler::CAUSES;
pub(crate) use handler::HandlerCounts;
pub(crate) use load_steps::LoadSteps;
pub(crate) use process::{Counter, LoadStep};
pub(crate) use sampling::{SAMPLED, is_sampled};
pub(crate) use shard::{is_on, start_counting};
pub(crate) use snapshot::{Snapshot, Value};

/// Adds what is counted for the whole process, and what it uses of the system.
pub(crate) fn collect_process(into: &mut Snapshot) {
    process::collect(into);
    resources::collect(into);
}
