//! One TLS connection without its socket: records go in and plaintext comes out, and vice versa.
//! rustls implements the protocol; this module steps through its states and keeps data in transit.
//!
//! Between two requests, a session keeps no data. Records are read into a buffer of the reactor and
//! sealed in another. The session keeps only partially received and partially sent records.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::certificate::NameInHandshake;
use super::protocols::CHALLENGE_PROTOCOL;
use crate::metrics::Counter;

/// The plaintext of a full record, in bytes (RFC 8446 section 5.1).
pub(in crate::server) const RECORD_BYTES: usize = 16 * 1024;

/// The maximum plaintext to seal at a time, in bytes: four full records, as much as a socket
/// commonly accepts.
pub(in crate::server) const SEAL_BYTES: usize = 4 * RECORD_BYTES;

/// The maximum overhead of a sealed record, in bytes: 5 for the header, 8 for the nonce and 16 for
/// the tag in TLS 1.2, 22 in TLS 1.3.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Space for a key update message, which can precede a record, in bytes.
const KEY_UPDATE_BYTES: usize = 64;

/// The size of the buffer for sealed records, in bytes.
pub(in crate::server) const SEALED_BYTES: usize =
    SEAL_BYTES + 4 * RECORD_OVERHEAD_BYTES + KEY_UPDATE_BYTES;

/// The maximum size of incomplete client records, in bytes. Only a client's certificate chain would
/// be a long message; hellos have half a kilobyte to two.
pub(in crate::server) const HELD_BYTES: usize = 32 * 1024;

/// Space for a `close_notify`, in bytes: it has 24 to 31.
const CLOSE_NOTIFY_BYTES: usize = 64;

/// The server side of one TLS connection.
pub(in crate::server) struct Session {
    tls: UnbufferedServerConnection,
    /// Incomplete client records. At most [`HELD_BYTES`].
    held: Vec<u8>,
    /// Server records to send. The first `left` bytes have been sent.
    outgoing: Vec<u8>,
    left: usize,
    /// The deadline of the handshake.
    deadline: Instant,
    phase: Phase,
    /// The name that the client gives in its handshake, if it matters.
    name: Option<NameInHandshake>,
}

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte has arrived.
    New,
    /// The handshake is not complete.
    Handshake,
    /// Requests and responses.
    Open,
    /// The server has sent its last record: an alert or a `close_notify`.
    Ended,
}

/// The result of processing client records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Opened {
    /// More may follow.
    Open,
    /// The client has ended its side.
    Ended,
}

/// Why a session failed. An alert for the client is queued.
#[derive(Debug)]
pub(in crate::server) struct Failed(pub(in crate::server) String);

