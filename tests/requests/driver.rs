//! A minimal server around one [`Connection`]: it reads each body to its end, responds, and records
//! what happened. The protocol core's tests use it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use crate::{
    BodyLength, BodyProgress, Connection, Finish, Incoming, Limits, RequestHead, ResponseHead,
    Stamp, Step,
};

/// The body of every response.
pub(crate) const BODY: &[u8] = b"hello";

/// Returns a starting time. The core has no clock.
pub(crate) fn origin() -> Instant {
    Instant::now()
}

/// Returns the default limits.
pub(crate) fn limits() -> Arc<Limits> {
    Arc::new(Limits::default())
}

pub(crate) const STAMP: Stamp<'static> = Stamp {
    date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    server: Some("wasgi"),
};

/// Writes a complete response with this body, in one block.
pub(crate) fn answer(
    connection: &mut Connection,
    status: u16,
    length: BodyLength,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Finish {
    let head = ResponseHead {
        status,
        reason: b"Reason",
        fields: std::iter::empty(),
    };
    let skipped = connection.start_response(&head, length, &STAMP, out);
    assert_eq!(skipped.count, 0);
    let frame = connection.frame(body.len(), out);
    out.extend_from_slice(&body[..frame.take]);
    out.extend_from_slice(frame.suffix);
    connection.finish_response(out)
}

/// The minimal server.
pub(crate) struct Driver {
    pub(crate) connection: Connection,
    now: Instant,
    /// The request whose body is being read, and the part of it that has been received.
    reading: Option<(Arc<RequestHead>, Vec<u8>)>,
    /// What happened, one event per line.
    pub(crate) transcript: String,
    /// Every byte that was sent.
    pub(crate) sent: Vec<u8>,
    is_closed: bool,
}

impl Driver {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        let now = origin();
        Self {
            connection: Connection::new(limits, now),
            now,
            reading: None,
            transcript: String::new(),
            sent: Vec::new(),
            is_closed: false,
        }
    }

    /// Creates a server and feeds it `parts` in order.
    pub(crate) fn fed(limits: Arc<Limits>, parts: &[&[u8]]) -> Self {
        let mut driver = Self::new(limits);
        for part in parts {
            driver.feed(part);
        }
        driver
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.connection.receive(bytes, self.now);
        while self.turn() {}
    }

    pub(crate) fn end(&mut self) {
        self.connection.receive_end();
        while self.turn() {}
    }

    /// Returns the transcript and the connection's current state.
    pub(crate) fn report(&self) -> String {
        let now = match () {
            () if self.is_closed => "",
            () if self.connection.is_idle() => "idle\n",
            () => "waiting\n",
        };
        format!("{}{now}", self.transcript)
    }

    /// Performs one step. Returns false if nothing can be done before more bytes arrive.
    fn turn(&mut self) -> bool {
        if self.is_closed {
            return false;
        }
        if let Some((head, body)) = self.reading.take() {
            return self.read(head, body);
        }
        match self.connection.next_request(self.now) {
            None => return false,
            Some(Incoming::Request(head)) => {
                self.note_head(&head);
                self.reading = Some((head, Vec::new()));
            }
            Some(Incoming::Rejected(rejection)) => {
                self.note(format_args!("rejected {rejection}"));
                self.answer(rejection.status);
            }
            Some(Incoming::Closed(reason)) => {
                self.note(format_args!("closed: {reason}"));
                self.is_closed = true;
            }
        }
        true
    }

    fn read(&mut self, head: Arc<RequestHead>, mut body: Vec<u8>) -> bool {
        let before = body.len();
        match self.connection.read_body(1000, &mut body, self.now) {
            BodyProgress::Data => {
                assert!((before + 1..=before + 1000).contains(&body.len()));
                self.reading = Some((head, body));
                true
            }
            BodyProgress::Incomplete => {
                let owed = self.connection.continue_owed();
                assert!(!owed || (head.expects_continue() && body.is_empty()));
                self.connection.send_continue(&mut self.sent);
                self.reading = Some((head, body));
                false
            }
            BodyProgress::End => {
                self.note(format_args!(
                    "  body {:?} \"{}\"",
                    head.body(),
                    body.escape_ascii()
                ));
                self.answer(200);
                true
            }
            BodyProgress::Failed(error) => {
                self.note(format_args!(
                    "  body {:?} \"{}\"",
                    head.body(),
                    body.escape_ascii()
                ));
                self.note(format_args!("  failed {error}"));
                self.answer(error.status());
                true
            }
        }
    }

    fn answer(&mut self, status: u16) {
        let length = BodyLength::Known(BODY.len() as u64);
        let finish = answer(&mut self.connection, status, length, BODY, &mut self.sent);
        assert_eq!(finish, Finish::Whole);
        self.note(format_args!("answer {status}"));
        if let Step::Close(reason) = self.connection.next_step(self.now) {
            self.note(format_args!("close: {reason}"));
            self.is_closed = true;
        }
    }

    fn note_head(&mut self, head: &RequestHead) {
        let (method, target, version) = (head.method(), head.target(), head.version().as_str());
        self.note(format_args!("request {method} {target} {version}"));
        self.note(format_args!(
            "  path \"{}\" query \"{}\" authority \"{}\"",
            head.path().escape_ascii(),
            head.query().escape_ascii(),
            head.authority().escape_ascii(),
        ));
        for (name, value) in head.fields() {
            self.note(format_args!("  field {name} \"{}\"", value.escape_ascii()));
        }
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.transcript, "{line}").expect("a String takes every write");
    }
}

/// A reproducible pseudo-random number generator (xorshift64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Returns a number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("less than a usize")
    }

    /// Splits `bytes` into pieces of random length.
    pub(crate) fn split<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let len = 1 + self.below(bytes.len());
            let (part, rest) = bytes.split_at(len);
            parts.push(part);
            bytes = rest;
        }
        parts
    }
}
