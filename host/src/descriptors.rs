//! Sends file descriptors to another process, with lines of text: for sockets that a process serves
//! and that another one has bound.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The maximum number of descriptors in one message. The kernel's is 253 (`SCM_MAX_FD`).
const MESSAGE_FILES: usize = 64;

/// What carries descriptors: white space in front of a line of JSON.
const CARRIER: &[u8] = b" ";

/// Sends a line with descriptors, which the receiver has when it has read the line.
///
/// # Errors
///
/// Fails if the peer has ended, or doesn't read in time.
pub(crate) fn send_line(
    stream: &mut UnixStream,
    line: &[u8],
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    for files in files.chunks(MESSAGE_FILES) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(files));
        debug_assert!(fits, "the space was made for it");
        let carrier = [IoSlice::new(CARRIER)];
        sendmsg(&*stream, &carrier, &mut control, SendFlags::NOSIGNAL)?;
    }
    stream.write_all(line)?;
    stream.write_all(b"\n")
}

/// Receives lines and descriptors.
#[derive(Debug)]
pub(crate) struct Receiver(BufReader<Incoming>);

#[derive(Debug)]
struct Incoming {
    stream: UnixStream,
    files: Vec<OwnedFd>,
}

impl Receiver {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let files = Vec::new();
        Self(BufReader::new(Incoming { stream, files }))
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.0.get_ref().stream
    }

    /// Returns the next line, without its end. Returns `None` if the peer has ended.
    ///
    /// # Errors
    ///
    /// Fails if a line has more than `max_bytes`, or if the peer sends nothing for longer than the
    /// stream's read timeout.
    pub(crate) fn line(&mut self, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.0).take(max_bytes).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => Ok(Some(line)),
            Some(_) if line.len() as u64 + 1 >= max_bytes => {
                Err(io::Error::other("the line is too long"))
            }
            _ => Ok(None),
        }
    }

    /// Takes the descriptors that have arrived.
    pub(crate) fn take_files(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0.get_mut().files)
    }
}

impl Read for Incoming {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(room)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.stream, &mut room, &mut control, flags) {
            Ok(received) => received,
            // The peer has ended without reading everything.
            Err(Errno::CONNRESET) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_line() {
        let (mut sender, receiver) = UnixStream::pair().expect("a pair");
        let mut receiver = Receiver::new(receiver);
        let file = File::open("/dev/null").expect("it is there");
        for count in [0, 1, MESSAGE_FILES, 3 * MESSAGE_FILES + 1] {
            let files = vec![file.as_fd(); count];
            send_line(&mut sender, b"[1]", &files).expect("there is room");
            let line = receiver.line(1000).expect("no error").expect("a line");
            assert_eq!(line.trim_ascii(), b"[1]");
            assert_eq!(receiver.take_files().len(), count);
        }
        drop(sender);
        assert_eq!(receiver.line(1000).expect("no error"), None);
    }

    #[test]
    fn a_line_has_a_limit_and_an_unfinished_one_is_none() {
        let (mut sender, receiver) = UnixStream::pair().expect("a pair");
        sender.write_all(b"12345678").expect("there is room");
        let mut receiver = Receiver::new(receiver);
        receiver.line(4).expect_err("too long");
        drop(sender);
        assert_eq!(receiver.line(100).expect("no error"), None);
    }
}
