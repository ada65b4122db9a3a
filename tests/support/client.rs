//! A client on a raw socket: sends any bytes, and parses responses strictly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::PATIENCE;
use super::response::{Framing, Head, Response};

/// A write that makes no progress for this long is blocked: the peer isn't reading.
const BLOCKED: Duration = Duration::from_millis(500);

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were received and not yet parsed.
    buffer: Vec<u8>,
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a FIN.
    Closed,
    /// With a reset, so that the client notices an incomplete response.
    Reset,
}

/// A response that ended before it was complete.
#[derive(Debug)]
pub(crate) struct Cut {
    /// None if the head was incomplete too.
    pub(crate) head: Option<Head>,
    /// The part of the body that was received, decoded.
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

impl Client {
    /// Connects to `addr`.
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the server is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Returns another handle of the socket, for sending from another thread.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// Sends a request without a body.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, target: &str) {
        self.send(request(method, target));
    }

    /// Sends a GET and receives the response.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request("GET", target);
        self.response()
    }

    /// Sends a request with a body of known length and receives the response.
    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.begin_post(target, body.len());
        self.exchange(body)
    }

    /// Sends the head of a request with a body of known length. The caller sends the body.
    #[track_caller]
    pub(crate) fn begin_post(&mut self, target: &str, length: usize) {
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        ));
    }

    /// Sends bytes in another thread while receiving the response. An echo handler reads a large
    /// body only as fast as its client receives the response.
    #[track_caller]
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Response {
        let mut stream = self.stream();
        let bytes = bytes.to_vec();
        let sender = thread::spawn(move || stream.write_all(&bytes));
        let response = self.response();
        sender.join().expect("no panic").expect("all was sent");
        response
    }

    /// Sends blocks to an echo handler, each after the previous one has been received back. The
    /// request's head must have been sent and, if `has_head` is true, the response's head received.
    #[track_caller]
    pub(crate) fn expect_blocks_back(&mut self, has_head: bool) {
        for number in 0..20 {
            self.send(format!("8\r\nblock {number:02}\r\n"));
            if number == 0 && !has_head {
                assert_eq!(self.head().status, 200);
            }
            assert_eq!(self.chunk(), format!("block {number:02}").as_bytes());
            assert!(self.is_quiet(), "nothing was asked for");
        }
        self.send("0\r\n\r\n");
        assert_eq!(self.chunk(), b"");
    }

    /// Shuts down the sending side. The server reads the end of the input and can still respond.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down");
    }

    /// Sends bytes. Fails if the server has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Shuts down the sending side, if it is still open.
    pub(crate) fn try_finish_sending(&mut self) {
        // Fails if the server has reset the connection, which the next read detects.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends until the sockets' buffers are full, and returns the number of bytes sent.
    pub(crate) fn send_until_blocked(&mut self, mut bytes: &[u8]) -> usize {
        let length = bytes.len();
        let pause = Some(BLOCKED);
        self.stream.set_write_timeout(pause).expect("a timeout");
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("could not send: {error}"),
            }
        }
        length - bytes.len()
    }

    /// Receives a response to any method except HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Receives a response to a request with this method.
    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(response) => response,
            Err(cut) => panic!("the response was cut: {cut:?}"),
        }
    }

    /// Receives a response that is incomplete. Panics if it is complete.
    #[track_caller]
    pub(crate) fn cut_response(&mut self) -> Cut {
        match self.try_response_to("GET") {
            Ok(response) => panic!("the response is whole: {response:?}"),
            Err(cut) => cut,
        }
    }

    /// Receives a head, but no body.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        match self.try_head() {
            Ok(head) => head,
            Err(ending) => panic!("no head, but {ending:?} after {:?}", self.buffer),
        }
    }

    /// Receives one chunk as the server framed it. The last chunk is empty.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.try_chunk().expect("the chunk is whole")
    }

    /// Receives the head of a 200 response and the first chunk after it.
    #[track_caller]
    pub(crate) fn chunk_behind_head(&mut self) -> Vec<u8> {
        assert_eq!(self.head().status, 200);
        self.chunk()
    }

    /// Receives everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Ending) {
        let ending = loop {
            if let Err(ending) = self.receive() {
                break ending;
            }
        };
        (std::mem::take(&mut self.buffer), ending)
    }

    /// Waits for the end of the connection. Panics if any bytes precede it.
    #[track_caller]
    pub(crate) fn ending(&mut self) -> Ending {
        let (rest, ending) = self.rest();
        assert!(rest.is_empty(), "more came: {}", rest.escape_ascii());
        ending
    }

    /// Waits for some bytes or the end, and discards them.
    pub(crate) fn take_something(&mut self) {
        // It doesn't matter how the connection ends.
        let _ = self.receive();
        self.buffer.clear();
    }

    /// Makes the connection end with a reset when this is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Makes the socket's send buffer small.
    pub(crate) fn buffer_little(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_send_buffer_size(4096).expect("an option");
    }

    /// Returns whether no bytes are waiting. Doesn't block.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a mode");
        let result = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a mode");
        self.buffer.is_empty() && result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Receives a response. Fails with the incomplete response if the connection ends early.
    #[track_caller]
    pub(crate) fn try_response_to(&mut self, method: &str) -> Result<Response, Cut> {
        let head = self.try_head().map_err(|ending| Cut {
            head: None,
            body: std::mem::take(&mut self.buffer),
            ending,
        })?;
        let framing = head.framing(method);
        let mut body = Vec::new();
        match self.body(framing, &mut body) {
            Ok(()) => Ok(Response {
                head,
                framing,
                body,
            }),
            Err(ending) => Err(Cut {
                head: Some(head),
                body,
                ending,
            }),
        }
    }

    #[track_caller]
    fn body(&mut self, framing: Framing, body: &mut Vec<u8>) -> Result<(), Ending> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    if let Err(ending) = self.receive() {
                        body.append(&mut self.buffer);
                        return Err(ending);
                    }
                }
                body.extend(self.buffer.drain(..length));
                Ok(())
            }
            Framing::Chunked => loop {
                let chunk = self.try_chunk()?;
                if chunk.is_empty() {
                    return Ok(());
                }
                body.extend_from_slice(&chunk);
            },
            Framing::Close => {
                let ending = self.rest_into(body);
                if ending == Ending::Closed {
                    Ok(())
                } else {
                    Err(ending)
                }
            }
        }
    }

    fn rest_into(&mut self, body: &mut Vec<u8>) -> Ending {
        let (mut rest, ending) = self.rest();
        body.append(&mut rest);
        ending
    }

    #[track_caller]
    fn try_head(&mut self) -> Result<Head, Ending> {
        let end = self.find(b"\r\n\r\n")?;
        let head = Head::parse(&self.buffer[..end]);
        self.buffer.drain(..end + 4);
        Ok(head)
    }

    #[track_caller]
    fn try_chunk(&mut self) -> Result<Vec<u8>, Ending> {
        let end = self.find(b"\r\n")?;
        let size = std::str::from_utf8(&self.buffer[..end]).expect("a chunk's size is text");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        let (start, whole) = (end + 2, end + 2 + size + 2);
        while self.buffer.len() < whole {
            self.receive()?;
        }
        assert_eq!(&self.buffer[whole - 2..whole], b"\r\n", "after a chunk");
        let chunk = self.buffer[start..whole - 2].to_vec();
        self.buffer.drain(..whole);
        Ok(chunk)
    }

    /// Returns the offset of `wanted` in the buffer, receiving more bytes until it is found.
    #[track_caller]
    fn find(&mut self, wanted: &[u8]) -> Result<usize, Ending> {
        loop {
            let mut windows = self.buffer.windows(wanted.len());
            if let Some(place) = windows.position(|window| window == wanted) {
                return Ok(place);
            }
            self.receive()?;
        }
    }

    /// Waits for more bytes.
    #[track_caller]
    fn receive(&mut self) -> Result<(), Ending> {
        let mut bytes = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Ending::Closed),
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(Ending::Reset);
                }
                Err(error) => panic!(
                    "the server neither answers nor closes: {error}; so far: {}",
                    self.buffer.escape_ascii()
                ),
            }
        }
    }
}

/// Formats a request without a body.
pub(crate) fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}
