//! Moves a request's body and a response between the protocol core and the exchange of a handler:
//! the same for the server's connections and for `drive`.

use std::sync::Arc;
use std::time::Instant;

use crate::gateway::{Exchange, Head, InputError, Output};
use crate::http1::{BodyLength, BodyProgress, Connection, ResponseHead};

/// The transfer for one request.
#[derive(Debug)]
pub(crate) struct Transfer {
    exchange: Arc<Exchange>,
    /// The exchange knows how the body ended.
    body_done: bool,
    /// The bytes of the body that the handler was given.
    body_bytes: u64,
    head_sent: bool,
}

impl Transfer {
    /// Creates the transfer for a request; `has_body` says whether body bytes will follow.
    pub(crate) fn new(exchange: Arc<Exchange>, has_body: bool) -> Self {
        Self {
            exchange,
            body_done: !has_body,
            body_bytes: 0,
            head_sent: false,
        }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Returns whether the handler has the whole body, or its error.
    pub(crate) fn is_body_done(&self) -> bool {
        self.body_done
    }

    /// Returns the number of bytes of the body that the handler was given.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Returns whether the response has begun.
    pub(crate) fn is_head_sent(&self) -> bool {
        self.head_sent
    }

    /// Passes the received part of the request's body to the handler, as far as it has room. Calls
    /// `send_continue` if the client waits for a `100 Continue` and the handler for the body (I3),
    /// and `see` with the bytes.
    ///
    /// If the body failed before the head is sent, the client receives the error in its response,
    /// whatever the handler does about it.
    pub(crate) fn feed(
        &mut self,
        http: &mut Connection,
        now: Instant,
        send_continue: impl FnOnce(&mut Connection),
        see: impl FnOnce(&[u8]),
    ) -> BodyProgress {
        if self.body_done {
            return BodyProgress::Incomplete;
        }
        if self.exchange.body_awaited() && http.continue_owed() {
            send_continue(http);
        }
        let room = self.exchange.body_room();
        if room == 0 {
            return BodyProgress::Incomplete;
        }
        let progress = self.exchange.push_body(|into| {
            let before = into.len();
            let progress = http.read_body(room, into, now);
            self.body_bytes += into.len().saturating_sub(before) as u64;
            see(into.get(before..).unwrap_or_default());
            progress
        });
        let end = match progress {
            BodyProgress::Incomplete | BodyProgress::Data => return progress,
            BodyProgress::End => Ok(()),
            BodyProgress::Failed(error) => Err(InputError::from(error)),
        };
        self.body_done = true;
        self.exchange.end_body(end);
        progress
    }

    /// Takes the handler's output.
    pub(crate) fn take_output(&self) -> Output {
        self.exchange.take_output()
    }

    /// Begins the response: returns its head for the protocol core.
    pub(crate) fn begin<'h>(
        &mut self,
        http: &mut Connection,
        head: &'h Head,
    ) -> (
        ResponseHead<'h, impl Iterator<Item = (&'h str, &'h [u8])> + Clone + use<'h>>,
        BodyLength,
    ) {
        if !self.body_done && self.exchange.leaves_body() {
            http.leave_body();
        }
        self.head_sent = true;
        let fields = head.fields.iter();
        let response = ResponseHead {
            status: head.status,
            reason: &head.reason,
            fields: fields.map(|(name, value)| (name.as_str(), value.as_slice())),
        };
        let length = head.length.map_or(BodyLength::Unknown, BodyLength::Known);
        (response, length)
    }

    /// Records that all output that was taken has been sent to the client.
    pub(crate) fn sent(&self) {
        self.exchange.sent();
    }
}
