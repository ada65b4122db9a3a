//! A log: its queue, and the thread that writes it.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context;

use super::format::LogFormat;
use super::limits::{Limits, PATIENCE};
use super::output;
use super::queue::Source;
use super::shared::{Reports, Shared};

/// A handle to a log's queue. Clones share the log.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Log {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn start(
        name: &'static str,
        output: impl Write + Send + 'static,
        limits: &Limits,
    ) -> anyhow::Result<Self> {
        Self::start_with(name, output, limits, Reports::InLog)
    }

    /// Starts the thread that writes to `output`. Reports of dropped lines go to the error log,
    /// because programs parse the lines of this log.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn start_for_access(
        name: &'static str,
        output: impl Write + Send + 'static,
        limits: &Limits,
    ) -> anyhow::Result<Self> {
        Self::start_with(name, output, limits, Reports::InErrorLog)
    }

    fn start_with(
        name: &'static str,
        output: impl Write + Send + 'static,
        limits: &Limits,
        reports: Reports,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::new(limits, reports));
        thread::Builder::new()
            .name(format!("wasgi-{name}"))
            .spawn({
                let shared = shared.clone();
                move || output::write_all(name, Box::new(output), &shared)
            })
            .with_context(|| format!("could not start the thread of the {name} log"))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Queues whole lines without blocking. If there is no room, the lines are dropped, and the log
    /// later reports how many.
    pub(crate) fn send(&self, source: &Source, lines: Vec<u8>) {
        self.0.0.push(source, lines);
    }

    /// Queues whole lines. Blocks until there is room, as long as the output makes progress.
    pub(crate) fn send_when_room(&self, source: &Source, lines: Vec<u8>) {
        self.0.0.push_when_room(source, lines);
    }

    /// Queues messages of the server itself: whole lines.
    pub(crate) fn announce(&self, lines: impl Into<Vec<u8>>) {
        self.send(&Source::Server, lines.into());
    }

    /// Applies new limits.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.0.0.set_limits(limits);
    }

    /// Replaces the output, after the lines that are being written. Then logs that the log was
    /// opened as `shown`.
    pub(super) fn replace(&self, output: Box<dyn Write + Send>, shown: String) {
        self.0.0.replace(output, shown);
    }

    /// Sets the format of the messages in this log.
    pub(crate) fn set_format(&self, format: LogFormat) {
        self.0.0.format.set(format);
    }

    /// Returns the format of the messages in this log.
    pub(crate) fn format(&self) -> LogFormat {
        self.0.0.format.get()
    }

    /// See [`Limits::line_bytes`].
    pub(crate) fn line_bytes(&self) -> usize {
        self.0.0.line_bytes()
    }

    /// Waits until all queued lines are written, at most two seconds. An output that blocks loses
    /// its last lines, but does not prevent the process from exiting.
    pub(crate) fn flush(&self) {
        self.flush_until(Instant::now() + PATIENCE);
    }

    pub(super) fn flush_until(&self, deadline: Instant) {
        let left = self.0.0.flush(deadline);
        if left > 0 && self.0.0.reports == Reports::InErrorLog {
            tracing::warn!(
                "the access log: {left} lines are lost: its output does not accept them"
            );
        }
    }
}

/// Dropping the last clone of a log ends its thread.
impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}
