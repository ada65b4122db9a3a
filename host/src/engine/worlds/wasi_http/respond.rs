//! Sends a guest's response to its client: the head when it is set, the body as it is written.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::engine::call::state::HostState;
use crate::engine::limits::limited;
use crate::engine::worlds::beside::Ended;
use crate::gateway::{Exchange, Failure, Head, Response, Sent};
use crate::http1::{is_bodiless, reason};
use crate::printable;

/// The guest's response or error.
pub(super) type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The part of a call that sends the response to the client.
pub(super) struct Responder {
    exchange: Arc<Exchange>,
    head_limit_bytes: usize,
    is_head_request: bool,
    /// The head, until it is sent.
    head: Option<Head>,
}

impl Responder {
    pub(super) fn new(state: &HostState) -> Self {
        Self {
            exchange: Arc::clone(&state.exchange),
            head_limit_bytes: state.budget.response_head_bytes,
            is_head_request: state.environ.head.method() == "HEAD",
            head: None,
        }
    }

    /// Waits for the response and sends all of it.
    pub(super) async fn carry(
        mut self,
        answer: oneshot::Receiver<Answer>,
    ) -> Result<Ended, Failure> {
        let response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(code)) => return bad(describe(&code)),
            Err(_) => return bad("it returned without setting one (response-outparam.set)"),
        };
        let (parts, mut body) = response.into_parts();
        let head = self.check(&parts)?;
        let has_body = !self.is_head_request && !is_bodiless(head.status);
        self.head = Some(head);
        if has_body {
            return self.carry_body(body).await;
        }
        // The client gets no body, whatever its content and length, and the guest doesn't fail.
        self.send_head();
        self.exchange.end(Vec::new());
        while let Some(Ok(_)) = next(&mut body).await {}
        Ok(Ended::Done)
    }

    /// Checks the head against the rules for every handler's head (R1).
    fn check(&self, parts: &http::response::Parts) -> Result<Head, Failure> {
        let status = parts.status.as_u16();
        let status = format!("{status} {}", reason(status));
        let fields = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut response = Response::default();
        response
            .start(status.as_bytes(), fields, false, self.head_limit_bytes)
            .map_err(|why| Failure::BadResponse(why.to_string()))?;
        response.send().ok_or(Failure::NotStarted)
    }

    async fn carry_body(mut self, mut body: HyperOutgoingBody) -> Result<Ended, Failure> {
        // Hold back a block while it can still be the only one: not if the body has not ended by
        // now.
        let mut held = None;
        loop {
            let frame = if held.is_none() && self.head.is_none() {
                Poll::Ready(next(&mut body).await)
            } else {
                next_now(&mut body).await
            };
            let to_send = match frame {
                Poll::Ready(None) => {
                    self.finish(held);
                    return Ok(Ended::Done);
                }
                Poll::Ready(Some(Err(_))) => {
                    return bad(
                        "it did not finish its body (outgoing-body.finish), or its length differs \
                         from Content-Length",
                    );
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => held.replace(data),
                    // Trailers are not sent.
                    _ => None,
                },
                Poll::Pending => {
                    self.send_head();
                    held.take()
                }
            };
            if let Some(block) = to_send {
                self.send_head();
                if self.exchange.send_block(block.into()).await != Sent::Left {
                    // The guest learns this at its next write: its stream is closed.
                    return Ok(Ended::Done);
                }
            }
        }
    }

    fn send_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.exchange.send_head(head);
        }
    }

    /// Sends the last block, if any, and the end. If it is the only block, the body gets its length
    /// (B4).
    fn finish(mut self, last: Option<Bytes>) {
        let last = Vec::from(last.unwrap_or_default());
        if let Some(head) = &mut self.head {
            head.length.get_or_insert(last.len() as u64);
        }
        self.send_head();
        self.exchange.end(last);
    }
}

type NextFrame = Option<Result<Frame<Bytes>, Error>>;

/// Waits for the next piece of a body.
async fn next(body: &mut HyperOutgoingBody) -> NextFrame {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// Returns the next piece of a body if it is available.
async fn next_now(body: &mut HyperOutgoingBody) -> Poll<NextFrame> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await
}

/// Describes a guest's error code, limited to the length of a log line.
fn describe(code: &ErrorCode) -> String {
    /// The maximum length of a message, in bytes, including the source locations that some SDKs
    /// append.
    const MESSAGE_BYTES: usize = 4 * 1024;
    let text = match code {
        ErrorCode::InternalError(Some(text)) => printable::front(text, MESSAGE_BYTES).to_owned(),
        other => limited(&fmt::from_fn(|f| write!(f, "{other:?}")), MESSAGE_BYTES),
    };
    format!("it has an error: {text}")
}

fn bad<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::BadResponse(why.into()))
}
