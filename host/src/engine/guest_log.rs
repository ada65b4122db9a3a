//! What a guest says: `wsgi.errors`, stdout and stderr, line by line to the log, with the
//! handler's name on each (I5).

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use tracing::Level;

use crate::gateway::{Step, Trace};
use crate::log;

/// What a stream of WASI takes at a time, in bytes.
const PERMIT_BYTES: usize = 64 * 1024;

/// Where what the guest says comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Errors,
    Stdout,
    Stderr,
}

/// The log of one request. Clones write to the same one.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    handler: Arc<str>,
    /// What the request may still log, in bytes.
    budget: Arc<Mutex<usize>>,
    /// The longest line that is logged whole, in bytes. A longer one is broken.
    line_bytes: usize,
    trace: Trace,
}

/// One stream of text: holds back a line until its end has come.
#[derive(Debug)]
pub(super) struct LineLog {
    log: GuestLog,
    source: Source,
    partial: Vec<u8>,
}

impl GuestLog {
    /// A log for a request to `handler`, which takes `budget` bytes and drops the rest. Each line
    /// counts with what the log puts before it.
    pub(super) fn new(handler: Arc<str>, budget: usize, trace: Trace) -> Self {
        Self {
            handler,
            budget: Arc::new(Mutex::new(budget)),
            line_bytes: log::line_bytes(),
            trace,
        }
    }

    /// Has the next request to the same handler begin, with a budget of its own.
    pub(super) fn renew(&self, budget: usize) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    /// One of the request's streams.
    pub(super) fn stream(&self, source: Source) -> LineLog {
        LineLog {
            log: self.clone(),
            source,
            partial: Vec::new(),
        }
    }

    /// Logs a line. `false` where the budget is used up: nothing more of the request's is logged.
    fn line(&self, source: Source, line: &[u8]) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if *budget == 0 {
            return false;
        }
        let level = match source {
            Source::Stdout => Level::INFO,
            Source::Errors | Source::Stderr => Level::WARN,
        };
        let least = log::least_bytes(&self.handler, line);
        if least <= *budget {
            let bytes = log::handler_line(level, &self.handler, line);
            *budget = budget.saturating_sub(bytes.max(least));
        } else {
            *budget = 0;
        }
        if *budget == 0 {
            self.trace.note(|| Step::LogFull);
            tracing::warn!(
                handler = &*self.handler,
                "a request wrote more than it may log (budget.log, --max-log): the rest is dropped"
            );
        }
        *budget > 0
    }

    /// Logs what the host has to say of the request, within the request's budget.
    pub(super) fn note(&self, text: &str) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = log::least_bytes(&self.handler, text.as_bytes());
        if bytes <= *budget {
            *budget -= bytes;
            tracing::warn!(handler = &*self.handler, "{text}");
        }
    }

    fn is_full(&self) -> bool {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }
}

impl LineLog {
    /// Takes text, and logs the lines that it completes. Of a request that has used up its budget
    /// not even the lines' ends are looked for.
    pub(super) fn write(&mut self, mut text: &[u8]) {
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

    /// Keeps a line's beginning, and logs as much of it as is too long for one line. `false` where
    /// the budget is used up.
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

/// A stream of WASI whose bytes go to the log.
#[derive(Clone, Debug)]
pub(super) struct LogStream {
    log: GuestLog,
    source: Source,
}

impl LogStream {
    pub(super) fn new(log: &GuestLog, source: Source) -> Self {
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
