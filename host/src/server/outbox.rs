//! The output queue of a client: bytes and parts of files, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use super::transport::{Transport, Workspace};
use crate::static_files::FilePart;

/// The maximum size of a block that is copied to the end of the preceding bytes, in bytes: cheaper
/// than a separate queue entry and `writev` slice.
const COPY_BYTES: usize = 2 * 1024;

/// The maximum number of slices in one `writev`.
const SLICES: usize = 16;

/// The maximum amount of file data that one flush sends, in bytes, so that other clients get their
/// turn even if one client reads at full speed. At most the pages that one `sendfile` holds in its
/// pipe at a time (16, one of which may be partial): data sent in one such piece is still in the
/// processor's cache when the client copies it. With four clients on loopback, 10 MiB took half the
/// time that they took with flushes of 2 MiB; 32 KiB and 64 KiB are slower.
const FLUSH_BYTES: usize = 56 * 1024;

/// The maximum rest of a file that is sent at once, in bytes: another turn would cost as much as it
/// saves.
const REST_BYTES: usize = 128 * 1024;

/// The maximum size of a buffer that is recycled for the next response, in bytes.
const SPARE_BYTES: usize = 16 * 1024;

/// Bytes and parts of files to send to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// The number of bytes of the first piece that have been sent.
    sent: usize,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// Bytes with shared ownership.
    Shared(Bytes),
    /// The rest of a part of a file.
    File(FilePart),
}

