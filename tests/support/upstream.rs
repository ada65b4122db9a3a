//! An HTTP server to which handlers connect, with well-behaved and hostile responses.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::tls::Certificate;
use super::{PATIENCE, eventually};

/// The stack of a connection's thread, in bytes: a test has a thousand of them.
const STACK_BYTES: usize = 256 * 1024;

/// A server on a free port of the loopback interface. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Upstream {
    addr: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    waiting: AtomicUsize,
}

/// The length of the body of `/large`, in bytes: many times what is read at once.
pub(crate) const LARGE_BYTES: usize = 5 << 20;

/// The text "zipped", compressed with gzip.
const ZIPPED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\xca,(HM\x01\x00Wh\xc2\xe2\x06\x00\x00\x00";

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Upstream {
    /// Serves HTTP.
    pub(crate) fn start() -> Self {
        Self::serve(None)
    }

    /// Serves HTTPS.
    pub(crate) fn with_tls(certificate: &Certificate) -> Self {
        let chain = CertificateDer::from_pem_file(&certificate.cert).expect("it is good");
        let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("it is good");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config
            .with_single_cert(vec![chain], key)
            .expect("it is good");
        Self::serve(Some(Arc::new(config)))
    }

    fn serve(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        // More connect at a time than the standard library's queue holds.
        rustix::net::listen(&listener, 4096).expect("a queue");
        let addr = listener.local_addr().expect("an address");
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (counts, tls) = (Arc::clone(&counting), tls.clone());
                counts.connections.fetch_add(1, Ordering::SeqCst);
                counts.open.fetch_add(1, Ordering::SeqCst);
                let serve = move || {
                    let _ = connection(stream, tls, &counts);
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                };
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                thread.spawn(serve).expect("a thread");
            }
        });
        Self { addr, counts }
    }

    /// Returns the address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Returns the number of requests that wait for a response.
    pub(crate) fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::SeqCst)
    }

    /// Waits until this many connections are open.
    #[track_caller]
    pub(crate) fn wait_for_open(&self, count: usize) {
        eventually("that many connections are open", || self.open() == count);
    }
}

fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    counts: &Counts,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    match tls {
        None => requests(&mut BufReader::new(stream), counts),
        Some(config) => {
            let tls = ServerConnection::new(config).map_err(io::Error::other)?;
            requests(&mut BufReader::new(StreamOwned::new(tls, stream)), counts)
        }
    }
}

/// Answers the requests of one connection.
fn requests(stream: &mut BufReader<impl Stream>, counts: &Counts) -> io::Result<()> {
    for served in 0_usize.. {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if !line.ends_with(" HTTP/1.1\r\n") {
            // A client of another protocol gets its line back.
            return stream
                .get_mut()
                .write_all(format!("echo {line}").as_bytes());
        }
        let (mut length, mut is_chunked, mut host) = (0, false, String::new());
        loop {
            let mut field = String::new();
            stream.read_line(&mut field)?;
            let Some((name, value)) = field.trim_end().split_once(':') else {
                break;
            };
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
                "transfer-encoding" => is_chunked = true,
                "host" => host += value.trim(),
                _ => {}
            }
        }
        let body = match is_chunked {
            true => chunked(stream)?,
            false => exactly(stream, length)?,
        };
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let target = line.split(' ').nth(1).unwrap_or_default();
        match line.starts_with("HEAD ") {
            true => stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")?,
            // As if the connection had been closed before the request arrived.
            false if target == "/first" && served > 0 => return Ok(()),
            false => answer(stream, target, &host, &body, counts)?,
        }
    }
    Ok(())
}

fn exactly(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn chunked(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        body.extend(exactly(stream, size)?);
        exactly(stream, 2)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn answer(
    reader: &mut BufReader<impl Stream>,
    target: &str,
    host: &str,
    body: &[u8],
    counts: &Counts,
) -> io::Result<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut stream = reader.get_mut();
    let stream = &mut stream;
    match path {
        "/hello" | "/first" => text(stream, "hello"),
        "/echo" => text(stream, &String::from_utf8_lossy(body)),
        "/host" => text(stream, host),
        "/target" => text(stream, target),
        "/second" => {
            counts.waiting.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_secs(1));
            counts.waiting.fetch_sub(1, Ordering::SeqCst);
            text(stream, "a second later")
        }
        "/stall" => wait_for_end(reader, counts),
        "/redirect" => {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {query}\r\n");
            stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())
        }
        "/long-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")?;
            stream.write_all(format!("X: {}\r\n\r\n", "x".repeat(100 << 10)).as_bytes())
        }
        "/many-fields" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")?;
            stream.write_all(format!("{}\r\n", "x: y\r\n".repeat(1000)).as_bytes())
        }
        "/endless-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            forever(stream, "x-field: value\r\n")
        }
        "/endless-continue" => forever(stream, "HTTP/1.1 100 Continue\r\n\r\n"),
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            forever(stream, &format!("1000\r\n{}\r\n", "x".repeat(0x1000)))
        }
        "/drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            stream.write_all(b"5\r\nfirst\r\n")?;
            wait_for_end(reader, counts)
        }
        "/large" => text(stream, &"y".repeat(LARGE_BYTES)),
        "/length" => text(stream, &body.len().to_string()),
        "/gzip" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n";
            stream
                .write_all(format!("{head}Content-Length: {}\r\n\r\n", ZIPPED.len()).as_bytes())?;
            stream.write_all(ZIPPED)
        }
        "/status" => stream.write_all(format!("HTTP/1.1 {query} Status\r\n\r\n").as_bytes()),
        "/chunks" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            stream.write_all("5\r\nblock\r\n".repeat(3).as_bytes())?;
            stream.write_all(b"0\r\n\r\n")
        }
        "/early" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")?;
            Err(io::ErrorKind::Other.into())
        }
        "/nothing" => Err(io::ErrorKind::Other.into()),
        "/garbage" => {
            stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")?;
            Err(io::ErrorKind::Other.into())
        }
        "/once" => {
            text(stream, "once")?;
            Err(io::ErrorKind::Other.into())
        }
        "/switch" => stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
}

fn text(stream: &mut impl Write, text: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(format!("{head}{text}").as_bytes())
}

fn forever(stream: &mut impl Write, text: &str) -> io::Result<()> {
    loop {
        stream.write_all(text.as_bytes())?;
    }
}

/// Waits until the client closes the connection.
fn wait_for_end(reader: &mut impl Read, counts: &Counts) -> io::Result<()> {
    counts.waiting.fetch_add(1, Ordering::SeqCst);
    let ended = reader.read(&mut [0]);
    counts.waiting.fetch_sub(1, Ordering::SeqCst);
    ended.and(Err(io::ErrorKind::Other.into()))
}
