//! Denied connections of a handler, in its log: once for each host and version of the handler.

use super::guest_log::GuestLog;
use super::refusals::{Refused, Thing};
use crate::descriptor_limits::DescriptorLimits;
use crate::grants::{self, Prohibited};

/// The log of a handler's denied connections. Any thread may use it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct HostDenials {
    log: GuestLog,
    refused: Refused,
}

impl HostDenials {
    pub(in crate::engine) fn new(log: GuestLog, refused: Refused) -> Self {
        Self { log, refused }
    }

    /// Logs that a host is not granted, and how to grant it. `entry` is the entry of
    /// `allowed-outbound-hosts`.
    pub(in crate::engine) fn not_granted(&self, entry: &str) {
        if self.refused.is_new_host(entry) {
            let table = grants::table_header(self.log.handler());
            let text = format!(
                "asked for {entry}, which is not granted; to grant it, add to wasgi.toml: {table} \
                 allowed-outbound-hosts = [\"{entry}\"]"
            );
            self.log.deny(&text);
        }
    }

    /// Logs that there is no descriptor for a connection, once per version of a handler.
    pub(in crate::engine) fn no_descriptor(&self, limits: DescriptorLimits) {
        if self.refused.is_news(Thing::OpenFiles) {
            self.log.deny(&format!("can't open a connection: {limits}"));
        }
    }

    /// Logs that a granted host stands for an address that its grant doesn't permit.
    pub(in crate::engine) fn prohibited(&self, entry: &str, why: Prohibited) {
        let Prohibited { address, range, .. } = why;
        if !self.refused.is_new_host(&format!("{entry} {range}")) {
            return;
        }
        let table = grants::table_header(self.log.handler());
        let how = match why.is_private {
            true => format!(
                "to grant it, write in wasgi.toml: {table} allowed-outbound-hosts = [{{ host = \
                 \"{entry}\", private = true }}]"
            ),
            false => "only a grant of the address itself permits it".into(),
        };
        let text = format!(
            "was denied a connection to {entry}, which stands for the {range} address {address}; \
             {how}"
        );
        self.log.deny(&text);
    }
}
