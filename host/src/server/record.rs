//! What the access log says of one request.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::engine::Program;
use crate::http1::{RequestHead, is_bodiless};
use crate::registry::Target;

/// Bytes of a rejected request's first line that are logged.
const REJECTED_LINE_BYTES: usize = 200;

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Record {
    line: Line,
    began: Instant,
    /// The client, where it is not the one that the connection is with.
    pub(super) client: Option<SocketAddr>,
    /// What its path leads to; none for a page and for what was rejected.
    pub(super) target: Option<Target<Program>>,
    /// When the answer has to have been sent.
    pub(super) deadline: Option<Instant>,
    /// 0 until there is a head.
    pub(super) status: u16,
    /// Bytes that were sent, heads and framing included.
    pub(super) bytes: u64,
    /// Why the answer did not reach its end.
    pub(super) cut: Option<&'static str>,
    overlong: bool,
}

#[derive(Debug)]
enum Line {
    Head(Arc<RequestHead>),
    Rejected(String),
}

impl Record {
    pub(super) fn new(head: Arc<RequestHead>, now: Instant) -> Self {
        Self::of(Line::Head(head), now)
    }

    /// A request that is none: its first line, as far as it can be shown.
    pub(super) fn rejected(line: &[u8], now: Instant) -> Self {
        let shown = &line[..line.len().min(REJECTED_LINE_BYTES)];
        Self::of(Line::Rejected(shown.escape_ascii().to_string()), now)
    }

    fn of(line: Line, now: Instant) -> Self {
        Self {
            line,
            began: now,
            client: None,
            target: None,
            deadline: None,
            status: 0,
            bytes: 0,
            cut: None,
            overlong: false,
        }
    }

    /// The handler's name, or the word for the pages.
    pub(super) fn handler_name(&self) -> &str {
        match &self.target {
            Some(Target::Handler(handler)) => &handler.name,
            Some(Target::Pending(pending)) => &pending.name,
            None => "-",
        }
    }

    /// Whether it is a HEAD request, whose answer has no body.
    pub(super) fn is_head(&self) -> bool {
        matches!(&self.line, Line::Head(head) if head.method() == "HEAD")
    }

    /// Says, once for a request, that a body is longer than its Content-Length (B3). Where an
    /// answer has no body at all (B5), giving one is no fault.
    pub(super) fn note_overlong(&mut self) {
        let bodiless = match &self.line {
            Line::Head(_) => self.is_head() || is_bodiless(self.status),
            Line::Rejected(_) => true,
        };
        if !bodiless && !std::mem::replace(&mut self.overlong, true) {
            tracing::warn!(
                "{}: the body is longer than its Content-Length: the rest is not sent",
                self.handler_name()
            );
        }
    }

    /// Appends the access log's line: client, request line, status, bytes, milliseconds, handler.
    pub(super) fn write(&self, peer: SocketAddr, now: Instant, log: &mut String) {
        let elapsed = now.saturating_duration_since(self.began);
        let result = match &self.line {
            // A head that was taken has no characters that could disturb a terminal.
            Line::Head(head) => write!(
                log,
                "{} \"{} {} {}\"",
                peer.ip().to_canonical(),
                head.method(),
                head.target(),
                head.version().as_str()
            ),
            Line::Rejected(line) => write!(log, "{} \"{line}\"", peer.ip().to_canonical()),
        };
        let rest = write!(
            log,
            " {} {} {}.{:03}ms {}",
            self.status,
            self.bytes,
            elapsed.as_millis(),
            elapsed.as_micros() % 1000,
            self.handler_name()
        );
        debug_assert!(
            result.is_ok() && rest.is_ok(),
            "a string takes all that is written"
        );
        if let Some(why) = self.cut {
            log.push_str(" (");
            log.push_str(why);
            log.push(')');
        }
        log.push('\n');
    }
}
