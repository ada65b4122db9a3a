//! A guest's output: `wsgi.errors`, stdout and stderr, line by line to the log, with the handler's
//! name on each line (I5).

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use tracing::Level;

use crate::gateway::{Exchange, RequestId, Step, Trace};
use crate::log;

/// The maximum size of one write to a WASI stream, in bytes.
const PERMIT_BYTES: usize = 64 * 1024;

/// The source of a guest's output.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Source {
    Errors,
    Stdout,
    Stderr,
}

/// The log of one request. Clones write to the same log.
#[derive(Clone, Debug)]
pub(in crate::engine) struct GuestLog {
    handler: Arc<str>,
    request: Arc<Mutex<RequestLog>>,
    /// The maximum length of a line, in bytes. A longer line is split.
    line_bytes: usize,
    trace: Trace,
}

/// What changes from one request to the next.
#[derive(Debug)]
struct RequestLog {
    /// The remaining log budget, in bytes.
    budget: usize,
    /// The identifier that each line gets.
    id: Option<RequestId>,
    /// The number under which the lines are recorded, if requests are.
    number: Option<NonZeroU64>,
}

/// One text stream: holds a line back until it is complete.
#[derive(Debug)]
pub(in crate::engine) struct LineLog {
    log: GuestLog,
    source: Source,
    partial: Vec<u8>,
}

impl GuestLog {
    /// Creates a log for a request to `handler`. It accepts `budget` bytes and drops the rest. Each
    /// line counts with its prefix in the log.
    pub(in crate::engine) fn new(
        handler: Arc<str>,
        id: Option<RequestId>,
        budget: usize,
        exchange: &Exchange,
    ) -> Self {
        let number = exchange.number();
        Self {
            handler,
            request: Arc::new(Mutex::new(RequestLog { budget, id, number })),
            line_bytes: log::line_bytes(),
            trace: exchange.trace().clone(),
        }
    }

    /// Starts the next request to the same handler, with a new budget.
    pub(in crate::engine) fn renew(
        &self,
        id: Option<RequestId>,
        budget: usize,
        exchange: &Exchange,
    ) {
        let number = exchange.number();
        *self.lock() = RequestLog { budget, id, number };
    }

    /// Locks the request. A panic while the lock is held leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, RequestLog> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the name of the handler.
    pub(super) fn handler(&self) -> &str {
        &self.handler
    }

    /// Returns one of the request's streams.
    pub(in crate::engine) fn stream(&self, source: Source) -> LineLog {
        LineLog {
            log: self.clone(),
            source,
            partial: Vec::new(),
        }
    }

    /// Logs a line. Returns `false` if the budget is used up: nothing more of the request is
    /// logged.
    fn line(&self, source: Source, line: &[u8]) -> bool {
        let mut request = self.lock();
        let RequestLog { budget, id, number } = &mut *request;
        let id = id.as_ref().map(RequestId::as_str);
        if *budget == 0 {
            return false;
        }
        let level = match source {
            Source::Stdout => Level::INFO,
            Source::Errors | Source::Stderr => Level::WARN,
        };
        let least = log::least_bytes(&self.handler, line);
        if least <= *budget {
            let bytes = log::handler_line(level, &self.handler, id, *number, line);
            *budget = budget.saturating_sub(bytes.max(least));
        } else {
            *budget = 0;
        }
        if *budget == 0 {
            self.trace.note(|| Step::LogFull);
            tracing::warn!(
                handler = &*self.handler,
                request = id,
                "a request exceeded its log limit (budget.log, --max-log): the rest is dropped"
            );
        }
        *budget > 0
    }

    /// Logs a message of the host about the request, within the request's budget.
    pub(in crate::engine) fn note(&self, text: &str) {
        let mut request = self.lock();
        if request.takes(&self.handler, text) {
            let id = request.id.as_ref().map(RequestId::as_str);
            tracing::warn!(handler = &*self.handler, request = id, "{text}");
        }
    }

    /// Logs what was denied to the request's handler, within the request's budget.
    pub(in crate::engine) fn deny(&self, text: &str) {
        let mut request = self.lock();
        if request.takes(&self.handler, text) {
            let id = request.id.as_ref().map(RequestId::as_str);
            tracing::warn!(target: log::DENIAL, handler = &*self.handler, request = id, "{text}");
        }
    }

    fn is_full(&self) -> bool {
        self.lock().budget == 0
    }
}

impl RequestLog {
    /// Returns whether the budget has room for a message of the host, which then counts, and is
    /// recorded with the request.
    fn takes(&mut self, handler: &Arc<str>, text: &str) -> bool {
        let bytes = log::least_bytes(handler, text.as_bytes());
        let has_room = bytes <= self.budget;
        if has_room {
            self.budget -= bytes;
            log::record(Level::WARN, handler, self.number, text.as_bytes());
        }
        has_room
    }
}

impl LineLog {
    /// Takes text, and logs the lines that it completes. Doesn't even search for line ends when the
    /// budget is used up.
    pub(in crate::engine) fn write(&mut self, mut text: &[u8]) {
        if self.log.is_full() {
            return;
        }
        while let Some(newline) = memchr::memchr(b'\n', text) {
            if !self.hold(&text[..newline]) || !self.flush() {
                return;
            }
            text = &text[newline + 1..];
        }
        self.hold(text);
    }

    /// Buffers the start of a line, and logs the part that exceeds the maximum length. Returns
    /// `false` if the budget is used up.
    fn hold(&mut self, mut text: &[u8]) -> bool {
        while self.partial.len() + text.len() > self.log.line_bytes {
            let (now, later) = text.split_at(self.log.line_bytes - self.partial.len());
            self.partial.extend_from_slice(now);
            if !self.flush() {
                return false;
            }
            text = later;
        }
        self.partial.extend_from_slice(text);
        true
    }

    fn flush(&mut self) -> bool {
        let is_going_on = self.log.line(self.source, &self.partial);
        self.partial.clear();
        is_going_on
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.flush();
        }
    }
}

/// A WASI stream that writes to the log.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LogStream {
    log: GuestLog,
    source: Source,
}

impl LogStream {
    pub(in crate::engine) fn new(log: &GuestLog, source: Source) -> Self {
        Self {
            log: log.clone(),
            source,
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.log.stream(self.source))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineLog {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for LineLog {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        LineLog::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}
