//! A client on a raw socket: sends any bytes, and takes responses apart exactly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::PATIENCE;
use super::response::{Framing, Head, Response};

/// After this long without a byte taken, nobody reads at the other end.
const BLOCKED: Duration = Duration::from_millis(500);

/// One connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What was received and not looked at.
    buffer: Vec<u8>,
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Closed,
    /// By a reset: the client is to notice that something is missing.
    Reset,
}

/// A response that ended before it was whole.
#[derive(Debug)]
pub(crate) struct Cut {
    /// None if even that was not whole.
    pub(crate) head: Option<Head>,
    /// What came of the body, decoded.
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

impl Client {
    /// Connects.
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

    /// Another handle of the same socket, to send from another thread.
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

    /// Sends a GET and takes the response.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request("GET", target);
        self.response()
    }

    /// Sends a request with a body of known length and takes the response.
    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.begin_post(target, body.len());
        self.exchange(body)
    }

    /// Sends the head of a request with a body of known length, which is to come.
    #[track_caller]
    pub(crate) fn begin_post(&mut self, target: &str, length: usize) {
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        ));
    }

    /// Sends bytes while the response to them is taken: an echo of many takes no more of them than
    /// it gets rid of.
    #[track_caller]
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Response {
        let mut stream = self.stream();
        let bytes = bytes.to_vec();
        let sender = thread::spawn(move || stream.write_all(&bytes));
        let response = self.response();
        sender.join().expect("no panic").expect("all was sent");
        response
    }

    /// Sends blocks to one who sends them back, each when the one before it has come back. The
    /// request's head was sent; with `has_head`, that of the response was taken.
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

    /// Ends our side of the connection: the server reads to the end and can answer still.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down");
    }

    /// Sends, unless the server has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends our side, unless there is nothing left to end.
    pub(crate) fn try_finish_sending(&mut self) {
        // Fails when the server has reset the connection, which the next read shows.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends as much as the sockets take when nobody reads at the other end, and says how much.
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

    /// Takes a response to anything but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Takes a response to a request with this method.
    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(response) => response,
            Err(cut) => panic!("the response was cut: {cut:?}"),
        }
    }

    /// Takes a response that was cut.
    #[track_caller]
    pub(crate) fn cut_response(&mut self) -> Cut {
        match self.try_response_to("GET") {
            Ok(response) => panic!("the response is whole: {response:?}"),
            Err(cut) => cut,
        }
    }

    /// Takes a head, and nothing of what follows it.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        match self.try_head() {
            Ok(head) => head,
            Err(ending) => panic!("no head, but {ending:?} after {:?}", self.buffer),
        }
    }

    /// Takes one chunk as it was framed; the last one is empty.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.try_chunk().expect("the chunk is whole")
    }

    /// Takes the head of a 200 and the first chunk behind it.
    #[track_caller]
    pub(crate) fn chunk_behind_head(&mut self) -> Vec<u8> {
        assert_eq!(self.head().status, 200);
        self.chunk()
    }

    /// Takes everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Ending) {
        let ending = loop {
            if let Err(ending) = self.receive() {
                break ending;
            }
        };
        (std::mem::take(&mut self.buffer), ending)
    }

    /// The end of the connection, before which nothing more may come.
    #[track_caller]
    pub(crate) fn ending(&mut self) -> Ending {
        let (rest, ending) = self.rest();
        assert!(rest.is_empty(), "more came: {}", rest.escape_ascii());
        ending
    }

    /// Waits for some bytes, or the end, and forgets them.
    pub(crate) fn take_something(&mut self) {
        // How the connection ends is not what is looked at.
        let _ = self.receive();
        self.buffer.clear();
    }

    /// Has the connection broken, not closed, when this is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Has the system hold little of what this client sends.
    pub(crate) fn buffer_little(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_send_buffer_size(4096).expect("an option");
    }

    /// Whether nothing has come that was not asked for. Does not wait.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a mode");
        let result = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a mode");
        self.buffer.is_empty() && result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Takes a response; or what came of it, if the connection ends before.
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

    /// Where `wanted` begins in what is received next.
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

    /// Waits for some more bytes.
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

/// A request without a body, as bytes.
pub(crate) fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}
