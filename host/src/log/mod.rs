//! Where log lines go. Each output has a thread of its own that writes, so that a terminal or a
//! pipe which takes nothing for a while, or a disk that is full, stalls that thread and no request.
//!
//! - `queue`: the lines that wait for an output; bounded in bytes, and fair between handlers.
//! - `shared`, `output`: the queue between threads, and the thread that writes.
//! - `subscriber`: from an event of `tracing`, or a handler's line, to a line of the error log.
//! - `gather`: the lines that a handler writes in one turn, as one block.
//! - `limits`: what can be set.

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
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::Level;
use tracing::level_filters::LevelFilter;

pub(crate) use self::gather::gather;
pub use self::limits::Limits;
pub(crate) use self::queue::Source;
use self::shared::Shared;
use self::subscriber::LogSubscriber;

/// How long the end of the program waits for an output to take the last lines, and a relay for an
/// output to take any.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lowest level that is logged where nothing else is said.
pub const LEVEL: LevelFilter = LevelFilter::INFO;

/// What the error log holds: messages of this level and of those above it.
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
    /// What may be a mistake as well, and what handlers write to their errors.
    Warn,
    /// What changes as well, and what handlers write to their standard output.
    #[default]
    Info,
    /// What helps to find a fault in the server.
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

/// What handlers' lines are written by. One for the process, as `tracing` has one.
static ERROR_LOG: OnceLock<Arc<LogSubscriber>> = OnceLock::new();

/// A log's way to its output. Clones share it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Log {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no thread.
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

    /// Hands over whole lines. Never waits: when there is no room for them, they are dropped, and
    /// the log says later how many that were.
    pub(crate) fn send(&self, source: &Source, lines: Vec<u8>) {
        self.0.0.push(source, lines);
    }

    /// Hands over whole lines, and waits for room as long as the output takes any.
    pub(crate) fn send_when_room(&self, source: &Source, lines: Vec<u8>) {
        self.0.0.push_when_room(source, lines);
    }

    /// Hands over what the server itself has to say: whole lines.
    pub fn announce(&self, lines: impl Into<Vec<u8>>) {
        self.send(&Source::Server, lines.into());
    }

    /// Goes by other limits from now on.
    pub fn set_limits(&self, limits: &Limits) {
        self.0.0.set_limits(limits);
    }

    /// See [`Limits::line_bytes`].
    pub(crate) fn line_bytes(&self) -> usize {
        self.0.0.line_bytes()
    }

    /// Waits until everything so far is written, or for two seconds: an output that takes nothing
    /// loses its last lines, and keeps nobody from ending.
    pub fn flush(&self) {
        self.0.0.flush(Instant::now() + PATIENCE);
    }
}

/// The last clone of a log ends its thread.
impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sends what `tracing` says to `log`, and what handlers write. The first call in a process counts.
pub fn install(log: Log, level: LevelFilter, colours: bool) {
    let subscriber = Arc::new(LogSubscriber {
        log,
        level,
        colours,
    });
    if ERROR_LOG.set(subscriber.clone()).is_ok() {
        // Fails where another one is installed, which then stays.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Whether standard error shows colours: it is a terminal, and `NO_COLOR` is not set or empty
/// (no-color.org).
pub fn wants_colours() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_off && std::io::stderr().is_terminal()
}

/// Has the error log go by other limits from now on.
pub fn set_limits(limits: &Limits) {
    if let Some(subscriber) = ERROR_LOG.get() {
        subscriber.log.set_limits(limits);
    }
}

/// The longest line of a handler's that is logged whole, in bytes: see [`Limits::line_bytes`].
pub(crate) fn line_bytes() -> usize {
    let installed = ERROR_LOG
        .get()
        .map(|subscriber| subscriber.log.line_bytes());
    installed.unwrap_or_else(|| Limits::default().line_bytes)
}

/// What a handler's line takes in the log at least, in bytes.
pub(crate) fn least_bytes(handler: &str, line: &[u8]) -> usize {
    /// What is before a line and behind it, without the handler's name.
    const FRAME_BYTES: usize = "2026-11-29T06:53:18.123456Z ERROR : \n".len();
    FRAME_BYTES + handler.len() + line.len()
}

/// Logs a line that a handler has written, without its end. Says how many bytes that takes in the
/// log.
pub(crate) fn handler_line(level: Level, handler: &Arc<str>, line: &[u8]) -> usize {
    let subscriber = ERROR_LOG.get();
    subscriber.map_or(0, |subscriber| {
        subscriber.handler_line(level, handler, line)
    })
}
