//! Detects changes of certificate files and loads the new certificates.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::certificate::Certificates;
use crate::file_watch::{FileWatch, Stamps, Watched};

/// The polling interval. A certificate is replaced weeks before it expires; two system calls per
/// poll cost nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Replaces the current certificates with new versions of their files. Certificate and key are
/// written one after the other, and don't match in between.
pub(super) struct Follow(pub(super) Arc<Certificates>);

impl Follow {
    /// Watches the files for changes since `first` was taken.
    pub(super) fn start(self, first: Stamps) -> anyhow::Result<FileWatch> {
        FileWatch::start("wasgi-tls", POLL_INTERVAL, first, self)
            .context("could not start the thread that watches the certificate")
    }
}

impl Watched for Follow {
    fn stamps(&self) -> Stamps {
        self.0.stamps()
    }

    fn changed(&mut self) {
        self.0.look(|files, result| match result {
            Ok(()) => tracing::info!("{}: new certificate in use", files.cert.display()),
            Err(error) => tracing::error!(
                "the new certificate is invalid, the old one stays in use: {error:#}"
            ),
        });
    }
}
