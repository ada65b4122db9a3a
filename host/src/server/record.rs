//! What the access log says of one request.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::engine::Program;
use crate::gateway::Failure;
use crate::http1::{RequestHead, is_bodiless};
use crate::printable;
use crate::registry::Target;

/// Bytes of a rejected request's first line that are logged.
const REJECTED_LINE_BYTES: usize = 200;

/// Bytes of a request's target that a line of the error log has.
const TARGET_BYTES: usize = 200;

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
    /// How the error log names the request, where its handler failed.
    pub(super) failed: Option<Box<str>>,
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
            failed: None,
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

    /// The request in the error log: method and path.
    pub(super) fn request(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match &self.line {
            Line::Head(head) => show_request(head, f),
            Line::Rejected(line) => f.write_str(line),
        })
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
                handler = self.handler_name(),
                "the body is longer than its Content-Length: the rest is not sent ({})",
                self.request()
            );
        }
    }

    /// Appends the access log's line: the time of day, client, request line, status, bytes,
    /// milliseconds, handler, the request's number where the handler failed, and why the answer was
    /// cut where it was.
    ///
    /// Written by hand: with `write!`, a line took a tenth of what a page takes in all.
    pub(super) fn write(&self, time: &str, peer: SocketAddr, now: Instant, log: &mut String) {
        log.push_str(time);
        log.push(' ');
        push_address(log, peer.ip());
        log.push_str(" \"");
        match &self.line {
            Line::Head(head) => {
                // A token, which has neither quotes nor backslashes.
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
        // Three digits: the leading one is the thousands', which is cut off.
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

/// How the error log names a request: method, path, and a number that its line in the access log
/// has, too.
pub(super) struct RequestName<'head> {
    head: &'head RequestHead,
    id: String,
}

impl<'head> RequestName<'head> {
    /// The request with this head, the `serial`th call of the reactor that this thread is.
    pub(super) fn new(head: &'head RequestHead, serial: u64) -> Self {
        let thread = std::thread::current();
        let reactor = thread.name().and_then(|name| name.strip_prefix("wasgi-"));
        Self {
            head,
            id: format!("{}-{serial}", reactor.unwrap_or("0")),
        }
    }

    /// A failure of the request, named on the first line.
    pub(super) fn told(&self, failure: &Failure) -> String {
        let text = failure.to_string();
        match text.split_once('\n') {
            Some((first, rest)) => format!("{first} ({self})\n{rest}"),
            None => format!("{text} ({self})"),
        }
    }

    /// The reactor's number and the call's.
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

/// Method and path, as much of it as a line takes.
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

/// Appends an address, of IPv4 where it is one that IPv6 has mapped.
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
            // A string takes all that is written.
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
        record.cut = Some("the client left");
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
            assert!(line.ends_with(" 0.070ms - (the client left)\n"), "{line}");
        }
    }
}
