//! The host of a request, and the limits of a request.

use std::time::Duration;

use crate::grants::{Host, Protocol};

/// The host that a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The protocol: HTTP with or without TLS.
    pub(crate) is_https: bool,
    /// The host.
    pub(crate) host: Host,
    /// The port.
    pub(crate) port: u16,
}

/// The limits of one request to another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The maximum number of connections of one handler.
    pub(crate) connections: usize,
    /// The maximum size of a response's body, in bytes.
    pub(crate) response_bytes: u64,
    /// The maximum time until there is a connection.
    pub(crate) connect_time: Duration,
    /// The maximum time from the connection to the head of the response.
    pub(crate) first_byte_time: Duration,
    /// The maximum time from one block of the body to the next.
    pub(crate) between_bytes_time: Duration,
}

impl Target {
    /// Returns the protocol.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.is_https {
            true => Protocol::Https,
            false => Protocol::Http,
        }
    }
}
