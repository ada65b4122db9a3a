//! Detects changes of the certificate files and loads the new certificate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::certificate::{Current, Files};
use crate::file_watch::{FileWatch, Stamps, Watched};

/// The polling interval. A certificate is replaced weeks before it expires; two system calls per
/// poll cost nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Replaces the current certificate with new versions of its files. Certificate and key are written
/// one after the other, and don't match in between.
pub(super) struct Follow {
    pub(super) files: Files,
    pub(super) current: Arc<Current>,
}

impl Follow {
    /// Watches the files for changes since `first` was taken.
    pub(super) fn start(self, first: Stamps) -> anyhow::Result<FileWatch> {
        FileWatch::start("wasgi-tls", POLL_INTERVAL, first, self)
            .context("could not start the thread that watches the certificate")
    }
}

impl Watched for Follow {
    fn stamps(&self) -> Stamps {
        self.files.stamps()
    }

    fn changed(&mut self) {
        match self.files.load() {
            Ok(key) => {
                self.current.replace(key);
                tracing::info!("{}: new certificate in use", self.files.cert.display());
            }
            Err(error) => tracing::error!(
                "the new certificate is invalid, the old one stays in use: {error:#}"
            ),
        }
    }
}
