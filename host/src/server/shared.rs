//! The state that all reactors share.

use std::sync::Arc;

use super::access_log::AccessLog;
use super::admission::Admission;
use super::failures::LastFailures;
use super::options::Settings;
use super::tls::Tls;
use crate::dev::Dev;
use crate::engine::Program;
use crate::metrics::HandlerCounts;
use crate::published::Published;
use crate::registry::Registry;
use crate::static_files::Pages;
use crate::traces::Tracer;

/// The state that all reactors share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) registry: Arc<Published<Registry<Program>>>,
    pub(super) pages: Arc<Pages>,
    pub(super) settings: Arc<Published<Settings>>,
    pub(super) admission: Arc<Admission>,
    pub(super) access_log: AccessLog,
    /// Counts the requests without a handler.
    pub(super) others: Arc<HandlerCounts>,
    /// The last failures of handlers.
    pub(super) failures: Arc<LastFailures>,
    pub(super) tls: Option<Tls>,
    /// The https port in redirects.
    pub(super) https_port: u16,
    /// What `wasgi dev` adds.
    pub(super) dev: Option<Arc<Dev>>,
    /// Records traces, if a collector is configured.
    pub(super) tracer: Option<Arc<Tracer>>,
}
