//! The logs. Each output has its own writer thread, so that a terminal or pipe that blocks, or a
//! full disk, stalls that thread and not the requests.
//!
//! - `queue`: the queued lines of an output; bounded in bytes, and fair between handlers.
//! - `handle`: a log, its queue and its thread, as its users see it.
//! - `shared`, `output`: the queue shared between threads, and the writer thread.
//! - `subscriber`: formats a `tracing` event or a handler's line as a line of the error log.
//! - `format`: the formats of lines.
//! - `access`: the destination of the access log.
//! - `gather`: collects the lines that a handler writes in one turn into one block.
//! - `limits`: the settings.

mod access;
mod format;
mod gather;
mod handle;
mod limits;
mod output;
mod queue;
mod shared;
mod subscriber;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;

use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock};

use tracing::Level;
use tracing::level_filters::LevelFilter;

pub(crate) use self::access::{AccessLog, AccessTarget};
pub(crate) use self::format::LogFormat;
use self::format::{Subject, json_line};
pub(crate) use self::gather::gather;
pub(crate) use self::handle::Log;
pub(crate) use self::limits::Limits;
pub(crate) use self::queue::Source;
use self::subscriber::LogSubscriber;

/// The target of events that say what was denied to a handler, and how to grant it.
pub(crate) const DENIAL: &str = "denial";

/// The default log level.
pub(crate) const LEVEL: LevelFilter = LevelFilter::INFO;

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

/// Installs `log` as the destination of `tracing` events and handlers' lines. Only the first call
/// in a process has an effect.
pub(crate) fn install(log: Log, level: LevelFilter, colours: bool) {
    install_subscriber(LogSubscriber {
        log,
        level,
        colours,
        only_denials: false,
    });
}

/// Installs `log` as the destination of the messages that say what was denied to a handler, and of
/// nothing else. Only the first call of this function or [`install`] in a process has an effect.
pub(crate) fn install_denials(log: Log, colours: bool) {
    install_subscriber(LogSubscriber {
        log,
        level: LevelFilter::WARN,
        colours,
        only_denials: true,
    });
}

fn install_subscriber(subscriber: LogSubscriber) {
    let subscriber = Arc::new(subscriber);
    if ERROR_LOG.set(subscriber.clone()).is_ok() {
        // Fails if another subscriber is installed, which then remains.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Receives the handlers' lines as well, if it is set.
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// A function that receives each line of a handler, given without its end, with the number of its
/// request.
type Listener = Box<dyn Fn(Level, &Arc<str>, Option<NonZeroU64>, &[u8]) + Send + Sync>;

/// Passes each line of a handler to `listener` as well, which must not block. Only the first call
/// in a process has an effect.
pub(crate) fn listen(
    listener: impl Fn(Level, &Arc<str>, Option<NonZeroU64>, &[u8]) + Send + Sync + 'static,
) {
    // Fails if there is another one, which then remains.
    let _ = LISTENER.set(Box::new(listener));
}

/// Writes text that is already formatted, such as a compiler's output, to the error log. Its
/// control characters must be harmless.
pub(crate) fn lines(text: &str) {
    if let Some(subscriber) = ERROR_LOG.get() {
        if subscriber.log.format() == LogFormat::Json {
            let text = text.trim_end_matches('\n');
            let line = json_line("INFO", Subject::default(), text);
            return subscriber.log.announce(line);
        }
        let end = if text.ends_with('\n') { "" } else { "\n" };
        subscriber.log.announce(format!("{text}{end}"));
    }
}

/// Writes messages of the start, in whole lines, to `out`, the log of standard output, in its
/// format. With an access log in Apache's formats, other lines would disturb its readers: the
/// messages then go to the error log.
pub(crate) fn announce(out: &Log, text: impl AsRef<str>) {
    let text = text.as_ref();
    match out.format() {
        LogFormat::Text => out.announce(text),
        LogFormat::Json => {
            let lines = text.lines().filter(|line| !line.is_empty());
            let objects = lines.map(|line| json_line("INFO", Subject::default(), line));
            out.announce(objects.collect::<String>());
        }
        LogFormat::Common | LogFormat::Combined => lines(text),
    }
}

/// Sets the format of the error log.
pub(crate) fn set_format(format: LogFormat) {
    if let Some(subscriber) = ERROR_LOG.get() {
        subscriber.log.set_format(format);
    }
}

/// Applies new limits to the error log.
pub(crate) fn set_limits(limits: &Limits) {
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

/// Passes a line to the listener only: one that belongs to a handler's request, and is logged as a
/// message of the server.
pub(crate) fn record(level: Level, handler: &Arc<str>, request: Option<NonZeroU64>, line: &[u8]) {
    if let Some(listener) = LISTENER.get() {
        listener(level, handler, request, line);
    }
}

/// Logs a handler's line, given without its end. `request_id` identifies its request in the log,
/// and `number` in the record of requests. Returns its size in the log, in bytes.
pub(crate) fn handler_line(
    level: Level,
    handler: &Arc<str>,
    request_id: Option<&str>,
    number: Option<NonZeroU64>,
    line: &[u8],
) -> usize {
    record(level, handler, number, line);
    let subscriber = ERROR_LOG.get();
    subscriber.map_or(0, |subscriber| {
        subscriber.handler_line(level, handler, request_id, line)
    })
}
