//! What a connection's bytes go through: a socket, and TLS above it where that is asked for.
//!
//! Nothing in here waits. A call that can't go on says `WouldBlock`, as a socket does, and the
//! caller comes back with the next edge.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use super::tls::{Failed, HELD_BYTES, Opened, RECORD_BYTES, SEAL_BYTES, SEALED_BYTES, Session};
use crate::gateway::Scheme;

/// One read of a socket, in bytes: what a socket commonly holds. A part of a file that is to be
/// sealed has to fit, and so has what is held of TLS records, with as much again to come.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

const _: () = assert!(SCRATCH_BYTES >= SEAL_BYTES && SCRATCH_BYTES >= 2 * HELD_BYTES);

/// A socket, and TLS above it or not.
#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    /// In a box: most servers have no TLS, and a session is larger than the rest of a connection.
    session: Option<Box<Session>>,
}

/// A reactor's buffers, lent for one call.
#[derive(Debug)]
pub(super) struct Workspace<'a> {
    /// Where files are read to. [`SCRATCH_BYTES`] long.
    pub(super) scratch: &'a mut [u8],
    /// Where TLS seals to. Empty until it is needed.
    pub(super) sealed: &'a mut Vec<u8>,
}

/// What one read of the socket has brought.
#[derive(Debug)]
pub(super) enum Received {
    /// Bytes, which were given away, or none that mean something yet. `more` says that the socket
    /// may not be empty.
    Bytes { more: bool },
    /// The client has ended its side.
    End,
    /// So many bytes, at the front of the buffer, of a client that speaks HTTP where TLS is spoken.
    /// From now on this is a transport without TLS.
    Clear(usize),
    /// What came is not TLS, or not as it should be.
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

    /// What requests that come through it are.
    pub(super) fn scheme(&self) -> Scheme {
        match self.session {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    /// When the client has to have done something that it hasn't: its handshake.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.as_ref()?.deadline()
    }

    /// Reads once, and gives what came to `sink`.
    ///
    /// # Errors
    ///
    /// Fails when there is nothing to read for now, or the connection is broken.
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

    /// Sends of `slices`, in order, as much as can be sent. Says how many bytes that were. `more`
    /// says that a file follows at once, so that the kernel need not send a packet for these alone.
    ///
    /// # Errors
    ///
    /// Fails when nothing can be sent for now, or the connection is broken.
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

    /// Sends at most `want` bytes of a file, from its byte `start` on. Says how many bytes that
    /// were: none at its end. Fewer than there are say nothing: the socket may take more.
    ///
    /// # Errors
    ///
    /// Fails when nothing can be sent for now, or the connection or the file is broken.
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
        // First, so that nothing is read that can't be sent.
        self.push()?;
        let room = want.min(SEAL_BYTES).min(work.scratch.len());
        let room = work.scratch.get_mut(..room).unwrap_or_default();
        let count = file.read_at(room, start)?;
        match room.get(..count).unwrap_or_default() {
            [] => Ok(0),
            part => self.send_sealed(&[IoSlice::new(part)], work.sealed),
        }
    }

    /// Seals as much as fits, and sends it. What the socket doesn't take is kept: it counts as
    /// sent.
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
            // The announcement of new keys goes first.
            0
        };
        session.keep(records.get(written..).unwrap_or_default());
        Ok(taken)
    }

    /// Sends what TLS has to send besides: handshakes, and what did not leave at once.
    ///
    /// # Errors
    ///
    /// Fails when the socket doesn't take all of it for now, or the connection is broken.
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

    /// How many bytes [`push`](Self::push) has to send.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.session
            .as_ref()
            .map_or(0, |session| session.outgoing().len())
    }

    /// Tells the client that nothing follows, where TLS has a word for that. Says whether there is
    /// something to be pushed now that wasn't before. To be left out where an answer was cut: it is
    /// by this that a client can tell.
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

/// Whether these are the first bytes of an HTTP request: a method is in capital letters, and a
/// handshake begins with a 22.
fn begins_in_the_clear(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_uppercase)
}

/// What can't be done now counts as nothing done.
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
