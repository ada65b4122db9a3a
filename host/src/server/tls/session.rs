//! One TLS connection without its socket: records go in, plaintext comes out, and the other way
//! round. rustls does the work; this is where its states are gone through, and where what is on its
//! way is kept.
//!
//! Between two requests nothing is: records are read into the reactor's buffer and sealed in
//! another of its buffers, and only what did not come whole, or did not leave whole, is kept here.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// The plaintext of a full record, in bytes (RFC 8446 section 5.1).
pub(in crate::server) const RECORD_BYTES: usize = 16 * 1024;

/// Plaintext that is sealed at a time, in bytes: four full records, as much as a socket commonly
/// takes.
pub(in crate::server) const SEAL_BYTES: usize = 4 * RECORD_BYTES;

/// What sealing adds to a record at most, in bytes: 5 of header, 8 of nonce and 16 of tag in TLS
/// 1.2, 22 in TLS 1.3.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Room for the announcement of new keys, which may go before a record, in bytes.
const KEY_UPDATE_BYTES: usize = 64;

/// Where records are sealed to, in bytes.
pub(in crate::server) const SEALED_BYTES: usize =
    SEAL_BYTES + 4 * RECORD_OVERHEAD_BYTES + KEY_UPDATE_BYTES;

/// Records of the client that may be here without being whole, in bytes. A certificate chain of a
/// client would be the only long message; hellos have half a kilobyte to two.
pub(in crate::server) const HELD_BYTES: usize = 32 * 1024;

/// Room for a `close_notify`, in bytes: it has 24 to 31.
const CLOSE_NOTIFY_BYTES: usize = 64;

/// One TLS connection, seen from the server.
pub(in crate::server) struct Session {
    tls: UnbufferedServerConnection,
    /// The client's records that are not whole yet. At most [`HELD_BYTES`].
    held: Vec<u8>,
    /// Our records that have not left yet, of which `left` bytes have.
    outgoing: Vec<u8>,
    left: usize,
    /// When the handshake has to be over.
    deadline: Instant,
    phase: Phase,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte has come.
    New,
    /// The client is not known to be done with the handshake.
    Handshake,
    /// Requests and answers.
    Open,
    /// Ours was the last word: an alert or a `close_notify`.
    Ended,
}

/// What came of the client's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Opened {
    /// More may come.
    Open,
    /// The client has ended its side.
    Ended,
}

/// Why a session can't go on. An alert that says so to the client is on its way.
#[derive(Debug)]
pub(in crate::server) struct Failed(pub(in crate::server) String);

