//! The byte stream of a connection: a socket, with TLS on top if enabled.
//!
//! Nothing here blocks. A call that can't continue returns `WouldBlock`, as a socket does, and the
//! caller retries after the next edge.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use super::tls::{Failed, HELD_BYTES, Opened, RECORD_BYTES, SEAL_BYTES, SEALED_BYTES, Session};
use crate::gateway::Scheme;
use crate::metrics::Counter;

/// The size of a socket read, in bytes: what a socket commonly holds. A part of a file to seal must
/// fit, and so must incomplete TLS records with as much again to follow.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

const _: () = assert!(SCRATCH_BYTES >= SEAL_BYTES && SCRATCH_BYTES >= 2 * HELD_BYTES);

/// A socket, with or without TLS on top.
#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    /// Boxed: most servers don't use TLS, and a session is larger than the rest of a connection.
    session: Option<Box<Session>>,
}

/// A reactor's buffers, borrowed for one call.
#[derive(Debug)]
pub(super) struct Workspace<'a> {
    /// The buffer for file reads. [`SCRATCH_BYTES`] long.
    pub(super) scratch: &'a mut [u8],
    /// The buffer for sealed records. Empty until first used.
    pub(super) sealed: &'a mut Vec<u8>,
}

/// The result of one socket read.
#[derive(Debug)]
pub(super) enum Received {
    /// Bytes were passed on, or none are complete yet. `more` says that the socket may have more.
    Bytes { more: bool },
    /// The client has ended its side.
    End,
    /// This many bytes, at the front of the buffer, of a client that speaks plain HTTP on a TLS
    /// port. From now on, the transport doesn't use TLS.
    Clear(usize),
    /// The input is not valid TLS.
    Failed(Failed),
}

