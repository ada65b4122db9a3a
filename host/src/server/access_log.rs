//! A reactor's part of the access log: collects the lines of a turn and sends them together.

use std::sync::Arc;

use crate::log::{Log, Source};
use crate::published::{Published, Reader};

/// A collector of lines. A clone has a separate buffer.
#[derive(Debug)]
pub(super) struct AccessLog {
    log: Reader<Log>,
    published: Arc<Published<Log>>,
    lines: String,
}

impl AccessLog {
    /// Creates a collector for a log that may be replaced.
    pub(super) fn new(published: Arc<Published<Log>>) -> Self {
        Self {
            log: Reader::new(published.clone()),
            published,
            lines: String::new(),
        }
    }

    /// Returns the buffer for the next line.
    pub(super) fn buffer(&mut self) -> &mut String {
        &mut self.lines
    }

    /// Sends the lines to the log thread.
    pub(super) fn flush(&mut self) {
        if !self.lines.is_empty() {
            let capacity = self.lines.len();
            let lines = std::mem::replace(&mut self.lines, String::with_capacity(capacity));
            self.log.current().send(&Source::Server, lines.into_bytes());
        }
    }
}

impl Clone for AccessLog {
    fn clone(&self) -> Self {
        Self::new(self.published.clone())
    }
}
