//! The body of a response from another host.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::client::InUse;
use super::error::Error;
use super::target::Limits;

/// The body of a response: its blocks are read from the network on demand. Dropping it before its
/// end closes the connection.
pub(crate) struct ResponseBody {
    incoming: Incoming,
    /// The connection, until the end of the body.
    connection: Option<InUse>,
    limit_bytes: u64,
    read_bytes: u64,
    between_bytes_time: Duration,
    stalled: Pin<Box<Sleep>>,
    has_failed: bool,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, connection: InUse, limits: Limits) -> Self {
        let mut body = Self {
            incoming,
            connection: Some(connection),
            limit_bytes: limits.response_bytes,
            read_bytes: 0,
            between_bytes_time: limits.between_bytes_time,
            stalled: Box::pin(sleep(limits.between_bytes_time)),
            has_failed: false,
        };
        body.finish_at_end();
        body
    }

    fn finish_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.finish();
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.connection = None;
        self.has_failed = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.has_failed {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.read_bytes = self.read_bytes.saturating_add(bytes as u64);
                if self.read_bytes > self.limit_bytes {
                    let limit = self.limit_bytes;
                    return self.fail(Error::BodyTooLarge(limit));
                }
                let next = Instant::now() + self.between_bytes_time;
                self.stalled.as_mut().reset(next);
                self.finish_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(error.into()),
            Poll::Ready(None) => {
                if let Some(connection) = self.connection.take() {
                    connection.finish();
                }
                Poll::Ready(None)
            }
            Poll::Pending => match self.stalled.as_mut().poll(context) {
                Poll::Ready(()) => self.fail(Error::BetweenBytesTimeout),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_failed || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody")
            .field("read_bytes", &self.read_bytes)
            .finish_non_exhaustive()
    }
}
