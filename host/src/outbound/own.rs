//! Requests of the server itself, to a host that its operator has configured: no grant limits them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{Builder as HttpBuilder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::lookup_host;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};

use super::connect::{Stream, connect_to};
use super::error::Error;
use super::tls::{self, Authorities};
use crate::grants::Host;

/// The maximum size of a response's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The maximum number of fields in a response's head.
const MAX_FIELDS_COUNT: usize = 64;

/// The maximum size of a response's body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The HTTP protocol of a connection.
pub(super) type HttpConnection = Connection<TokioIo<Stream>, Full<Bytes>>;

/// Checks an address before it is connected to. Fails with the reason, for users.
pub(crate) type IsAllowed<'a> = &'a (dyn Fn(IpAddr) -> Result<(), String> + Sync);

/// A client that blocks its thread.
pub(crate) struct Client {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// The host of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'h> {
    pub(crate) is_https: bool,
    pub(crate) host: &'h str,
    pub(crate) port: u16,
    /// The authorities that may have issued its certificate; by default those of the system.
    pub(crate) authorities: Option<&'h Authorities>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum NoReply {
    Timeout,
    TooLarge,
    Failed(String),
}

impl Client {
    /// Creates a client whose threads have this name.
    ///
    /// # Errors
    ///
    /// Fails if the system has no resources for it.
    pub(crate) fn new(thread: &str) -> io::Result<Self> {
        let runtime = runtime(thread)?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Works until `work` is done.
    pub(super) fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, NoReply>>,
    ) -> Result<T, NoReply> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => Err(NoReply::Failed("the client has ended".into())),
        }
    }

    /// Sends a request as [`send`] does.
    ///
    /// # Errors
    ///
    /// Fails if there is no whole response within `time`, or if it is too large.
    pub(crate) fn send(
        &self,
        peer: Peer<'_>,
        request: Request<Bytes>,
        time: Duration,
    ) -> Result<Reply, NoReply> {
        self.block_on(send(peer, request, time))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A look-up of a name that hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// Creates a runtime in which a thread can send requests. Names are looked up on threads called
/// `thread`.
///
/// # Errors
///
/// Fails if the system has no resources for it.
pub(crate) fn runtime(thread: &str) -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .thread_name(thread)
        .build()
}

/// Sends a request on a new connection, and reads the whole response. Redirects are not followed.
/// The request's URI must consist of a path and a query.
///
/// # Errors
///
/// Fails if there is no whole response within `time`, or if it is too large.
pub(crate) async fn send(
    peer: Peer<'_>,
    request: Request<Bytes>,
    time: Duration,
) -> Result<Reply, NoReply> {
    let sent = timeout(time, exchange(peer, request, time)).await;
    sent.unwrap_or(Err(NoReply::Timeout))
}

async fn exchange(
    peer: Peer<'_>,
    request: Request<Bytes>,
    time: Duration,
) -> Result<Reply, NoReply> {
    let (stream, _) = connect(peer, time, &|_| Ok(())).await?;
    let (mut sender, connection) = handshake(stream).await?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await;
        let (head, body) = response.map_err(NoReply::failed)?.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => NoReply::TooLarge,
            false => NoReply::failed(&*error),
        })?;
        Ok(Reply {
            status: head.status,
            fields: head.headers,
            body: body.to_bytes(),
        })
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut is_open = true;
    poll_fn(|context| {
        // Its error is the error of the exchange.
        is_open = is_open && connection.as_mut().poll(context).is_pending();
        exchange.as_mut().poll(context)
    })
    .await
}

/// Starts HTTP on a connection.
pub(super) async fn handshake(
    stream: Stream,
) -> Result<(SendRequest<Full<Bytes>>, HttpConnection), NoReply> {
    HttpBuilder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS_COUNT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(NoReply::failed)
}

/// Connects to one of the peer's addresses that `is_allowed` accepts. Also returns the address.
pub(super) async fn connect(
    peer: Peer<'_>,
    time: Duration,
    is_allowed: IsAllowed<'_>,
) -> Result<(Stream, IpAddr), NoReply> {
    let found = lookup_host((peer.host, peer.port)).await;
    let found = found.map_err(NoReply::failed)?;
    let mut refused = None;
    let mut addresses = Vec::new();
    for address in found.map(|address| address.ip()) {
        match is_allowed(address) {
            Ok(()) => addresses.push(address),
            Err(why) => refused = Some(why),
        }
    }
    if let (true, Some(why)) = (addresses.is_empty(), refused) {
        return Err(NoReply::Failed(why));
    }
    let deadline = Instant::now() + time;
    let connected = connect_to(addresses, peer.port, deadline).await;
    let (stream, address) = connected.map_err(|error| NoReply::from_error(&error))?;
    if !peer.is_https {
        return Ok((Stream::Plain(stream), address));
    }
    let host = match peer.host.parse() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(peer.host.to_ascii_lowercase()),
    };
    let stream = match peer.authorities {
        Some(authorities) => tls::handshake_with(stream, &host, authorities).await,
        None => tls::handshake(stream, &host).await,
    };
    let stream = stream.map_err(|error| NoReply::from_error(&error))?;
    Ok((Stream::Tls(stream), address))
}

impl NoReply {
    pub(super) fn failed(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Failed(text)
    }

    fn from_error(error: &Error) -> Self {
        match error {
            Error::ConnectTimeout => Self::Timeout,
            Error::Connect(error) => Self::Failed(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no response in time"),
            Self::TooLarge => f.write_str("the response is too large"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}
