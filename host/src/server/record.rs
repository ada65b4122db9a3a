//! The access log line of one request.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::engine::Program;
use crate::gateway::Failure;
use crate::http1::{RequestHead, is_bodiless};
use crate::printable;
use crate::registry::Target;

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
    /// The handler for its path; `None` for a page or a rejected request.
    pub(super) target: Option<Target<Program>>,
    /// The deadline for sending the whole response.
    pub(super) deadline: Option<Instant>,
    /// The status; 0 before the head.
    pub(super) status: u16,
    /// The number of bytes sent, including heads and framing.
    pub(super) bytes: u64,
    /// The name of the request in the error log, if its handler failed.
    pub(super) failed: Option<Box<str>>,
    /// Why the response is incomplete.
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
        Self::from_line(Line::Head(head), now)
    }

    /// Creates the record of a rejected request from its first line, escaped and shortened.
    pub(super) fn rejected(line: &[u8], now: Instant) -> Self {
        let shown = &line[..line.len().min(REJECTED_LINE_BYTES)];
        Self::from_line(Line::Rejected(shown.escape_ascii().to_string()), now)
    }

    fn from_line(line: Line, now: Instant) -> Self {
        Self {
            line,
            began: now,
            client: None,
            target: None,
            deadline: None,
            status: 0,
            bytes: 0,
            failed: None,
            cut: None,
            overlong: false,
        }
    }

    /// Returns when the request began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Returns the handler's name, or `-` if there is none.
    pub(super) fn handler_name(&self) -> &str {
        match &self.target {
            Some(Target::Handler(handler)) => &handler.name,
            Some(Target::Pending(pending)) => &pending.name,
            None => "-",
        }
    }

    /// Formats the request for the error log: method and path.
    pub(super) fn request(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match &self.line {
            Line::Head(head) => show_request(head, f),
            Line::Rejected(line) => f.write_str(line),
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

    /// Appends the access log line: the time of day, client, request line, status, bytes,
    /// milliseconds, handler, the request's number if the handler failed, and the reason if the
    /// response was cut.
    ///
    /// Formatted by hand: with `write!`, a line took a tenth of the total time of a page.
    pub(super) fn write(&self, time: &str, peer: SocketAddr, now: Instant, log: &mut String) {
        log.push_str(time);
        log.push(' ');
        push_address(log, peer.ip());
        log.push_str(" \"");
        match &self.line {
            Line::Head(head) => {
                // A method is a token, without quotes or backslashes.
                log.push_str(head.method());
                log.push(' ');
                printable::push_quoted(log, head.target());
                log.push(' ');
                log.push_str(head.version().as_str());
            }
            Line::Rejected(line) => log.push_str(line),
        }
        log.push_str("\" ");
        let mut number = itoa::Buffer::new();
        log.push_str(number.format(self.status));
        log.push(' ');
        log.push_str(number.format(self.bytes));
        log.push(' ');
        let micros = now.saturating_duration_since(self.began).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        log.push_str(number.format(micros / 1000));
        // Formats four digits and removes the first, so that leading zeros are kept.
        log.push('.');
        log.push_str(
            number
                .format(1000 + micros % 1000)
                .get(1..)
                .unwrap_or_default(),
        );
        log.push_str("ms ");
        printable::push_word(log, self.handler_name());
        if let Some(request) = &self.failed {
            log.push_str(" #");
            log.push_str(request);
        }
        if let Some(why) = self.cut {
            log.push_str(" (");
            log.push_str(why);
            log.push(')');
        }
        log.push('\n');
    }
}

/// The name of a request in the error log: method, path, and an identifier that also appears in its
/// access log line and on the error page.
pub(super) struct RequestName<'head> {
    head: &'head RequestHead,
    id: String,
}

/// Returns a new identifier of a failed request: 40 random bits, which tell a client nothing about
/// other requests.
pub(super) fn request_id() -> String {
    /// Crockford's base 32 in lower case, in which no letter looks like a digit.
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    /// The number of digits: of a million failures, no two have the same identifier with a
    /// probability of 64 %, and of ten thousand with 99.995 %.
    const LENGTH: u32 = 8;
    // The standard library's hasher takes its keys from the system.
    let random = RandomState::new().build_hasher().finish();
    (0..LENGTH)
        .map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize % DIGITS.len()]))
        .collect()
}

impl<'head> RequestName<'head> {
    /// Creates the name of a failed request.
    pub(super) fn new(head: &'head RequestHead) -> Self {
        Self {
            head,
            id: request_id(),
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
    pub(super) fn id(&self) -> &str {
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

/// Appends an address. An IPv4-mapped IPv6 address is written as IPv4.
fn push_address(log: &mut String, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mut number = itoa::Buffer::new();
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    log.push('.');
                }
                log.push_str(number.format(octet));
            }
        }
        IpAddr::V6(address) => {
            // Writing to a string can't fail.
            let _ = write!(log, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(record: &Record, peer: &str, after: Duration) -> String {
        let peer = SocketAddr::new(peer.parse().expect("an address"), 80);
        let mut line = String::new();
        record.write(
            "2026-11-29T06:53:18Z",
            peer,
            record.began + after,
            &mut line,
        );
        line
    }

    #[test]
    fn a_line_has_all_fields() {
        let mut record = Record::rejected(b"a\"b\\ \xe2\x80\xae\x1b", Instant::now());
        record.status = 400;
        record.bytes = 1_234_567;
        assert_eq!(
            line(&record, "192.0.2.10", Duration::from_micros(1_002_003)),
            "2026-11-29T06:53:18Z 192.0.2.10 \"a\\\"b\\\\ \\xe2\\x80\\xae\\x1b\" 400 1234567 \
             1002.003ms -\n"
        );
        record.cut = Some("the client disconnected");
        for (peer, shown) in [
            ("::1", "::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
        ] {
            let line = line(&record, peer, Duration::from_micros(70));
            assert!(
                line.starts_with(&format!("2026-11-29T06:53:18Z {shown} \"")),
                "{line}"
            );
            assert!(
                line.ends_with(" 0.070ms - (the client disconnected)\n"),
                "{line}"
            );
        }
    }
}
