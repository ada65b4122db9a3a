//! The logs. Each output has its own writer thread, so that a terminal or pipe that blocks, or a
//! full disk, stalls that thread and not the requests.
//!
//! - `queue`: the queued lines of an output; bounded in bytes, and fair between handlers.
//! - `shared`, `output`: the queue shared between threads, and the writer thread.
//! - `subscriber`: formats a `tracing` event or a handler's line as a line of the error log.
//! - `gather`: collects the lines that a handler writes in one turn into one block.
//! - `limits`: the settings.

mod gather;
mod limits;
mod output;
mod queue;
mod shared;
mod subscriber;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use tracing::Level;
use tracing::level_filters::LevelFilter;

pub(crate) use self::gather::gather;
pub use self::limits::Limits;
use self::limits::PATIENCE;
pub(crate) use self::queue::Source;
use self::shared::Shared;
use self::subscriber::LogSubscriber;

/// The default log level.
pub const LEVEL: LevelFilter = LevelFilter::INFO;

/// The verbosity of the error log: it contains messages of this level and of more severe levels.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verbosity {
    /// Failures of handlers and of the server.
    Error,
    /// Also possible mistakes, and what handlers write to `wsgi.errors` or standard error.
    Warn,
    /// Also changes, and what handlers write to standard output.
    #[default]
    Info,
    /// Also details that help to debug the server.
    Debug,
}

impl From<Verbosity> for LevelFilter {
    fn from(verbosity: Verbosity) -> Self {
        match verbosity {
            Verbosity::Error => Self::ERROR,
            Verbosity::Warn => Self::WARN,
            Verbosity::Info => Self::INFO,
            Verbosity::Debug => Self::DEBUG,
        }
    }
}

/// Writes the handlers' lines. There is one per process, as for `tracing`.
static ERROR_LOG: OnceLock<Arc<LogSubscriber>> = OnceLock::new();

/// A handle to a log's queue. Clones share the log.
#[derive(Clone, Debug)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Log {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub fn start(
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
    pub fn announce(&self, lines: impl Into<Vec<u8>>) {
        self.send(&Source::Server, lines.into());
    }

    /// Applies new limits.
    pub fn set_limits(&self, limits: &Limits) {
        self.0.0.set_limits(limits);
    }

    /// See [`Limits::line_bytes`].
    pub(crate) fn line_bytes(&self) -> usize {
        self.0.0.line_bytes()
    }

    /// Waits until all queued lines are written, at most two seconds. An output that blocks loses
    /// its last lines, but does not prevent the process from exiting.
    pub fn flush(&self) {
        self.0.0.flush(Instant::now() + PATIENCE);
    }
}

/// Dropping the last clone of a log ends its thread.
impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Installs `log` as the destination of `tracing` events and handlers' lines. Only the first call
/// in a process has an effect.
pub fn install(log: Log, level: LevelFilter, colours: bool) {
    let subscriber = Arc::new(LogSubscriber {
        log,
        level,
        colours,
    });
    if ERROR_LOG.set(subscriber.clone()).is_ok() {
        // Fails if another subscriber is installed, which then remains.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Reports whether standard error should show colours: it is a terminal, and `NO_COLOR` is unset or
/// empty (no-color.org).
pub fn wants_colours() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_off && std::io::stderr().is_terminal()
}

/// Applies new limits to the error log.
pub fn set_limits(limits: &Limits) {
    if let Some(subscriber) = ERROR_LOG.get() {
        subscriber.log.set_limits(limits);
    }
}

/// Returns the maximum length of a handler's line that is logged whole, in bytes: see
/// [`Limits::line_bytes`].
pub(crate) fn line_bytes() -> usize {
    let installed = ERROR_LOG
        .get()
        .map(|subscriber| subscriber.log.line_bytes());
    installed.unwrap_or_else(|| Limits::default().line_bytes)
}

/// Returns the minimum size of a handler's line in the log, in bytes.
pub(crate) fn least_bytes(handler: &str, line: &[u8]) -> usize {
    /// The prefix and the end of a line, without the handler's name.
    const FRAME_BYTES: usize = "2026-11-29T06:53:18.123456Z ERROR : \n".len();
    FRAME_BYTES + handler.len() + line.len()
}

/// Logs a handler's line, given without its end. Returns its size in the log, in bytes.
pub(crate) fn handler_line(level: Level, handler: &Arc<str>, line: &[u8]) -> usize {
    let subscriber = ERROR_LOG.get();
    subscriber.map_or(0, |subscriber| {
        subscriber.handler_line(level, handler, line)
    })
}
