//! The admin listener: what the operator of a server sees of it, on an address of its own.
//!
//! It is never a path of the site: it has its own socket, on a loopback address or in the file
//! system, and its own thread, so that it answers while the reactors are busy.
//!
//! - [`AdminAddr`], [`AdminOptions`]: the section `[admin]` of `wasgi.toml`.
//! - `listener`: the socket.
//! - `serve`: the thread: connections, and their limits.
//! - `respond`: the endpoints, and which requests are accepted.
//! - [`get`]: a client, for commands.
//! - [`Inspect`]: where the answers come from. A server process implements it for its own
//!   state, a supervisor for all of its workers.

mod addr;
mod client;
mod inspection;
mod listener;
mod options;
mod respond;
mod serve;

pub(crate) use addr::AdminAddr;
pub(crate) use client::get;
pub(crate) use inspection::{Inspect, Inspection, Phase, ProcessStatus, status};
pub(crate) use listener::AdminListener;
pub(crate) use options::AdminOptions;
pub(crate) use serve::Admin;
