//! Virtual hosts: which of them a request is for.
//!
//! The host is chosen once per request, after its head was parsed, by the host in the request's
//! target if that is an absolute URL, and otherwise by its Host field (RFC 9112 section 3.2.2). No
//! field of a proxy takes its place: a client can set such a field in front of a proxy that doesn't
//! know it.

use std::sync::Arc;

use crate::content::CompressOptions;
use crate::engine::Program;
use crate::host_name::{HostMap, full_name};
use crate::http1::{RequestHead, split_authority};
use crate::metrics::HandlerCounts;
use crate::policy::Policies;
use crate::published::{Published, Reader};
use crate::registry::Registry;
use crate::static_files::Pages;

/// Why a request to an unknown host is rejected.
const UNKNOWN: &str = "This server doesn't serve this host.";

/// Why a request is rejected whose connection was made to another host.
const OTHER_CONNECTION: &str =
    "This connection was opened for another host: open one for this host.";

/// A virtual host, with its settings at one time. A change of the configuration creates a new one
/// for the same routes and pages.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    /// The name of its table in the configuration: `example.com`, `*.example.com`.
    name: String,
    /// What the logs show in place of a handler's name for its pages: `//example.com/-`.
    name_of_pages: String,
    parts: HostParts,
    policies: Policies,
    compress: CompressOptions,
    /// Whether it has a certificate of its own.
    has_certificate: bool,
    /// Its place in [`HostTable::hosts`].
    index: usize,
}

/// The parts of a virtual host that outlive a change of its settings.
#[derive(Clone, Debug)]
pub(crate) struct HostParts {
    /// Its routes.
    pub registry: Arc<Published<Registry<Program>>>,
    /// Its pages.
    pub pages: Arc<Pages>,
    /// Counts its requests without a handler.
    pub others: Arc<HandlerCounts>,
}

/// The settings of a virtual host.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings {
    /// The names by which requests reach it: that of its table, and aliases.
    pub names: Vec<String>,
    /// The limits and grants of its handlers.
    pub policies: Policies,
    /// What to compress.
    pub compress: CompressOptions,
    /// Whether it has a certificate of its own.
    pub has_certificate: bool,
}

/// All virtual hosts at one time. Immutable.
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    hosts: Vec<Arc<VirtualHost>>,
    by_name: HostMap<usize>,
    /// Whether requests to unknown hosts are for the site itself; otherwise they are rejected.
    has_default: bool,
}

impl VirtualHost {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn name_of_pages(&self) -> &str {
        &self.name_of_pages
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.parts.pages
    }

    pub(crate) fn others(&self) -> &HandlerCounts {
        &self.parts.others
    }

    pub(crate) fn registry(&self) -> Arc<Registry<Program>> {
        self.parts.registry.current()
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn compress(&self) -> &CompressOptions {
        &self.compress
    }
}

impl HostTable {
    /// Creates a table without hosts.
    pub(crate) fn new(has_default: bool) -> Self {
        Self {
            has_default,
            ..Self::default()
        }
    }

    /// Adds a host. Its first name is that of its table. None of them is in the table already.
    pub(crate) fn add(&mut self, parts: HostParts, settings: HostSettings) {
        let index = self.hosts.len();
        for name in &settings.names {
            self.by_name.insert(name, index);
        }
        let name = settings.names.first().cloned().unwrap_or_default();
        self.hosts.push(Arc::new(VirtualHost {
            name_of_pages: full_name(Some(&name), "-"),
            name,
            parts,
            policies: settings.policies,
            compress: settings.compress,
            has_certificate: settings.has_certificate,
            index,
        }));
    }

    /// Returns the hosts, in the order of the configuration.
    pub(crate) fn hosts(&self) -> &[Arc<VirtualHost>] {
        &self.hosts
    }

    fn find(&self, host: &[u8]) -> Option<&Arc<VirtualHost>> {
        self.hosts.get(*self.by_name.get(host)?)
    }

    /// Returns the host that a request is for; `None` for the site itself. `connection` is the name
    /// that the client gave in its TLS handshake, or none, or `None` without TLS.
    ///
    /// # Errors
    ///
    /// Fails with the reason if the request gets 421 (Misdirected Request, RFC 9110 section
    /// 15.5.20): if the host is unknown, or if one of two hosts, that of the handshake and that of
    /// the request, has a certificate that the other one doesn't have.
    pub(super) fn choose(
        &self,
        head: &RequestHead,
        connection: Option<Option<&str>>,
    ) -> Result<Option<&Arc<VirtualHost>>, &'static str> {
        let asked = split_authority(head.authority());
        let asked = asked.and_then(|(host, _)| self.find(host));
        if let Some(connected) = connection {
            let connected = connected.and_then(|name| self.find(name.as_bytes()));
            let place = |host: Option<&Arc<VirtualHost>>| host.map(|host| host.index);
            let is_own = |host: &Arc<VirtualHost>| host.has_certificate;
            if place(asked) != place(connected)
                && (asked.is_some_and(is_own) || connected.is_some_and(is_own))
            {
                return Err(OTHER_CONNECTION);
            }
        }
        match asked {
            None if !self.has_default => Err(UNKNOWN),
            asked => Ok(asked),
        }
    }
}

/// A reactor's view of the routes of all hosts.
#[derive(Debug, Default)]
pub(super) struct HostViews {
    table: Option<Arc<HostTable>>,
    /// By [`VirtualHost::index`].
    registries: Vec<Reader<Registry<Program>>>,
}

impl HostViews {
    /// Makes it a view of the hosts of `table`.
    pub(super) fn follow(&mut self, table: &Arc<HostTable>) {
        if self
            .table
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, table))
        {
            return;
        }
        let readers = table.hosts.iter();
        let readers = readers.map(|host| Reader::new(host.parts.registry.clone()));
        self.registries = readers.collect();
        self.table = Some(table.clone());
    }

    /// Returns the current routes of a host of the table.
    pub(super) fn registry(&mut self, host: &VirtualHost) -> Option<&Registry<Program>> {
        let reader = self.registries.get_mut(host.index)?;
        Some(reader.current())
    }
}
