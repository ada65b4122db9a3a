//! A request in progress, as the logs show it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::hosts::VirtualHost;
use crate::dev::requests::{End, Recorder};
use crate::engine::Program;
use crate::gateway::{Failure, RequestId, Scheme};
use crate::http1::{RequestHead, is_bodiless};
use crate::printable;
use crate::registry::Target;
use crate::traces::RequestTrace;

/// The maximum logged length of a rejected request's first line, in bytes.
const REJECTED_LINE_BYTES: usize = 200;

/// The maximum length of a request target in a line of the error log, in bytes.
const TARGET_BYTES: usize = 200;

/// A request in progress.
#[derive(Debug)]
pub(super) struct Record {
    line: Line,
    began: Instant,
    /// The client, if it differs from the connection's peer.
    pub(super) client: Option<SocketAddr>,
    /// The scheme by which the client has sent it.
    pub(super) scheme: Scheme,
    /// The virtual host that it is for; `None` for the site itself.
    pub(super) host: Option<Arc<VirtualHost>>,
    /// The handler for its path; `None` for a page or a rejected request.
    pub(super) target: Option<Target<Program>>,
    /// The deadline for sending the whole response.
    pub(super) deadline: Option<Instant>,
    /// The status; 0 before the head.
    pub(super) status: u16,
    /// The number of bytes of the body that the handler was given.
    pub(super) request_body_bytes: u64,
    /// The number of bytes sent, including heads and framing.
    pub(super) bytes: u64,
    /// The number of those bytes that are not the body's: heads and framing.
    pub(super) overhead_bytes: u64,
    /// The identifier, if each request has one, or if the logs and the response name this one.
    pub(super) id: Option<RequestId>,
    /// The trace, if traces are recorded.
    pub(super) trace: Option<Arc<RequestTrace>>,
    /// Why the response is incomplete.
    pub(super) cut: Option<&'static str>,
    /// It repeats a recorded request, in `wasgi dev`.
    pub(super) is_replay: bool,
    /// Records the request, in `wasgi dev`.
    pub(super) recorder: Option<Box<Recorder>>,
    overlong: bool,
}

/// The first line of a request.
#[derive(Debug)]
pub(super) enum Line {
    Head(Arc<RequestHead>),
    /// The line of a rejected request, shortened: any bytes.
    Rejected(Vec<u8>),
}

impl Record {
    pub(super) fn new(head: Arc<RequestHead>, now: Instant) -> Self {
        Self::from_line(Line::Head(head), now)
    }

    /// Creates the record of a rejected request from its first line, which is shortened.
    pub(super) fn rejected(line: &[u8], now: Instant) -> Self {
        let shown = &line[..line.len().min(REJECTED_LINE_BYTES)];
        Self::from_line(Line::Rejected(shown.to_vec()), now)
    }

    fn from_line(line: Line, now: Instant) -> Self {
        Self {
            line,
            began: now,
            client: None,
            scheme: Scheme::Http,
            host: None,
            target: None,
            deadline: None,
            status: 0,
            request_body_bytes: 0,
            bytes: 0,
            overhead_bytes: 0,
            id: None,
            trace: None,
            cut: None,
            is_replay: false,
            recorder: None,
            overlong: false,
        }
    }

    /// Returns how the request ended, for `wasgi dev`.
    pub(super) fn end(&self) -> End {
        let handler = match &self.target {
            Some(Target::Handler(handler)) => {
                Some((handler.name.to_string(), handler.version.to_string()))
            }
            _ => None,
        };
        End {
            status: self.status,
            handler,
            cut: self.cut,
        }
    }

    /// Returns when the request began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Returns the handler's full name, which `//HOST/` precedes for a virtual host, or `-` for a
    /// request without a handler.
    pub(super) fn handler_name(&self) -> &str {
        match &self.target {
            Some(Target::Handler(handler)) => &handler.name,
            Some(Target::Pending(pending)) => &pending.name,
            None => self.host.as_ref().map_or("-", |host| host.name_of_pages()),
        }
    }

    /// Formats the request for the error log: method, path, and the identifier if it has one.
    pub(super) fn request(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            match &self.line {
                Line::Head(head) => show_request(head, f)?,
                Line::Rejected(line) => write!(f, "{}", line.escape_ascii())?,
            }
            match &self.id {
                Some(id) => write!(f, " #{id}"),
                None => Ok(()),
            }
        })
    }

    /// Returns whether this is a HEAD request, whose response has no body.
    pub(super) fn is_head(&self) -> bool {
        matches!(&self.line, Line::Head(head) if head.method() == "HEAD")
    }

    /// Logs, once per request, that a body is longer than its Content-Length (B3). A body for a
    /// response that can't have one (B5) is not an error.
    pub(super) fn note_overlong(&mut self) {
        let bodiless = match &self.line {
            Line::Head(_) => self.is_head() || is_bodiless(self.status),
            Line::Rejected(_) => true,
        };
        if !bodiless && !std::mem::replace(&mut self.overlong, true) {
            tracing::warn!(
                handler = self.handler_name(),
                "the body is longer than its Content-Length: the rest is not sent ({})",
                self.request()
            );
        }
    }

    /// Returns the identifier of the request, and creates one if it has none.
    pub(super) fn identify(&mut self) -> RequestId {
        self.id.get_or_insert_with(RequestId::random).clone()
    }

    /// Returns the number of bytes of the body that were sent.
    pub(super) fn body_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.overhead_bytes)
    }

    /// Returns the head, or the first line of a rejected request.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }
}

/// The name of a request in the error log: method, path, and an identifier that also appears in its
/// access log line and on the error page.
pub(super) struct RequestName<'head> {
    head: &'head RequestHead,
    id: RequestId,
}

impl<'head> RequestName<'head> {
    /// Creates the name of a failed request, with a new identifier if it has none.
    pub(super) fn new(head: &'head RequestHead, id: Option<RequestId>) -> Self {
        Self {
            head,
            id: id.unwrap_or_else(RequestId::random),
        }
    }

    /// Formats a failure of the request, with the name on the first line.
    pub(super) fn told(&self, failure: &Failure) -> String {
        let text = failure.to_string();
        match text.split_once('\n') {
            Some((first, rest)) => format!("{first} ({self})\n{rest}"),
            None => format!("{text} ({self})"),
        }
    }

    /// Returns the identifier.
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }
}

impl fmt::Display for RequestName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_request(self.head, f)?;
        write!(f, " #{}", self.id)
    }
}

/// Formats method and path, up to the maximum length.
fn show_request(head: &RequestHead, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut target = String::new();
    printable::push_quoted(&mut target, head.target());
    let shown = printable::front(&target, TARGET_BYTES);
    let cut = if shown.len() < target.len() {
        "…"
    } else {
        ""
    };
    write!(f, "{} {shown}{cut}", head.method())
}
