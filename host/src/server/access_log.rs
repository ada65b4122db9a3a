//! A reactor's end of the access log: lines are gathered for a turn and handed over together.

use crate::log::{Log, Source};

/// Gathers lines. A clone has a buffer of its own.
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

    /// Where the next line goes.
    pub(super) fn buffer(&mut self) -> &mut String {
        &mut self.lines
    }

    /// Hands the lines over to the log's thread.
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
