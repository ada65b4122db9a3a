//! What a guest says: `wsgi.errors`, stdout and stderr, line by line to the log, with the
//! handler's name on each (I5).

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::gateway::{Step, Trace};
use crate::printable;

/// The longest line that is logged whole, in bytes; a longer one is broken. Log collectors
/// commonly cut at 8 KiB or 16 KiB.
const LINE_BYTES: usize = 8 * 1024;

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
    budget: Arc<Mutex<usize>>,
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
    /// A log for a request to `handler`, which takes `budget` bytes and drops the rest.
    pub(super) fn new(handler: Arc<str>, budget: usize, trace: Trace) -> Self {
        Self {
            handler,
            budget: Arc::new(Mutex::new(budget)),
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

    fn line(&self, source: Source, line: &[u8]) {
        {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            if *budget == 0 {
                return;
            }
            *budget = budget.saturating_sub(line.len() + 1);
            if *budget == 0 {
                self.trace.note(|| Step::LogFull);
                tracing::warn!(
                    target: "handler",
                    "{}: wrote more than a request may log (--max-log): the rest is dropped",
                    self.handler
                );
                return;
            }
        }
        let text = String::from_utf8_lossy(line);
        let text = printable::one_line(text.trim_end_matches('\r'));
        match source {
            Source::Stdout => tracing::info!(target: "handler", "{}: {text}", self.handler),
            Source::Errors | Source::Stderr => {
                tracing::warn!(target: "handler", "{}: {text}", self.handler);
            }
        }
    }
}

impl LineLog {
    /// Takes text, and logs the lines that it completes.
    pub(super) fn write(&mut self, mut text: &[u8]) {
        while let Some(newline) = text.iter().position(|&byte| byte == b'\n') {
            self.hold(&text[..newline]);
            self.flush();
            text = &text[newline + 1..];
        }
        self.hold(text);
    }

    fn hold(&mut self, mut text: &[u8]) {
        while self.partial.len() + text.len() > LINE_BYTES {
            let (now, later) = text.split_at(LINE_BYTES - self.partial.len());
            self.partial.extend_from_slice(now);
            self.flush();
            text = later;
        }
        self.partial.extend_from_slice(text);
    }

    fn flush(&mut self) {
        self.log.line(self.source, &self.partial);
        self.partial.clear();
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
