//! The requests that a handler is checked with, and what came of each.

use crate::drive::{Client, Ended, Framing, Request, Stays, Upload};
use crate::engine::Kind;
use crate::gateway::Failure;

/// Bytes of a body that are taken: what comes on and on is left then, which is no fault.
const BODY_BYTES: u64 = 8 * 1024 * 1024;

/// A field that is as long as those of real clients get: a cookie of 4 KiB (RFC 6265 section 6.1).
const LONG_FIELD_BYTES: usize = 4096;

/// A request, and when its client leaves.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) request: Request,
    pub(super) leaves: Leaves,
}

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// With its answer.
    Never,
    /// When it has seen a part of the body.
    InTheBody,
    /// When it has sent its request.
    AtOnce,
}

/// Takes an answer, and counts.
#[derive(Debug)]
pub(super) struct ProbeClient {
    leaves: Leaves,
    taken: u64,
}

/// A request and what came of it.
#[derive(Debug)]
pub(super) struct ProbeResult {
    pub(super) name: &'static str,
    pub(super) method: String,
    pub(super) is_cut: bool,
    pub(super) kind: Kind,
    pub(super) ended: Ended<ProbeClient>,
}

/// Every request that a handler gets, the plainest one first.
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
            // In pieces that end inside of a name, of an escape, and of a line.
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

/// Escapes of a slash, of bytes that are no UTF-8, and of nothing.
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
    pub(super) fn new(plan: &Plan, kind: Kind, ended: Ended<ProbeClient>) -> Self {
        Self {
            name: plan.name,
            method: plan.request.method.clone(),
            is_cut: plan.request.upload.is_cut,
            kind,
            ended,
        }
    }

    /// Whether there is no point in asking again.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(
            self.ended.failure,
            Some(
                Failure::CpuTime(_)
                    | Failure::WallTime(_)
                    | Failure::Memory(_)
                    | Failure::Instantiation(_)
                    | Failure::NoRoom
            )
        )
    }

    /// Bytes of the body that a client got.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.ended.client.taken
    }
}
