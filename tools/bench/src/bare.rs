//! A minimal server on one epoll loop: it finds the ends of request heads, and writes the same
//! response for each.
//!
//! It is the baseline for the other servers: the difference is their own work, and not the
//! kernel's. It reads neither paths nor bodies, and has no deadlines or limits, so it has no other
//! use.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::arguments::Arguments;

/// The maximum number of events per wait: more than the connections of any case but one.
const EVENTS: usize = 256;

/// The size of the read buffer: room for hundreds of requests of a load generator.
const READ_BYTES: usize = 16 * 1024;

/// The event of the listening socket. Connections are identified by their index.
const LISTENER: u64 = u64::MAX;

/// The end of a request's head.
const END: &[u8] = b"\r\n\r\n";

/// The address, and the response.
#[derive(Debug)]
pub(crate) struct Options {
    address: SocketAddr,
    body_bytes: usize,
}

impl Options {
    /// Parses the arguments.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let options = Self {
            address: arguments.need("--addr")?,
            body_bytes: arguments.need("--bytes")?,
        };
        arguments.finish()?;
        Ok(options)
    }
}

/// Serves until the process is killed.
///
/// # Errors
///
/// Fails if it can't listen, or if waiting for events fails.
pub(crate) fn serve(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.address)
        .with_context(|| format!("can't listen on {}", options.address))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let answer = answer(options.body_bytes);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            if event.data.u64() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let place = usize::try_from(event.data.u64()).ok();
            let Some(slot) = place.and_then(|place| connections.get_mut(place)) else {
                continue;
            };
            let lives = slot
                .as_mut()
                .is_some_and(|connection| connection.turn(&answer, &mut buffer).is_ok());
            if !lives {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: impl std::os::fd::AsFd,
    connections: &mut Vec<Option<Connection>>,
) -> Result<()> {
    // Accepting fails if the client has disconnected or no descriptor is available. Both are
    // ignored.
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let place = match connections.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                connections.push(None);
                connections.len() - 1
            }
        };
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, &stream, EventData::new_u64(place as u64), both)?;
        connections[place] = Some(Connection::new(stream));
    }
    Ok(())
}

/// Returns a complete response.
fn answer(body_bytes: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    answer
}

#[derive(Debug)]
struct Connection<S = TcpStream> {
    stream: S,
    /// The number of bytes of [`END`] that have been matched, at most 3.
    matched: usize,
    /// The number of responses that have not been sent completely.
    owed: usize,
    /// The number of bytes of the first response that have been sent.
    sent: usize,
}

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            matched: 0,
            owed: 0,
            sent: 0,
        }
    }

    /// Reads the available requests, and responds to them.
    fn turn(&mut self, answer: &[u8], buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.owed += ends(&mut self.matched, &buffer[..read]);
            self.flush(answer)?;
            // A short read means that the socket has no more data.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, answer: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            match self.stream.write(&answer[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.sent == answer.len() {
                self.sent = 0;
                self.owed -= 1;
            }
        }
        Ok(())
    }
}

/// Returns how many heads end in these bytes, given how much of an end precedes them.
fn ends(matched: &mut usize, bytes: &[u8]) -> usize {
    let mut count = 0;
    for &byte in bytes {
        *matched = match byte {
            _ if byte == END[*matched] => *matched + 1,
            b'\r' => 1,
            _ => 0,
        };
        if *matched == END.len() {
            *matched = 0;
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_however_the_bytes_are_cut() {
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\nGET /\r\n\r\n\r\n";
        for cut in 0..=requests.len() {
            let mut matched = 0;
            let (before, after) = requests.split_at(cut);
            let count = ends(&mut matched, before) + ends(&mut matched, after);
            assert_eq!((count, matched), (2, 2), "cut at {cut}");
        }
    }

    /// A socket with prepared input, which accepts a few bytes at a time.
    struct Narrow {
        input: Vec<u8>,
        output: Vec<u8>,
        room: usize,
    }

    impl Read for Narrow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.input.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = buffer.len().min(self.input.len());
            buffer[..count].copy_from_slice(&self.input[..count]);
            self.input.drain(..count);
            Ok(count)
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.output.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pipelined_requests_are_all_answered_however_slowly_they_are_taken() {
        let answer = answer(3);
        let mut connection = Connection::new(Narrow {
            input: b"GET / HTTP/1.1\r\n\r\n".repeat(3),
            output: Vec::new(),
            room: 0,
        });
        let mut turns = 0;
        while connection.stream.output.len() < 3 * answer.len() {
            connection.stream.room = 7;
            connection
                .turn(&answer, &mut [0; 16])
                .expect("nothing is wrong");
            turns += 1;
            assert!(turns < 1000, "it stopped");
        }
        assert_eq!(connection.stream.output, answer.repeat(3));
        assert_eq!((connection.owed, connection.sent), (0, 0));
    }

    #[test]
    fn the_answer_is_one_response() {
        let text = String::from_utf8(answer(5)).expect("text");
        assert!(text.contains("\r\nContent-Length: 5\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nxxxxx"), "{text}");
    }
}