impl Transport {
    pub(super) fn new(socket: TcpStream, session: Option<Box<Session>>) -> Self {
        Self { socket, session }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Returns the scheme of its requests.
    pub(super) fn scheme(&self) -> Scheme {
        match self.session {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    /// Returns the name of the host that the client gave in its handshake, if it gave one that may
    /// matter; `None` without TLS.
    pub(super) fn server_name(&self) -> Option<Option<&str>> {
        let session = self.session.as_ref()?;
        Some(session.server_name())
    }

    /// Returns the deadline for the client's handshake, if it is pending.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.as_ref()?.deadline()
    }

    /// Reads once, and passes the data to `sink`.
    ///
    /// # Errors
    ///
    /// Fails if no data is available now, or the connection is broken.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<Received> {
        if self.session.is_some() {
            return self.receive_records(buffer, &mut sink);
        }
        let room = buffer.len();
        let count = self.socket.read(buffer)?;
        Counter::ReceivedBytes.add(count as u64);
        if count == 0 {
            return Ok(Received::End);
        }
        sink(buffer.get(..count).unwrap_or_default());
        Ok(Received::Bytes {
            more: count == room,
        })
    }

    fn receive_records(
        &mut self,
        buffer: &mut [u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        let Some(session) = &mut self.session else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let held = session.resume(buffer);
        let room = buffer.get_mut(held..).unwrap_or_default();
        let count = self.socket.read(room)?;
        Counter::ReceivedBytes.add(count as u64);
        let more = count == room.len();
        if count == 0 {
            return Ok(Received::End);
        }
        let records = buffer.get_mut(..held + count).unwrap_or_default();
        if session.is_new() && begins_in_the_clear(records) {
            self.session = None;
            return Ok(Received::Clear(count));
        }
        Ok(match session.open(records, sink) {
            Ok(Opened::Open) => Received::Bytes { more },
            Ok(Opened::Ended) => Received::End,
            Err(failed) => Received::Failed(failed),
        })
    }

    /// Sends `slices`, in order, as far as possible. Returns the number of bytes sent. `more` says
    /// that a file follows immediately, so that the kernel can delay the packet.
    ///
    /// # Errors
    ///
    /// Fails if the socket accepts nothing now, or the connection is broken.
    pub(super) fn send(
        &mut self,
        slices: &[IoSlice<'_>],
        more: bool,
        work: &mut Workspace<'_>,
    ) -> io::Result<usize> {
        if self.session.is_some() {
            return self.send_sealed(slices, work.sealed);
        }
        if more {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let mut nothing = SendAncillaryBuffer::default();
            return Ok(sendmsg(&self.socket, slices, &mut nothing, flags)?);
        }
        match slices {
            [one] => self.socket.write(one),
            _ => self.socket.write_vectored(slices),
        }
    }

    /// Sends at most `want` bytes of a file, starting at byte `start`. Returns the number of bytes
    /// sent: 0 at the end of the file. The socket may accept more even after a short count.
    ///
    /// # Errors
    ///
    /// Fails if the socket accepts nothing now, or if the connection or the file is broken.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        mut start: u64,
        want: usize,
        work: &mut Workspace<'_>,
    ) -> io::Result<usize> {
        if self.session.is_none() {
            return Ok(rustix::fs::sendfile(
                &self.socket,
                file,
                Some(&mut start),
                want,
            )?);
        }
        // Push first, so that no data is read that can't be sent.
        self.push()?;
        let room = want.min(SEAL_BYTES).min(work.scratch.len());
        let room = work.scratch.get_mut(..room).unwrap_or_default();
        let count = file.read_at(room, start)?;
        match room.get(..count).unwrap_or_default() {
            [] => Ok(0),
            part => self.send_sealed(&[IoSlice::new(part)], work.sealed),
        }
    }

    /// Seals as much as fits, and sends it. Data that the socket doesn't accept is kept and counts
    /// as sent.
    fn send_sealed(&mut self, slices: &[IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<usize> {
        self.push()?;
        let Some(session) = &mut self.session else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        sealed.resize(SEALED_BYTES, 0);
        let (mut taken, mut end) = (0, 0);
        for record in slices.iter().flat_map(|slice| slice.chunks(RECORD_BYTES)) {
            let room = sealed.get_mut(end..).unwrap_or_default();
            if !Session::fits(record.len(), room.len()) {
                break;
            }
            end += session.seal(record, room).map_err(broken)?;
            taken += record.len();
        }
        let records = sealed.get(..end).unwrap_or_default();
        let written = if session.outgoing().is_empty() {
            or_nothing(self.socket.write(records))?
        } else {
            // The key update message goes first.
            0
        };
        session.keep(records.get(written..).unwrap_or_default());
        Ok(taken)
    }

    /// Sends pending TLS data: handshakes, and records that could not be sent before.
    ///
    /// # Errors
    ///
    /// Fails if the socket doesn't accept all of it now, or the connection is broken.
    pub(super) fn push(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        while !session.outgoing().is_empty() {
            match self.socket.write(session.outgoing()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => session.sent(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the number of bytes that [`push`](Self::push) has to send.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.session
            .as_ref()
            .map_or(0, |session| session.outgoing().len())
    }

    /// Queues a close_notify, with TLS. Returns whether this call has queued data to push. Must not
    /// be called after a cut response: the missing close_notify tells the client.
    pub(super) fn close(&mut self) -> bool {
        match &mut self.session {
            Some(session) if !session.is_closed() => {
                session.close();
                !session.outgoing().is_empty()
            }
            _ => false,
        }
    }
}

/// Returns whether these are the first bytes of an HTTP request: a method is in capital letters,
/// and a handshake begins with byte 22.
fn begins_in_the_clear(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_uppercase)
}

/// Converts an operation that would block into a count of zero.
fn or_nothing(result: io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{Interrupted, WouldBlock};
    match result {
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(0),
        result => result,
    }
}

fn broken(failed: Failed) -> io::Error {
    io::Error::other(failed.0)
}
