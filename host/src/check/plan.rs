//! The requests that a handler is checked with, and the result of each.

use crate::drive::{Client, Ended, Framing, Request, Stays, Upload};
use crate::engine::HandlerKind;
use crate::gateway::Failure;

/// The number of body bytes after which the client disconnects, since an endless body is not a
/// fault.
const BODY_BYTES: u64 = 8 * 1024 * 1024;

/// The length of a long field value from a real client, in bytes: a cookie of 4 KiB (RFC 6265
/// section 6.1).
const LONG_FIELD_BYTES: usize = 4096;

/// A request, and when its client disconnects.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) request: Request,
    pub(super) leaves: Leaves,
}

/// When a client disconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// After the complete response.
    Never,
    /// After the first part of the body.
    InTheBody,
    /// As soon as it has sent its request.
    AtOnce,
}

/// Receives a response and counts the bytes of its body.
#[derive(Debug)]
pub(super) struct ProbeClient {
    leaves: Leaves,
    taken: u64,
}

/// A request and its result.
#[derive(Debug)]
pub(super) struct ProbeResult {
    pub(super) name: &'static str,
    pub(super) method: String,
    pub(super) is_cut: bool,
    pub(super) kind: HandlerKind,
    pub(super) ended: Ended<ProbeClient>,
}

/// Returns all requests that a handler is checked with, the simplest first.
pub(super) fn plans(target: &str) -> Vec<Plan> {
    let get = || Request::new("GET", target);
    let post = || Request::new("POST", target);
    let whole = |name, request| Plan {
        name,
        request,
        leaves: Leaves::Never,
    };
    let left = |name, leaves| Plan {
        name,
        request: get(),
        leaves,
    };
    let form = ("Content-Type", &b"application/x-www-form-urlencoded"[..]);
    let text = ("Content-Type", &b"text/plain"[..]);
    vec![
        whole("GET", get()),
        whole("HEAD", Request::new("HEAD", target)),
        whole("GET with odd fields", odd_fields(get())),
        whole("GET with an odd path", odd_path(target)),
        whole("GET by HTTP/1.0", {
            let is_old = true;
            Request { is_old, ..get() }
        }),
        whole(
            "POST of a form",
            // The pieces end inside a name, an escape and a line.
            post().with(form.0, form.1).with_body(&[
                b"na",
                b"me=J%C3",
                b"%BCrgen&text=one%0D\n",
                b"two",
            ]),
        ),
        whole("POST of chunks", chunks(post().with(text.0, text.1))),
        whole(
            "POST of nothing",
            post().with(text.0, text.1).with_body(&[]),
        ),
        whole("POST that is cut off", {
            let mut request = post().with(text.0, text.1).with_body(&[b"one\n", b"tw"]);
            request.upload.framing = Framing::Length(100);
            request.upload.is_cut = true;
            request
        }),
        whole(
            "PUT",
            Request::new("PUT", target)
                .with("Content-Type", b"application/json")
                .with_body(&[b"{\"a\": 1}"]),
        ),
        whole("DELETE", Request::new("DELETE", target)),
        whole("OPTIONS", Request::new("OPTIONS", target)),
        whole("an unknown method", Request::new("BREW", target)),
        left("GET, left in the body", Leaves::InTheBody),
        left("GET, left at once", Leaves::AtOnce),
    ]
}

fn odd_fields(request: Request) -> Request {
    request
        .with("X_Underscore", b"forged")
        .with("Proxy", b"http://proxy.example")
        .with("Cookie", b"a=1")
        .with("Cookie", b"b=\xff\xe9")
        .with("Accept", b"text/html")
        .with("Accept", b"*/*;q=0")
        .with("Accept-Language", b"")
        .with("Range", b"bytes=5-1")
        .with("If-Modified-Since", b"yesterday")
        .with("X-Long", &[b'x'; LONG_FIELD_BYTES])
}

/// A path and query with an escaped slash, escaped bytes that are not UTF-8, and an incomplete
/// escape.
fn odd_path(target: &str) -> Request {
    let path = target.split('?').next().unwrap_or(target);
    let path = path.trim_end_matches('/');
    Request::new("GET", &format!("{path}/%2F%FF%E9%20?a=%ff&b&=&%2"))
}

fn chunks(request: Request) -> Request {
    Request {
        upload: Upload {
            framing: Framing::Chunked,
            pieces: vec![b"\0\xff".to_vec(), vec![b'\n'], vec![b'x'; 10_000]],
            is_cut: false,
        },
        ..request
    }
}

impl ProbeClient {
    pub(super) fn new(leaves: Leaves) -> Self {
        Self { leaves, taken: 0 }
    }
}

impl Client for ProbeClient {
    fn head(&mut self, _status: u16, _bytes: &[u8]) {}

    fn body(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
    }

    fn stays(&self) -> Stays {
        let leaves = match self.leaves {
            Leaves::Never => self.taken >= BODY_BYTES,
            Leaves::InTheBody => self.taken > 0,
            Leaves::AtOnce => true,
        };
        if leaves { Stays::No } else { Stays::Yes }
    }
}

impl ProbeResult {
    pub(super) fn new(plan: &Plan, kind: HandlerKind, ended: Ended<ProbeClient>) -> Self {
        Self {
            name: plan.name,
            method: plan.request.method.clone(),
            is_cut: plan.request.upload.is_cut,
            kind,
            ended,
        }
    }

    /// Reports whether further requests would fail as well.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(
            self.ended.failure,
            Some(
                Failure::CpuTime(_)
                    | Failure::WallTime(_)
                    | Failure::Memory(_)
                    | Failure::Instantiation(_)
                    | Failure::NoRoom
                    | Failure::NoDescriptor(_)
            )
        )
    }

    /// Returns the number of body bytes that the client received.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.ended.client.taken
    }
}
