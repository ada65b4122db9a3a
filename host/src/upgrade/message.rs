//! The messages between a server and its successor: a line of JSON in each direction, and then a
//! line by which the server confirms that it has handed over.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The version of the messages. It changes with each change that an older program would
/// misunderstand.
pub(super) const PROTOCOL: u32 = 1;

/// The maximum length of a message, in bytes: many times that of a path and the keys.
pub(super) const MAX_LINE_BYTES: u64 = 64 << 10;

/// The line by which a server confirms that its successor has its place.
pub(super) const DONE: &[u8] = b"done";

/// The version of a message, which is checked before the rest is parsed.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) protocol: u32,
}

/// What a server hands over. Its descriptors are in this order: the sockets of the site, those of
/// the redirect, and that of the admin listener.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(super) protocol: u32,
    /// The process ID of the server.
    pub(super) pid: u32,
    /// It runs in a terminal, which ends it by SIGHUP.
    pub(super) has_terminal: bool,
    pub(super) site: Sockets,
    pub(super) redirect: Option<Sockets>,
    /// The address of the admin listener in the configuration.
    pub(super) admin: Option<String>,
    /// The keys of session tickets.
    pub(super) tickets: Option<String>,
}

/// Sockets of one address.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// The address in the configuration. None for those that the init system has bound, which
    /// take precedence over the configuration.
    pub(super) configured: Option<SocketAddr>,
    pub(super) count: usize,
}

/// What the successor answers when it serves, or can't.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) protocol: u32,
    pub(super) outcome: Outcome,
}

/// What has become of a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// It accepts connections.
    Serves {
        /// It has the socket of the admin listener.
        takes_admin: bool,
    },
    /// It ends, and this line says why.
    Fails(String),
}

impl Answer {
    pub(super) fn new(outcome: Outcome) -> Self {
        let protocol = PROTOCOL;
        Self { protocol, outcome }
    }
}

impl Offer {
    /// Describes the sockets of the site, and the keys.
    pub(crate) fn new(
        configured: Option<SocketAddr>,
        count: usize,
        tickets: Option<String>,
        has_terminal: bool,
    ) -> Self {
        Self {
            protocol: PROTOCOL,
            pid: std::process::id(),
            has_terminal,
            site: Sockets { configured, count },
            redirect: None,
            admin: None,
            tickets,
        }
    }

    /// Adds the sockets of the redirect.
    pub(crate) fn with_redirect(mut self, configured: Option<SocketAddr>, count: usize) -> Self {
        self.redirect = Some(Sockets { configured, count });
        self
    }

    /// Adds the socket of the admin listener.
    pub(crate) fn with_admin(mut self, configured: String) -> Self {
        self.admin = Some(configured);
        self
    }

    /// Returns the number of descriptors.
    pub(super) fn files_count(&self) -> usize {
        let redirect = self.redirect.as_ref().map_or(0, |sockets| sockets.count);
        self.site.count + redirect + usize::from(self.admin.is_some())
    }
}
