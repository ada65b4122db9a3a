//! Connections of handlers to other hosts: the HTTP client, and the look-up of names.
//!
//! A handler runs on a reactor's thread and must not hold it. So requests run on one thread of
//! their own, `wasgi-outbound`, which starts with the first of them. A reactor only polls the
//! result and the blocks of the body; a block is read from the network when the handler asks for
//! it, so a handler that doesn't read holds one.
//!
//! - [`send`] sends a request: `client` has its steps, `connect` makes connections, `pool` keeps
//!   idle ones, and `body` is the response's body.
//! - [`look_up`] finds the addresses of a name (`resolve`).
//! - [`own`] sends requests of the server itself, which no grant limits; `download` receives long
//!   responses to them.
//! - `handler` has the connections of one handler, which are limited; sockets of handlers count
//!   ([`Connections::try_take`]).
//!
//! Whether a host and an address are allowed, [`OutboundGrants`](crate::grants::OutboundGrants)
//! decides. An address is checked when a connection is made and when an idle one is used again.

mod body;
mod client;
mod connect;
mod download;
mod error;
mod handler;
pub(crate) mod own;
mod pool;
mod resolve;
mod runtime;
mod target;
mod tls;

pub(crate) use client::send;
pub(crate) use download::{Download, Until};
pub(crate) use error::{Error, Limit, LookupError};
pub(crate) use handler::{Connection, Connections, Sender};
pub(crate) use resolve::look_up;
pub(crate) use target::{Limits, Target};
pub(crate) use tls::Authorities;
