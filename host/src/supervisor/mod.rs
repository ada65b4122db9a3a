//! Several processes that serve one site: a supervisor, which serves no requests, and its workers.
//! A worker is this program started again with a [`WorkerId`] among its arguments.
//!
//! - `supervise`: the supervisor's loop: starts workers, restarts those that die, and stops them
//!   all.
//! - `worker`: a worker as a child process.
//! - `worker_id`, `channel`: how a process learns that it is a worker, and how the two communicate.
//! - `inspect`: what the admin listener tells of all workers.
//! - `back_off`: the delay before a restart.
//! - `relay`: forwards a worker's output to the supervisor's logs.
//!
//! The supervisor holds the sockets (`server::Sockets`) and passes each worker its part. It serves
//! none of them.

mod back_off;
mod channel;
mod inspect;
mod relay;
mod supervise;
mod worker;
mod worker_id;

pub(crate) use channel::{Report, Started, ToSupervisor};
pub(crate) use supervise::{Operator, Supervisor};
pub(crate) use worker::Logs;
pub(crate) use worker_id::WorkerId;

/// The signal that makes a worker exit immediately. A second SIGTERM is not suitable: an init
/// system may send one to every process of a service, in addition to the one that the supervisor
/// forwards. A terminal sends SIGQUIT to end all processes at once. SIGUSR1 and SIGUSR2 have other
/// meanings for the supervisor.
pub(crate) const END_AT_ONCE: i32 = signal_hook::consts::SIGQUIT;
