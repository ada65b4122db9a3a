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
use super::format::{LogFormat, Subject, json_line};
use super::gather;
use super::handle::Log;
use super::queue::Source;
use super::timestamp;
use crate::printable;
use crate::terminal::{self, Style};

/// The name of an event's field that holds a handler's name.
const HANDLER_FIELD: &str = "handler";

/// The name of an event's field that holds the identifier of a request, after the handler's name in
/// the log.
const REQUEST_FIELD: &str = "request";

/// The name of an event's field that holds the identifier of a request of which the message has the
/// name.
const NAMED_REQUEST_FIELD: &str = "named_request";

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
    request: Option<String>,
    /// Whether the message contains the request's identifier.
    is_named: bool,
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
        let Parts {
            message,
            handler,
            request,
            is_named,
        } = parts;
        let level = *event.metadata().level();
        let subject = Subject {
            handler: handler.as_deref(),
            request_id: request.as_deref(),
        };
        let line = if self.is_json() {
            json_line(
                level.as_str(),
                subject,
                &cut_lines(&message, self.log.line_bytes()),
            )
        } else {
            let mut line = String::with_capacity(message.len() + 64);
            let request_id = subject.request_id.filter(|_| !is_named);
            self.begin(
                &mut line,
                level,
                Subject {
                    request_id,
                    ..subject
                },
            );
            push_message(&mut line, &message, self.log.line_bytes());
            line
        };
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
    pub(super) fn handler_line(
        &self,
        level: Level,
        handler: &Arc<str>,
        request_id: Option<&str>,
        text: &[u8],
    ) -> usize {
        if level > self.level || self.only_denials {
            return 0;
        }
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let subject = Subject {
            handler: Some(handler),
            request_id,
        };
        let line = if self.is_json() {
            json_line(level.as_str(), subject, &String::from_utf8_lossy(text))
        } else {
            let mut line = String::with_capacity(text.len() + 64);
            self.begin(&mut line, level, subject);
            let shown = printable::line_of_bytes(text);
            push_cut(&mut line, shown, self.log.line_bytes());
            line.push('\n');
            line
        };
        let bytes = line.len();
        if !gather::take(&self.log, handler, &line) {
            let source = Source::Output(handler.clone());
            self.log.send(&source, line.into_bytes());
        }
        bytes
    }

    fn is_json(&self) -> bool {
        self.log.format() == LogFormat::Json
    }

    /// Writes the prefix of a line.
    fn begin(&self, line: &mut String, level: Level, subject: Subject<'_>) {
        let time = timestamp::micros(SystemTime::now());
        // Writing to a string never fails.
        let _ = if self.colours {
            let time = terminal::paint(Style::DIM, &time.to_string());
            let level = terminal::paint(style(level), &format!("{level:>5}"));
            write!(line, "{time} {level} ")
        } else {
            write!(line, "{time} {level:>5} ")
        };
        if let Some(handler) = subject.handler {
            let _ = write!(line, "{}", printable::one_line(handler));
        }
        if let Some(id) = subject.request_id {
            let space = if subject.handler.is_some() { " " } else { "" };
            let _ = write!(line, "{space}#{}", printable::one_line(id));
        }
        if subject.handler.is_some() || subject.request_id.is_some() {
            line.push_str(": ");
        }
    }
}

/// Returns the style of a level.
fn style(level: Level) -> Style {
    match level {
        Level::ERROR => Style::RED,
        Level::WARN => Style::YELLOW,
        Level::INFO => Style::GREEN,
        Level::DEBUG => Style::BLUE,
        Level::TRACE => Style::MAGENTA,
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

/// Truncates each line of a message to `line_bytes`.
fn cut_lines(message: &str, line_bytes: usize) -> String {
    let mut text = String::with_capacity(message.len());
    for (index, part) in message.trim_end_matches('\n').split('\n').enumerate() {
        if index > 0 {
            text.push('\n');
        }
        push_cut(&mut text, part, line_bytes);
    }
    text
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
        match field.name() {
            HANDLER_FIELD => self.handler = Some(value.to_owned()),
            REQUEST_FIELD => self.request = Some(value.to_owned()),
            NAMED_REQUEST_FIELD => {
                self.request = Some(value.to_owned());
                self.is_named = true;
            }
            _ => self.record_debug(field, &value),
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
