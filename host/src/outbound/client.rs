//! One request to another host.

use crate::metrics::Counter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use super::body::ResponseBody;
use super::connect::{Connected, connect};
use super::error::Error;
use super::handler::{Connection, Connections, Sender};
use super::pool::{BoxError, BoxedBody, IDLE_TIME, Idle};
use super::resolve::{LOOKUPS, Lookups, Resolve};
use super::runtime;
use super::target::{Limits, Target};

/// The maximum size of a response's head, in bytes, and of what is read ahead of the handler: half
/// of the largest set of fields that a handler can hold.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The maximum number of fields in a response's head.
const MAX_FIELDS_COUNT: usize = 256;

/// The maximum pause before a request tries again to get a connection: a file of the handler that
/// is closed wakes no waiting request.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A connection with a request.
pub(super) struct InUse {
    target: Target,
    address: IpAddr,
    sender: SendRequest<BoxedBody>,
    handler: Arc<Connections>,
}

/// Sends a request off the caller's thread. Its URI must consist of a path and a query, and its
/// host must be granted. Dropping the future, or the body of the response, closes the connection.
///
/// # Errors
///
/// Fails if there is no complete head of a response.
pub(crate) async fn send<B>(
    request: Request<B>,
    target: Target,
    sender: Sender,
    limits: Limits,
) -> Result<Response<ResponseBody>, Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let work = async move { send_with(&*LOOKUPS, request, target, sender, limits).await };
    let result = runtime::run(work).await.and_then(|result| result);
    match result {
        Ok(_) => Counter::OutboundRequests.increment(),
        Err(_) => Counter::FailedOutboundRequests.increment(),
    }
    result
}

/// Sends a request on an idle connection or a new one. Runs on the runtime's thread.
async fn send_with<R: Resolve>(
    lookups: &Lookups<R>,
    mut request: Request<BoxedBody>,
    target: Target,
    sender: Sender,
    limits: Limits,
) -> Result<Response<ResponseBody>, Error> {
    let grants = sender.grants.outbound();
    let is_allowed = |address| {
        let checked = grants.check_http(target.protocol(), &target.host, target.port, address);
        checked.is_ok()
    };
    let deadline = Instant::now() + limits.connect_time;
    let mut is_repeated = false;
    let permit = loop {
        let changed = sender.connections.changed();
        if !is_repeated && let Some(idle) = sender.connections.idle.take(&target, is_allowed) {
            let in_use = InUse {
                target: idle.target,
                address: idle.address,
                sender: idle.sender,
                handler: Arc::clone(&sender.connections),
            };
            let copy = repeatable(&request);
            request = match (in_use.request(request, limits).await, copy) {
                (Ok(response), _) => return Ok(response),
                // The peer has closed the connection, and no byte of the request was sent.
                (Err((_, Some(unsent))), _) => *unsent,
                // The peer has closed the connection while the request was on its way.
                (Err((Error::Incomplete, None)), Some(copy)) => {
                    is_repeated = true;
                    copy
                }
                (Err((error, None)), _) => return Err(error),
            };
            continue;
        }
        let reached = match sender.connections.try_take(limits.connections) {
            Ok(permit) => break permit,
            Err(reached) => reached,
        };
        let retry = Instant::now() + RETRY_PAUSE;
        if timeout_at(retry.min(deadline), changed).await.is_err() && retry >= deadline {
            return Err(Error::TooManyConnections(reached));
        }
    };
    let new = open(lookups, &target, &sender, limits, permit);
    let new = timeout_at(deadline, new).await;
    let new = new.unwrap_or(Err(Error::ConnectTimeout))?;
    let response = new.request(request, limits).await;
    response.map_err(|(error, _)| error)
}

/// Returns a copy of a request that may be sent again after the peer has closed a connection that
/// was idle before (RFC 9110 section 9.2.2): of an idempotent method and without a body.
fn repeatable(request: &Request<BoxedBody>) -> Option<Request<BoxedBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let empty = Empty::new().map_err(Into::into).boxed_unsync();
    let mut copy = Request::new(empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Opens a connection.
async fn open<R: Resolve>(
    lookups: &Lookups<R>,
    target: &Target,
    sender: &Sender,
    limits: Limits,
    permit: Connection,
) -> Result<InUse, Error> {
    let Connected { stream, address } = connect(lookups, target, sender, limits).await?;
    let (request_sender, connection) = Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS_COUNT)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        // Its error is the error of its request.
        let _ = connection.await;
        drop(permit);
    });
    Ok(InUse {
        target: target.clone(),
        address,
        sender: request_sender,
        handler: Arc::clone(&sender.connections),
    })
}

impl InUse {
    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// Fails with the request if no byte of it was sent.
    async fn request(
        mut self,
        request: Request<BoxedBody>,
        limits: Limits,
    ) -> Result<Response<ResponseBody>, (Error, Option<Box<Request<BoxedBody>>>)> {
        let sent = self.sender.try_send_request(request);
        match timeout(limits.first_byte_time, sent).await {
            Ok(Ok(response)) => {
                Ok(response.map(|incoming| ResponseBody::new(incoming, self, limits)))
            }
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                Err((error.into_error().into(), unsent))
            }
            Err(_) => Err((Error::FirstByteTimeout, None)),
        }
    }

    /// Keeps the connection for another request, after the end of a response.
    pub(super) fn finish(mut self) {
        let task = async move {
            // The request's body may still be on its way.
            let ready = timeout(IDLE_TIME, self.sender.ready()).await;
            if !matches!(ready, Ok(Ok(()))) {
                return;
            }
            let must_sweep = self.handler.keep(Idle {
                target: self.target,
                address: self.address,
                sender: self.sender,
                since: Instant::now(),
            });
            if must_sweep {
                self.handler.idle.sweep().await;
            }
        };
        // Without the thread, there was no response.
        let _ = runtime::spawn(task);
    }
}
