//! Formats `tracing` events as lines: time, level, the handler's name if the event concerns one,
//! and the message.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::DENIAL;
use super::gather;
use super::handle::Log;
use super::queue::Source;
use super::timestamp;
use crate::printable;

/// The name of an event's field that holds a handler's name.
const HANDLER_FIELD: &str = "handler";

/// Marks a truncated line.
const CUT: &str = " …";

/// Writes events to a log.
#[derive(Debug)]
pub(super) struct LogSubscriber {
    pub(super) log: Log,
    pub(super) level: LevelFilter,
    pub(super) colours: bool,
    /// Whether everything but denials is dropped.
    pub(super) only_denials: bool,
}

/// The parts of an event.
#[derive(Debug, Default)]
struct Parts {
    message: String,
    handler: Option<String>,
}

impl Subscriber for LogSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_wanted = !self.only_denials || metadata.target() == DENIAL;
        is_wanted && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        gather::send();
        let mut parts = Parts::default();
        event.record(&mut parts);
        let Parts { message, handler } = parts;
        let level = *event.metadata().level();
        let mut line = String::with_capacity(message.len() + 64);
        self.begin(&mut line, level, handler.as_deref());
        push_message(&mut line, &message, self.log.line_bytes());
        let source = match handler {
            Some(name) => Source::Handler(name.into()),
            None => Source::Server,
        };
        self.log.send(&source, line.into_bytes());
    }

    // The server uses no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl LogSubscriber {
    /// Logs a handler's line. Returns its size in the log, in bytes.
    pub(super) fn handler_line(&self, level: Level, handler: &Arc<str>, text: &[u8]) -> usize {
        if level > self.level || self.only_denials {
            return 0;
        }
        let mut line = String::with_capacity(text.len() + 64);
        self.begin(&mut line, level, Some(handler));
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        push_cut(
            &mut line,
            printable::line_of_bytes(text),
            self.log.line_bytes(),
        );
        line.push('\n');
        let bytes = line.len();
        if !gather::take(&self.log, handler, &line) {
            let source = Source::Output(handler.clone());
            self.log.send(&source, line.into_bytes());
        }
        bytes
    }

    /// Writes the prefix of a line.
    fn begin(&self, line: &mut String, level: Level, handler: Option<&str>) {
        let time = timestamp::micros(SystemTime::now());
        // Writing to a string never fails.
        let _ = if self.colours {
            write!(
                line,
                "\x1b[2m{time}\x1b[0m {}{level:>5}\x1b[0m ",
                colour(level)
            )
        } else {
            write!(line, "{time} {level:>5} ")
        };
        if let Some(handler) = handler {
            let _ = write!(line, "{}: ", printable::one_line(handler));
        }
    }
}

/// Returns the escape sequence for a level's colour (ECMA-48, SGR).
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Appends a message, each line of which is truncated to `line_bytes`, and a line end.
fn push_message(line: &mut String, message: &str, line_bytes: usize) {
    let shown = printable::block(message).to_string();
    for (index, part) in shown.split('\n').enumerate() {
        if index > 0 {
            line.push('\n');
        }
        push_cut(line, part, line_bytes);
    }
    line.push('\n');
}

fn push_cut(line: &mut String, text: impl fmt::Display, bytes: usize) {
    let start = line.len();
    let _ = write!(line, "{text}");
    if line.len() - start > bytes {
        line.truncate(line.floor_char_boundary(start + bytes));
        line.push_str(CUT);
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == HANDLER_FIELD {
            self.handler = Some(value.to_owned());
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string never fails.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            HANDLER_FIELD => {
                self.handler = Some(format!("{value:?}"));
                Ok(())
            }
            // A field of another crate's event.
            name => write!(self.message, " {name}={value:?}"),
        };
    }
}
