//! Several processes that serve one site: a supervisor, which serves nobody itself, and its
//! workers, each of them this program again with a [`WorkerId`] among its arguments.
//!
//! - `supervise`: the supervisor's loop: starts workers, restarts those that die, ends them all.
//! - `worker`: one of them, as a child process.
//! - `worker_id`, `channel`: how a process knows that it is a worker, and what the two say to each
//!   other.
//! - `back_off`, `relay`: one thing each.
//!
//! No socket of the network in here: the supervisor holds `server::Reservation`s of the addresses,
//! and each worker binds sockets of its own to them.

mod back_off;
mod channel;
mod relay;
mod supervise;
mod worker;
mod worker_id;

pub use channel::{Report, ToSupervisor};
pub use supervise::{Reconfigure, Supervisor};
pub use worker::Logs;
pub use worker_id::WorkerId;

/// The signal by which a supervisor has a worker end at once. A second SIGTERM won't do: an init
/// system may send one to every process of a service, beside the one that the supervisor passes on.
pub const END_AT_ONCE: i32 = signal_hook::consts::SIGUSR1;