impl Session {
    /// A session that has until `deadline` for its handshake.
    ///
    /// # Errors
    ///
    /// Fails where the configuration can't be served with.
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
        })
    }

    /// When the client has to be done with the handshake, until it is.
    pub(in crate::server) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::New | Phase::Handshake => Some(self.deadline),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// Whether no record has come yet.
    pub(in crate::server) fn is_new(&self) -> bool {
        self.phase == Phase::New
    }

    /// Puts what is held of the client's records in front of `buffer`, where those that follow are
    /// to be read to. Says how many bytes that are.
    pub(in crate::server) fn resume(&self, buffer: &mut [u8]) -> usize {
        let Some(front) = buffer.get_mut(..self.held.len()) else {
            return 0;
        };
        front.copy_from_slice(&self.held);
        front.len()
    }

    /// Takes records, of which the first ones are what `resume` put there, and gives what they say
    /// to `sink`.
    ///
    /// # Errors
    ///
    /// Fails when they are none, or not the client's.
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
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(rest);
            start += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| Failed(error.to_string()))?;
                        start += record.discard;
                        sink(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, |room| data.encode(room));
                }
                // They leave in the order in which they were made: for rustls they have left.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened = Opened::Ended,
                Ok(
                    ConnectionState::Closed
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::WriteTraffic(_),
                ) => break,
                // Early data, which was not offered.
                Ok(_) => return Err(self.end("it sent early data")),
                Err(error) => {
                    let rest = records.get_mut(start..).unwrap_or_default();
                    return Err(self.fail(rest, error.to_string()));
                }
            }
        }
        if self.phase == Phase::Handshake && !self.tls.is_handshaking() {
            self.phase = Phase::Open;
        }
        let rest = records.get(start..).unwrap_or_default();
        if rest.len() > HELD_BYTES {
            return Err(self.end("its handshake is too long"));
        }
        // An empty one takes no memory.
        self.held = rest.to_vec();
        Ok(opened)
    }

    /// Whether a record of `plain_bytes` can be sealed into `room_bytes`.
    pub(in crate::server) fn fits(plain_bytes: usize, room_bytes: usize) -> bool {
        plain_bytes + RECORD_OVERHEAD_BYTES + KEY_UPDATE_BYTES <= room_bytes
    }

    /// Seals one record, of [`RECORD_BYTES`] at most, at the front of `sealed`, where it has to
    /// [fit](Self::fits). Says how long it has become. It has to leave after what is
    /// [outgoing](Self::outgoing).
    ///
    /// # Errors
    ///
    /// Fails before the end of the handshake, and when the keys are worn out.
    pub(in crate::server) fn seal(
        &mut self,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, Failed> {
        if self.phase != Phase::Open {
            return Err(Failed("there is no session to send in".into()));
        }
        self.with_traffic(|traffic| traffic.encrypt(plain, sealed))
    }

    /// Ends our side: the client can tell from it that nothing is missing. Only what was queued
    /// before leaves.
    pub(in crate::server) fn close(&mut self) {
        if self.phase == Phase::Open {
            let mut notice = [0; CLOSE_NOTIFY_BYTES];
            // Keys that are worn out can't close either: the client sees a cut connection.
            if let Ok(length) = self.with_traffic(|traffic| traffic.queue_close_notify(&mut notice))
            {
                self.keep(notice.get(..length).unwrap_or_default());
            }
        }
        self.phase = Phase::Ended;
    }

    /// Whether [`close`](Self::close) has nothing left to say.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Our records that have yet to leave.
    pub(in crate::server) fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.left..).unwrap_or_default()
    }

    /// Keeps records that could not leave, behind those that are there.
    pub(in crate::server) fn keep(&mut self, records: &[u8]) {
        self.outgoing.extend_from_slice(records);
    }

    /// Takes note that the first `count` bytes of [`outgoing`](Self::outgoing) have left.
    pub(in crate::server) fn sent(&mut self, count: usize) {
        self.left += count;
        if self.left >= self.outgoing.len() {
            self.left = 0;
            self.outgoing = Vec::new();
        }
    }

    /// The memory that is held for what is on its way, in bytes.
    #[cfg(test)]
    pub(super) fn kept_capacity_bytes(&self) -> usize {
        self.held.capacity() + self.outgoing.capacity()
    }

    /// Does what can be done between two of the client's records.
    fn with_traffic(
        &mut self,
        act: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> Result<usize, Failed> {
        loop {
            // What is held is looked at again, and stays where it is: no record in it is whole.
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
                Ok(_) => return Err(Failed("the handshake is not over".into())),
                Err(error) => return Err(Failed(error.to_string())),
            }
        }
    }

    /// Ends the session without a word.
    fn end(&mut self, why: &str) -> Failed {
        self.phase = Phase::Ended;
        Failed(why.into())
    }

    /// Ends the session, and queues the alert that rustls has for the client after an error in
    /// `records`. Not a call more than that takes: it would come upon the same error again.
    fn fail(&mut self, records: &mut [u8], why: String) -> Failed {
        self.phase = Phase::Ended;
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.tls.process_tls_records(records).state
        {
            encode(&mut self.outgoing, |room| data.encode(room));
        }
        Failed(why)
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

/// Appends what `write` writes. It says how much room it needs.
fn encode(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let Err(EncodeError::InsufficientSize(short)) = write(&mut []) else {
        return;
    };
    let start = out.len();
    out.resize(start + short.required_size, 0);
    let written = write(out.get_mut(start..).unwrap_or_default()).unwrap_or(0);
    out.truncate(start + written);
}
