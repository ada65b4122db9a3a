//! A reactor's part of the access log: collects the lines of a turn and sends them together.

use crate::log::{Log, Source};

/// A collector of lines. A clone has a separate buffer.
#[derive(Debug)]
pub(super) struct AccessLog {
    log: Log,
    lines: String,
}

impl AccessLog {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
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
            self.log.send(&Source::Server, lines.into_bytes());
        }
    }
}

impl Clone for AccessLog {
    fn clone(&self) -> Self {
        Self::new(self.log.clone())
    }
}
