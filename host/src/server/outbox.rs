//! What is on its way to a client: bytes and parts of files, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use super::transport::{Transport, Workspace};
use crate::static_files::FilePart;

/// Blocks up to this size are copied behind the bytes before them, in bytes: cheaper than a place
/// in the list and an entry of `writev` of their own.
const COPY_BYTES: usize = 2 * 1024;

/// Entries of one `writev`.
const SLICES: usize = 16;

/// What one flush sends at most of files, in bytes, so that a client that takes all it can get
/// leaves the others their turn. No more than the pages that one `sendfile` has in its pipe at a
/// time (16, of which one may be begun): what comes in one piece is still in the processor's cache
/// when the client copies it. With four clients on loopback, 10 MiB took half of the time that they
/// took by 2 MiB at once; 32 KiB and 64 KiB are slower.
const FLUSH_BYTES: usize = 56 * 1024;

/// What is left of a file is sent at once up to this size, in bytes: a turn more would cost as much
/// as it saves.
const REST_BYTES: usize = 128 * 1024;

/// A buffer up to this size is kept for the next response, in bytes.
const SPARE_BYTES: usize = 16 * 1024;

/// Bytes and parts of files on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// How many bytes of the first piece have been sent.
    sent: usize,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// Bytes that others may hold too.
    Shared(Bytes),
    /// What is left of a part of a file.
    File(FilePart),
}

/// How far one flush came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything has left.
    Empty,
    /// The socket takes no more for now.
    Blocked,
    /// It might take more, but it is the others' turn.
    Enough,
    /// A file is shorter than it was when its length was promised, or was written over.
    FileChanged,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The buffer to append small things to: heads, chunk sizes. `spare` is a used one to begin
    /// with.
    pub(super) fn tail(&mut self, spare: &mut Vec<u8>) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            self.pieces.push_back(Piece::Bytes(std::mem::take(spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => unreachable!("a piece of bytes is at the back"),
        }
    }

    /// Appends a block, of which `take` bytes are to go out.
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

    /// Appends bytes that are not this outbox's alone.
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

    /// Throws away what has not been sent.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.sent = 0;
    }

    /// Sends until there is nothing left, the socket takes no more, or this has been a turn's share
    /// of files. Adds what was sent to `total`.
    ///
    /// # Errors
    ///
    /// Fails when the connection is broken.
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
                // A buffer for framing that turned out to need none.
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

    /// Sends as many pieces of bytes as stand at the front, in one call.
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

    /// Drops what was sent from the front.
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

/// Sends of a part of a file what the socket takes, up to a turn's share. `Empty` means all of it.
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
    // Looked at once for all that went: a mixture is cut off before its end.
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

    /// More than a turn's share, and no multiple of it.
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
