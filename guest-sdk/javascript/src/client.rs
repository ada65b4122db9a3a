//! HTTP requests to other hosts, for `fetch`.
//!
//! A request is a number. The event loop waits for all pending ones together, and for the next
//! timer; then the platform's code takes the responses.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rquickjs::{Array, Ctx, Exception, Function, Object, Result, TypedArray};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, Scheme, http_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, StreamError};

use crate::foreign::copy;
use crate::host;

/// The maximum length of one write to a stream, in bytes (WASI's contract of
/// `blocking-write-and-flush`).
const PIECE_BYTES: usize = 4096;

/// The maximum number of bytes of one read.
const BLOCK_BYTES: u64 = 64 << 10;

/// The longest wait for one event, in milliseconds. The event loop then waits again.
const WAIT_MILLISECONDS: f64 = 3_600_000.0;

/// A request: first its response is pending, then its body is read.
enum Request {
    /// The pollable is declared first, since it is part of the response.
    Pending(Pollable, FutureIncomingResponse),
    Body {
        /// `None` at the end.
        stream: Option<InputStream>,
        _body: IncomingBody,
        _response: IncomingResponse,
    },
}

thread_local! {
    static REQUESTS: RefCell<BTreeMap<u32, Request>> = const { RefCell::new(BTreeMap::new()) };
}

/// Adds the functions to those of the host.
pub(crate) fn add_functions<'js>(cx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    host.set("fetchStart", Function::new(cx.clone(), start)?)?;
    host.set("fetchReady", Function::new(cx.clone(), ready)?)?;
    host.set("fetchTake", Function::new(cx.clone(), take)?)?;
    host.set("fetchRead", Function::new(cx.clone(), read)?)?;
    host.set("fetchEnd", Function::new(cx.clone(), end)?)
}

/// Reports whether a response is pending.
pub(crate) fn is_pending() -> bool {
    REQUESTS.with_borrow(|requests| {
        let mut requests = requests.values();
        requests.any(|request| matches!(request, Request::Pending(..)))
    })
}

/// Waits for a response, for at most this many milliseconds; without a limit if it is negative.
pub(crate) fn wait(milliseconds: f64) {
    REQUESTS.with_borrow(|requests| {
        let pending = requests.values().filter_map(|request| match request {
            Request::Pending(pollable, _) => Some(pollable),
            Request::Body { .. } => None,
        });
        let mut pollables: Vec<&Pollable> = pending.collect();
        let timer = (milliseconds >= 0.0).then(|| {
            let nanoseconds = milliseconds.min(WAIT_MILLISECONDS) * 1e6;
            subscribe_duration(nanoseconds as u64)
        });
        pollables.extend(&timer);
        if !pollables.is_empty() {
            poll(&pollables);
        }
    });
}

/// Sends a request. `fields` are names and values in turn, each byte a character. Returns its
/// number.
fn start<'js>(
    cx: Ctx<'js>,
    method: String,
    scheme: String,
    authority: String,
    path: String,
    fields: Vec<String>,
    body: TypedArray<'js, u8>,
) -> Result<u32> {
    if !host::is_serving() {
        let why = "fetch: a handler has no network while it is loaded";
        return Err(Exception::throw_type(&cx, why));
    }
    let started = send(
        &method,
        &scheme,
        &authority,
        &path,
        &fields,
        &copy(&cx, &body)?,
    );
    match started {
        Ok(request) => Ok(REQUESTS.with_borrow_mut(|requests| {
            let number = requests.keys().next_back().map_or(1, |last| last + 1);
            requests.insert(number, request);
            number
        })),
        Err(why) => Err(Exception::throw_type(&cx, &format!("fetch: {why}"))),
    }
}