/// The result of a flush.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything is sent.
    Empty,
    /// The socket accepts no more for now.
    Blocked,
    /// The socket may accept more, but other clients get their turn first.
    Enough,
    /// A file is shorter than when its length was declared, or was overwritten.
    FileChanged,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns a buffer to append small data to: heads, chunk sizes. Starts a new one with `spare`,
    /// a recycled buffer.
    pub(super) fn tail(&mut self, spare: &mut Vec<u8>) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            self.pieces.push_back(Piece::Bytes(std::mem::take(spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => unreachable!("a piece of bytes is at the back"),
        }
    }

    /// Appends the first `take` bytes of a block.
    pub(super) fn push(&mut self, mut block: Vec<u8>, take: usize, spare: &mut Vec<u8>) {
        block.truncate(take);
        if block.len() <= COPY_BYTES {
            if !block.is_empty() {
                self.tail(spare).extend_from_slice(&block);
            }
        } else {
            self.pieces.push_back(Piece::Bytes(block));
        }
    }

    /// Appends bytes with shared ownership.
    pub(super) fn push_shared(&mut self, bytes: Bytes, spare: &mut Vec<u8>) {
        if bytes.len() > COPY_BYTES {
            self.pieces.push_back(Piece::Shared(bytes));
        } else if !bytes.is_empty() {
            self.tail(spare).extend_from_slice(&bytes);
        }
    }

    /// Appends a part of a file.
    pub(super) fn push_file(&mut self, part: FilePart) {
        if part.length > 0 {
            self.pieces.push_back(Piece::File(part));
        }
    }

    /// Discards unsent data.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.sent = 0;
    }

    /// Sends until the queue is empty, the socket accepts no more, or the limit of file data per
    /// turn is reached. Adds the number of bytes sent to `total`.
    ///
    /// # Errors
    ///
    /// Fails if the connection is broken.
    pub(super) fn flush(
        &mut self,
        transport: &mut Transport,
        spare: &mut Vec<u8>,
        work: &mut Workspace<'_>,
        total: &mut u64,
    ) -> io::Result<Flush> {
        let mut share = FLUSH_BYTES;
        while let Some(first) = self.pieces.front_mut() {
            let sent = match first {
                Piece::File(part) => {
                    if share == 0 {
                        return Ok(Flush::Enough);
                    }
                    match usize::try_from(part.length) {
                        Ok(rest) if rest <= REST_BYTES => share = share.max(rest),
                        _ => {}
                    }
                    let length = part.length;
                    let stopped = send_part(part, &mut share, transport, work);
                    *total += length - part.length;
                    match stopped {
                        Ok(Flush::Empty) => drop(self.pieces.pop_front()),
                        stopped => return stopped,
                    }
                    continue;
                }
                // A buffer for framing that needed none.
                Piece::Bytes(bytes) if bytes.len() == self.sent => {
                    self.advance(0, spare);
                    continue;
                }
                Piece::Bytes(_) | Piece::Shared(_) => self.write(transport, work),
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    *total += sent as u64;
                    self.advance(sent, spare);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flush::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match transport.push() {
            Ok(()) => Ok(Flush::Empty),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Flush::Blocked),
            Err(error) => Err(error),
        }
    }

    /// Sends the byte pieces at the front of the queue in one call.
    fn write(&self, transport: &mut Transport, work: &mut Workspace<'_>) -> io::Result<usize> {
        let mut bytes = self.pieces.iter().map_while(Piece::bytes);
        let Some(first) = bytes.next() else {
            return Ok(0);
        };
        let first = &first[self.sent..];
        let Some(second) = bytes.next() else {
            let more = matches!(self.pieces.get(1), Some(Piece::File(_)));
            return transport.send(&[IoSlice::new(first)], more, work);
        };
        let mut slices = [IoSlice::new(&[]); SLICES];
        slices[0] = IoSlice::new(first);
        let mut count = 1;
        for (slice, bytes) in slices[1..]
            .iter_mut()
            .zip(std::iter::once(second).chain(bytes))
        {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let more = matches!(self.pieces.get(count), Some(Piece::File(_)));
        transport.send(&slices[..count], more, work)
    }

    /// Removes sent data from the front.
    fn advance(&mut self, mut sent: usize, spare: &mut Vec<u8>) {
        while let Some(first) = self.pieces.front().and_then(Piece::bytes) {
            let left = first.len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            if let Some(Piece::Bytes(mut used)) = self.pieces.pop_front()
                && used.capacity() <= SPARE_BYTES
                && used.capacity() > spare.capacity()
            {
                used.clear();
                *spare = used;
            }
        }
    }
}

/// Sends as much of a part of a file as the socket accepts and the turn allows. Returns `Empty`
/// when all of it is sent.
fn send_part(
    part: &mut FilePart,
    share: &mut usize,
    transport: &mut Transport,
    work: &mut Workspace<'_>,
) -> io::Result<Flush> {
    let stopped = loop {
        if part.length == 0 {
            break Flush::Empty;
        }
        if *share == 0 {
            break Flush::Enough;
        }
        let want = usize::try_from(part.length)
            .unwrap_or(usize::MAX)
            .min(*share);
        match transport.send_file(part.file.file(), part.start, want, work) {
            Ok(0) => return Ok(Flush::FileChanged),
            Ok(sent) => {
                *share = share.saturating_sub(sent);
                part.start += sent as u64;
                part.length = part.length.saturating_sub(sent as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Flush::Blocked,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    // Checked once after all data is sent: a mix of two versions is cut before its end.
    Ok(if part.file.is_one_version() {
        stopped
    } else {
        Flush::FileChanged
    })
}

impl Piece {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Shared(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::static_files::OpenFile;

    /// Longer than one turn's limit, and not a multiple of it.
    const FILE_BYTES: u64 = 3 * FLUSH_BYTES as u64 + 12_345;

    #[test]
    fn a_client_that_takes_all_it_can_get_leaves_the_others_their_turn() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(FILE_BYTES).expect("sparse");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (socket, _) = listener.accept().expect("accepted");
        socket.set_nonblocking(true).expect("set");
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            (&client).read_to_end(&mut bytes).expect("read");
            bytes.len() as u64
        });
        let mut transport = Transport::new(mio::net::TcpStream::from_std(socket), None);
        let mut outbox = Outbox::default();
        let stat = rustix::fs::fstat(&file).expect("a state");
        outbox.push_file(FilePart {
            file: Arc::new(OpenFile::new(file, &stat)),
            start: 0,
            length: FILE_BYTES,
        });
        let (mut scratch, mut sealed, mut spare) = (vec![0; 1024], Vec::new(), Vec::new());
        let mut total = 0;
        loop {
            let mut work = Workspace {
                scratch: &mut scratch,
                sealed: &mut sealed,
            };
            let before = total;
            let flush = outbox.flush(&mut transport, &mut spare, &mut work, &mut total);
            assert!(total - before <= REST_BYTES as u64);
            match flush.expect("the connection holds") {
                Flush::Empty => break,
                Flush::Blocked => std::thread::yield_now(),
                Flush::Enough => assert_eq!(total - before, FLUSH_BYTES as u64),
                Flush::FileChanged => panic!("nobody wrote to it"),
            }
        }
        drop(transport);
        assert_eq!(reader.join().expect("it reads"), FILE_BYTES);
    }
}