impl Session {
    /// Creates a session with `deadline` as the end of its handshake.
    ///
    /// # Errors
    ///
    /// Fails if the configuration is unusable.
    pub(in crate::server) fn new(
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            held: Vec::new(),
            outgoing: Vec::new(),
            left: 0,
            deadline,
            phase: Phase::New,
            name: None,
        })
    }

    /// Keeps the name that the client gives in its handshake, which `name` gets.
    pub(super) fn with_name(mut self, name: NameInHandshake) -> Self {
        self.name = Some(name);
        self
    }

    /// Returns the name that the client gave in its handshake, if it gave one and it matters.
    pub(in crate::server) fn server_name(&self) -> Option<&str> {
        self.name.as_ref()?.get().map(|name| &**name)
    }

    /// Returns the deadline of the handshake while it is in progress.
    pub(in crate::server) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::New | Phase::Handshake => Some(self.deadline),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// Returns whether no record has arrived yet.
    pub(in crate::server) fn is_new(&self) -> bool {
        self.phase == Phase::New
    }

    /// Copies the incomplete client records to the front of `buffer`; the next read goes after
    /// them. Returns their length.
    pub(in crate::server) fn resume(&self, buffer: &mut [u8]) -> usize {
        let Some(front) = buffer.get_mut(..self.held.len()) else {
            return 0;
        };
        front.copy_from_slice(&self.held);
        front.len()
    }

    /// Processes records, of which the first are those from `resume`, and passes the plaintext to
    /// `sink`.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not records, or not the client's.
    pub(in crate::server) fn open(
        &mut self,
        records: &mut [u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Opened, Failed> {
        if self.phase == Phase::Ended {
            return Ok(Opened::Ended);
        }
        if self.phase == Phase::New {
            self.phase = Phase::Handshake;
        }
        let mut start = 0;
        let mut opened = Opened::Open;
        loop {
            let rest = records.get_mut(start..).unwrap_or_default();
            let is_challenge = self.is_challenge();
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(rest);
            start += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| Failed(error.to_string()))?;
                        start += record.discard;
                        if !is_challenge {
                            sink(record.payload);
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, |room| data.encode(room));
                }
                // Records leave in the order in which they were created, so rustls may consider
                // them sent.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened = Opened::Ended,
                Ok(
                    ConnectionState::Closed
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::WriteTraffic(_),
                ) => break,
                // Early data, which the server doesn't offer.
                Ok(_) => return Err(self.end("it sent early data")),
                Err(error) => {
                    let rest = records.get_mut(start..).unwrap_or_default();
                    return Err(self.fail(rest, error.to_string()));
                }
            }
        }
        if self.phase == Phase::Handshake && !self.tls.is_handshaking() {
            self.phase = Phase::Open;
            Counter::Handshakes.increment();
        }
        if self.phase == Phase::Open && self.is_challenge() {
            // The handshake was the answer, and no data follows (RFC 8737 section 3). The
            // connection ends as if the client had ended it: what is left of the handshake is sent,
            // and a close_notify.
            self.held = Vec::new();
            return Ok(Opened::Ended);
        }
        let rest = records.get(start..).unwrap_or_default();
        if rest.len() > HELD_BYTES {
            return Err(self.end("its handshake is too long"));
        }
        // An empty vector takes no memory.
        self.held = rest.to_vec();
        Ok(opened)
    }

    /// Returns whether the client has chosen the protocol of challenges for certificates.
    fn is_challenge(&self) -> bool {
        self.tls.alpn_protocol() == Some(CHALLENGE_PROTOCOL)
    }

    /// Returns whether a record of `plain_bytes` can be sealed into `room_bytes`.
    pub(in crate::server) fn fits(plain_bytes: usize, room_bytes: usize) -> bool {
        plain_bytes + RECORD_OVERHEAD_BYTES + KEY_UPDATE_BYTES <= room_bytes
    }

    /// Seals one record, of at most [`RECORD_BYTES`], at the front of `sealed`, where it must
    /// [fit](Self::fits). Returns its length. It must be sent after the [outgoing](Self::outgoing)
    /// data.
    ///
    /// # Errors
    ///
    /// Fails before the end of the handshake, and when the keys are exhausted.
    pub(in crate::server) fn seal(
        &mut self,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, Failed> {
        if self.phase != Phase::Open {
            return Err(Failed("there is no session to write to".into()));
        }
        self.with_traffic(|traffic| traffic.encrypt(plain, sealed))
    }

    /// Ends our side, so that the client knows that no data is missing. Only data queued before is
    /// still sent.
    pub(in crate::server) fn close(&mut self) {
        if self.phase == Phase::Open {
            let mut notice = [0; CLOSE_NOTIFY_BYTES];
            // Exhausted keys can't seal a close_notify either: the client sees a cut connection.
            if let Ok(length) = self.with_traffic(|traffic| traffic.queue_close_notify(&mut notice))
            {
                self.keep(notice.get(..length).unwrap_or_default());
            }
        }
        self.finish();
    }

    /// Ends the session. A handshake that is not complete has failed.
    fn finish(&mut self) {
        if self.phase == Phase::Handshake {
            Counter::FailedHandshakes.increment();
        }
        self.phase = Phase::Ended;
    }

    /// Returns whether [`close`](Self::close) would have no effect.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns the server records to send.
    pub(in crate::server) fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.left..).unwrap_or_default()
    }

    /// Queues records that could not be sent.
    pub(in crate::server) fn keep(&mut self, records: &[u8]) {
        self.outgoing.extend_from_slice(records);
    }

    /// Records that the first `count` bytes of [`outgoing`](Self::outgoing) were sent.
    pub(in crate::server) fn sent(&mut self, count: usize) {
        self.left += count;
        if self.left >= self.outgoing.len() {
            self.left = 0;
            self.outgoing = Vec::new();
        }
    }

    /// Returns the memory for data in transit, in bytes.
    #[cfg(test)]
    pub(super) fn kept_capacity_bytes(&self) -> usize {
        self.held.capacity() + self.outgoing.capacity()
    }

    /// Runs an operation that rustls allows between two client records.
    fn with_traffic(
        &mut self,
        act: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> Result<usize, Failed> {
        loop {
            // This processes the incomplete records again, without effect: none of them is
            // complete.
            let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.held);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return act(&mut traffic).map_err(|error| Failed(error.to_string()));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(Failed("the handshake is not finished".into())),
                Err(error) => return Err(Failed(error.to_string())),
            }
        }
    }

    /// Ends the session without an alert.
    fn end(&mut self, why: &str) -> Failed {
        self.finish();
        Failed(why.into())
    }

    /// Ends the session, and queues rustls's alert for an error in `records`. Stops when the alert
    /// is queued: a further call would return the same error.
    fn fail(&mut self, records: &mut [u8], why: String) -> Failed {
        self.finish();
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.tls.process_tls_records(records).state
        {
            encode(&mut self.outgoing, |room| data.encode(room));
        }
        Failed(why)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("held", &self.held.len())
            .field("outgoing", &self.outgoing().len())
            .finish_non_exhaustive()
    }
}

/// Appends the output of `write`, which reports how much space it needs.
fn encode(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let Err(EncodeError::InsufficientSize(short)) = write(&mut []) else {
        return;
    };
    let start = out.len();
    out.resize(start + short.required_size, 0);
    let written = write(out.get_mut(start..).unwrap_or_default()).unwrap_or(0);
    out.truncate(start + written);
}