fn send(
    method: &str,
    scheme: &str,
    authority: &str,
    path: &str,
    fields: &[String],
    body: &[u8],
) -> std::result::Result<Request, String> {
    let headers = Fields::new();
    for pair in fields.chunks_exact(2) {
        let value: Vec<u8> = pair[1].chars().map(|char| char as u8).collect();
        // Fields of the connection are not the script's to set, and are left out.
        let _ = headers.append(&pair[0], &value);
    }
    let has_body = !body.is_empty();
    if has_body {
        let length = body.len().to_string();
        let _ = headers.append("content-length", length.as_bytes());
    }
    let request = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(format!("{other}: only http and https")),
    };
    let set = request
        .set_method(&self::method(method))
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| "not a valid request".to_owned())?;
    let outgoing = has_body.then(|| request.body());
    let response = handle(request, None).map_err(|code| told(&code))?;
    if let Some(Ok(outgoing)) = outgoing {
        write(outgoing, body);
    }
    Ok(Request::Pending(response.subscribe(), response))
}

/// Writes a body. If the peer doesn't take all of it, its response or error says so.
fn write(outgoing: OutgoingBody, body: &[u8]) {
    let Ok(stream) = outgoing.write() else {
        return;
    };
    for piece in body.chunks(PIECE_BYTES) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
}

fn method(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn told(code: &ErrorCode) -> String {
    match code {
        ErrorCode::HttpRequestDenied => "the host is not granted to this handler".to_owned(),
        code => code.to_string(),
    }
}

/// Returns the numbers of the requests whose response is there.
fn ready() -> Vec<u32> {
    REQUESTS.with_borrow(|requests| {
        let ready = requests.iter().filter(|(_, request)| match request {
            Request::Pending(pollable, _) => pollable.ready(),
            Request::Body { .. } => false,
        });
        ready.map(|(number, _)| *number).collect()
    })
}

/// Takes a response that is there: the status, then names and values of its fields in turn.
fn take<'js>(cx: Ctx<'js>, number: u32) -> Result<Array<'js>> {
    let fail = |why: &str| Err(Exception::throw_type(&cx, &format!("fetch: {why}")));
    let request = REQUESTS.with_borrow_mut(|requests| requests.remove(&number));
    let Some(Request::Pending(pollable, response)) = request else {
        return fail("no response");
    };
    drop(pollable);
    let response = match response.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return fail(&told(&code)),
        _ => return fail("no response"),
    };
    let head = Array::new(cx.clone())?;
    head.set(0, response.status())?;
    for (name, value) in response.headers().entries() {
        head.set(head.len(), name)?;
        let value: String = value.iter().map(|byte| char::from(*byte)).collect();
        head.set(head.len(), value)?;
    }
    let Ok(body) = response.consume() else {
        return fail("no body");
    };
    let Ok(stream) = body.stream() else {
        return fail("no body");
    };
    let request = Request::Body {
        stream: Some(stream),
        _body: body,
        _response: response,
    };
    REQUESTS.with_borrow_mut(|requests| requests.insert(number, request));
    Ok(head)
}

/// Reads a block of a response's body: empty at its end.
fn read<'js>(cx: Ctx<'js>, number: u32) -> Result<TypedArray<'js, u8>> {
    let block = REQUESTS.with_borrow_mut(|requests| {
        let Some(Request::Body { stream, .. }) = requests.get_mut(&number) else {
            return Ok(Vec::new());
        };
        let Some(open) = stream else {
            return Ok(Vec::new());
        };
        loop {
            return match open.blocking_read(BLOCK_BYTES) {
                Ok(block) if block.is_empty() => continue,
                Ok(block) => Ok(block),
                Err(StreamError::Closed) => {
                    *stream = None;
                    Ok(Vec::new())
                }
                Err(StreamError::LastOperationFailed(error)) => {
                    let code = http_error_code(&error);
                    let code = code.map_or_else(|| error.to_debug_string(), |code| told(&code));
                    drop(error);
                    *stream = None;
                    Err(code)
                }
            };
        }
    });
    match block {
        Ok(block) => TypedArray::new(cx, block),
        Err(why) => Err(Exception::throw_type(&cx, &format!("fetch: {why}"))),
    }
}

/// Ends a request, and closes its connection unless its response was read to the end.
fn end(number: u32) {
    REQUESTS.with_borrow_mut(|requests| requests.remove(&number));
}

/// Ends all requests: none continues in another request to the handler.
pub(crate) fn end_all() {
    REQUESTS.with_borrow_mut(BTreeMap::clear);
}
