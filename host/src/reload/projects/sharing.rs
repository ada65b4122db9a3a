//! What the builds of several sites in one process share.

use std::sync::Arc;

use crate::permits::Permits;
use crate::reload::WatchSource;

/// What the builds of several sites in one process share: its clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct BuildSharing {
    /// The builds that are running, of which there is a limit.
    pub(super) running: Arc<Permits>,
    /// The events of the folders of sources.
    pub(super) source: WatchSource,
}

impl BuildSharing {
    /// Creates what builds share that watch their sources by `source`.
    pub(crate) fn new(source: &WatchSource) -> Self {
        Self {
            running: Arc::default(),
            source: source.clone(),
        }
    }
}

impl Default for BuildSharing {
    fn default() -> Self {
        Self::new(&WatchSource::for_few())
    }
}
