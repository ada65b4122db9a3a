//! A response to a request of the server itself whose body is read in parts, for what is too long
//! to be in memory.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Sleep, sleep};

use super::own::{Client, HttpConnection, IsAllowed, NoReply, Peer, connect, handshake};

/// The maximum time until there is a connection, to the head of the response, and from one part of
/// the body to the next: the network is down after that.
const STALL_TIME: Duration = Duration::from_secs(30);

/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// When the requests of a download end.
#[derive(Clone, Copy)]
pub(crate) struct Until<'u> {
    pub(crate) deadline: Instant,
    /// Reports whether the result is not wanted any more.
    pub(crate) is_over: &'u dyn Fn() -> bool,
}

/// A response. Dropping it closes its connection.
pub(crate) struct Download<'c> {
    client: &'c Client,
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    /// The address that it comes from.
    pub(crate) address: IpAddr,
    body: Incoming,
    /// `None` once the peer has closed it.
    connection: Option<Pin<Box<HttpConnection>>>,
    /// The connection is closed without it.
    _sender: SendRequest<Full<Bytes>>,
    until: Until<'c>,
}

impl Client {
    /// Sends a request on a new connection, to an address that `is_allowed` accepts, and waits for
    /// the head of its response. Redirects are not followed. The request's URI must consist of a
    /// path and a query.
    ///
    /// # Errors
    ///
    /// Fails if there is no head in time.
    pub(crate) fn download<'c>(
        &'c self,
        peer: Peer<'_>,
        request: Request<Bytes>,
        is_allowed: IsAllowed<'_>,
        until: Until<'c>,
    ) -> Result<Download<'c>, NoReply> {
        let opened = self.block_on(async {
            let opened = open(peer, request, is_allowed, STALL_TIME);
            until.wait(opened).await
        })?;
        let Opened {
            response,
            address,
            sender,
            connection,
        } = opened;
        let (head, body) = response.into_parts();
        Ok(Download {
            client: self,
            status: head.status,
            fields: head.headers,
            address,
            body,
            connection,
            _sender: sender,
            until,
        })
    }
}

struct Opened {
    response: http::Response<Incoming>,
    address: IpAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: Option<Pin<Box<HttpConnection>>>,
}

async fn open(
    peer: Peer<'_>,
    request: Request<Bytes>,
    is_allowed: IsAllowed<'_>,
    time: Duration,
) -> Result<Opened, NoReply> {
    let (stream, address) = connect(peer, time, is_allowed).await?;
    let (mut sender, connection) = handshake(stream).await?;
    let mut connection = Some(Box::pin(connection));
    let response = {
        let mut sent = std::pin::pin!(sender.send_request(request.map(Full::new)));
        poll_fn(|context| {
            drive(&mut connection, context);
            sent.as_mut().poll(context)
        })
        .await
    };
    Ok(Opened {
        response: response.map_err(NoReply::failed)?,
        address,
        sender,
        connection,
    })
}

/// Moves bytes between the connection and the response. An error is that of the response.
fn drive(connection: &mut Option<Pin<Box<HttpConnection>>>, context: &mut std::task::Context<'_>) {
    if let Some(open) = connection
        && open.as_mut().poll(context).is_ready()
    {
        *connection = None;
    }
}

impl Until<'_> {
    /// Waits for one step of a download.
    async fn wait<T>(self, step: impl Future<Output = Result<T, NoReply>>) -> Result<T, NoReply> {
        // Also if no step has to wait: a peer may send some bytes each millisecond.
        self.check(self.deadline)?;
        let end = self.deadline.min(Instant::now() + STALL_TIME);
        let mut step = std::pin::pin!(step);
        let mut look: Pin<Box<Sleep>> = Box::pin(sleep(LOOK));
        poll_fn(|context| {
            if let Poll::Ready(done) = step.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            while look.as_mut().poll(context).is_ready() {
                if let Err(over) = self.check(end) {
                    return Poll::Ready(Err(over));
                }
                look.set(sleep(LOOK));
            }
            Poll::Pending
        })
        .await
    }

    /// Fails if the time is over, or if the result is not wanted any more.
    fn check(self, end: Instant) -> Result<(), NoReply> {
        if Instant::now() >= end {
            return Err(NoReply::Timeout);
        }
        match (self.is_over)() {
            true => Err(NoReply::Failed("no longer wanted".into())),
            false => Ok(()),
        }
    }
}

impl Download<'_> {
    /// Returns the next part of the body, or `None` at its end.
    ///
    /// # Errors
    ///
    /// Fails if there is no further part in time, or if the connection fails.
    pub(crate) fn next_part(&mut self) -> Result<Option<Bytes>, NoReply> {
        let (connection, body) = (&mut self.connection, &mut self.body);
        let next = async {
            loop {
                let frame = poll_fn(|context| {
                    drive(connection, context);
                    Pin::new(&mut *body).poll_frame(context)
                })
                .await;
                match frame.transpose().map_err(NoReply::failed)? {
                    None => return Ok(None),
                    // Trailers are ignored.
                    Some(frame) => {
                        if let Ok(part) = frame.into_data() {
                            return Ok(Some(part));
                        }
                    }
                }
            }
        };
        self.client.block_on(self.until.wait(next))
    }

    /// Returns the whole body.
    ///
    /// # Errors
    ///
    /// Fails if it is longer than `max_bytes`, or as [`next_part`](Self::next_part) does.
    pub(crate) fn whole(&mut self, max_bytes: usize) -> Result<Vec<u8>, NoReply> {
        let mut whole = Vec::new();
        while let Some(part) = self.next_part()? {
            if whole.len() + part.len() > max_bytes {
                return Err(NoReply::TooLarge);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }
}

impl fmt::Debug for Download<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("status", &self.status)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
