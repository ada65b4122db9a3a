//! A log: its queue, and the thread that writes it.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context;

use super::limits::{Limits, PATIENCE};
use super::output;
use super::queue::Source;
use super::shared::Shared;

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
        let shared = Arc::new(Shared::new(limits));
        thread::Builder::new()
            .name(format!("wasgi-{name}"))
            .spawn({
                let shared = shared.clone();
                move || output::write_all(name, output, &shared)
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
        self.0.0.flush(deadline);
    }
}

/// Dropping the last clone of a log ends its thread.
impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}
