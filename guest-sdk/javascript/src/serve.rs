//! Handles a request: calls the application, and passes its response to the server.

use std::cell::{Cell, RefCell};

use rquickjs::{Ctx, Function, Object, Promise, TypedArray};

use crate::bindings::exports::wasgi::gateway::application::{self, Body, GuestBlocks};
use crate::bindings::wasgi::gateway::gateway::{Environ, Exception, StartError, StartResponse};
use crate::engine::{self, Platform};
use crate::event_loop::settled;
use crate::failure::Failure;
use crate::{foreign, host, kv, reason};

/// The maximum size of a block, in bytes. Longer bodies are returned as several: a server accepts
/// blocks of this size.
const BLOCK_BYTES: usize = 1 << 20;

/// The body of a response that is returned block by block.
pub(crate) struct Blocks {
    /// The bytes that are returned first: a whole body, or the rest of a long block.
    rest: RefCell<Rest>,
    /// There is nothing after it.
    is_over: Cell<bool>,
}

/// Bytes, of which some were returned.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    returned: usize,
}

impl Rest {
    /// Takes the next block.
    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.get(self.returned..).unwrap_or_default();
        let block = rest.get(..BLOCK_BYTES).unwrap_or(rest).to_vec();
        self.returned += block.len();
        if block.is_empty() {
            *self = Self::default();
        }
        (!block.is_empty()).then_some(block)
    }
}

/// The application's response.
struct Response {
    /// The whole body, unless it is streamed.
    whole: Option<Vec<u8>>,
    /// There is work after the head: a stream, or what `waitUntil` was given.
    has_more: bool,
}

/// Handles a request.
pub(crate) fn call(environ: Environ, start_response: &StartResponse) -> Result<Body, Exception> {
    host::set_environ(Some(environ));
    kv::close_all();
    let response = engine::with(|cx, platform| {
        let failed = |error| Failure::from_error(cx, platform, error);
        let serve: Function<'_> = platform.function("serve").map_err(failed)?;
        let promise: Promise<'_> = serve.call(()).map_err(failed)?;
        let parts: Object<'_> = settled(cx, platform, &promise, "the promise of fetch")?;
        respond(cx, platform, &parts, start_response)
    });
    let response = response.map_err(Exception::from)?;
    Ok(match response {
        Response {
            whole: Some(whole),
            has_more: false,
        } if whole.len() <= BLOCK_BYTES => Body::Block(whole),
        Response { whole, .. } => Body::Blocks(application::Blocks::new(Blocks {
            is_over: Cell::new(whole.is_some()),
            rest: RefCell::new(Rest {
                bytes: whole.unwrap_or_default(),
                returned: 0,
            }),
        })),
    })
}

/// Sets the response's head, and takes its body.
fn respond<'js>(
    cx: &Ctx<'js>,
    platform: &Platform<'js>,
    parts: &Object<'js>,
    start_response: &StartResponse,
) -> Result<Response, Failure> {
    let failed = |error| Failure::from_error(cx, platform, error);
    let status: u16 = parts.get("status").map_err(failed)?;
    let reason: String = parts.get("reason").map_err(failed)?;
    let reason = if reason.is_empty() {
        reason::for_status(status)
    } else {
        &reason
    };
    let is_stream: bool = parts.get("isStream").map_err(failed)?;
    let has_more: bool = parts.get("hasMore").map_err(failed)?;
    let fields: Vec<String> = parts.get("fields").map_err(failed)?;
    let mut fields: Vec<(String, Vec<u8>)> = fields
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), bytes(&pair[1])))
        .collect();
    let whole = match is_stream {
        true => None,
        false => Some(body(parts).map_err(failed)?),
    };
    // A whole body that is returned as blocks has its length all the same.
    let has_length = fields.iter().any(|(name, _)| name == "content-length");
    if let Some(whole) = &whole
        && (has_more || whole.len() > BLOCK_BYTES)
        && !has_length
        && !matches!(status, 204 | 205 | 304)
    {
        fields.push((
            "content-length".into(),
            whole.len().to_string().into_bytes(),
        ));
    }
    let status = format!("{status} {reason}");
    start_response
        .call(&bytes(&status), &fields, None)
        .map_err(|error| {
            let why = match error {
                StartError::AlreadyStarted | StartError::HeadSent => {
                    "it was already started".into()
                }
                StartError::Refused(why) => why,
            };
            Failure::new("TypeError", format!("the response is invalid: {why}"))
        })?;
    Ok(Response { whole, has_more })
}

/// Returns the body of a response that has a whole one.
fn body(parts: &Object<'_>) -> rquickjs::Result<Vec<u8>> {
    if let Some(text) = parts.get::<_, Option<String>>("text")? {
        return Ok(text.into_bytes());
    }
    let bytes: TypedArray<'_, u8> = parts.get("bytes")?;
    foreign::copy(parts.ctx(), &bytes)
}

/// Returns the bytes of a text of which each character is one.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| character as u8).collect()
}

impl GuestBlocks for Blocks {
    fn next(&self) -> Result<Option<Vec<u8>>, Exception> {
        if let Some(block) = self.rest.borrow_mut().next() {
            return Ok(Some(block));
        }
        if self.is_over.get() {
            return Ok(None);
        }
        let block = engine::with(|cx, platform| {
            let failed = |error| Failure::from_error(cx, platform, error);
            let next: Function<'_> = platform.function("next").map_err(failed)?;
            let promise: Promise<'_> = next.call(()).map_err(failed)?;
            let what = "the body's stream";
            let block: Option<TypedArray<'_, u8>> = settled(cx, platform, &promise, what)?;
            block
                .map(|block| foreign::copy(cx, &block))
                .transpose()
                .map_err(failed)
        });
        match block {
            Ok(Some(bytes)) if bytes.len() > BLOCK_BYTES => {
                let mut rest = Rest { bytes, returned: 0 };
                let first = rest.next();
                *self.rest.borrow_mut() = rest;
                Ok(first)
            }
            Ok(Some(block)) => Ok(Some(block)),
            Ok(None) => {
                self.is_over.set(true);
                Ok(None)
            }
            Err(failure) => {
                self.is_over.set(true);
                Err(failure.into())
            }
        }
    }

    fn close(&self) -> Result<(), Exception> {
        let closed = engine::with(|cx, platform| {
            let failed = |error| Failure::from_error(cx, platform, error);
            let close: Function<'_> = platform.function("close").map_err(failed)?;
            let promise: Promise<'_> = close.call(()).map_err(failed)?;
            settled::<()>(cx, platform, &promise, "a promise passed to waitUntil")
        });
        closed.map_err(Exception::from)
    }
}
