//! What happens in a soak besides the measured requests: handlers that fail, clients that send and
//! read slowly, and connections that are cut.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use processes::step;

use super::handlers::{FAULTS, LARGE_PAGE, LARGE_PAGE_BYTES};
use crate::client::{Client, connect, read};
use crate::server::ECHO;

/// The pause between two steps of a slow client.
const SLOW_STEP: Duration = Duration::from_millis(100);

/// The clients that send and read one byte at a time. An exchange takes some half a minute.
const SLOW_CLIENTS: usize = 8;

/// The clients that read the large page in small blocks, and the length of these. A download takes
/// some minutes, and most of the page waits in the server.
const SLOW_READERS: usize = 2;
const SLOW_BLOCK_BYTES: usize = 8 * 1024;

/// The body that slow clients send.
const SLOW_BODY: &str = "a byte at a time";

/// The pause between two failures of a handler.
const FAULT_INTERVAL: Duration = Duration::from_secs(2);

/// The pause between two connections that are cut.
const CUT_INTERVAL: Duration = Duration::from_millis(200);

/// A kind of disturbance, in threads of its own.
#[derive(Debug)]
pub(super) struct Disturbance {
    name: &'static str,
    count: Arc<Count>,
    threads: Vec<JoinHandle<()>>,
}

/// The outcomes of a disturbance.
#[derive(Debug, Default)]
struct Count {
    expected: AtomicU64,
    unexpected: AtomicU64,
}

/// One occurrence: the address, a number that selects what happens, and whether the soak ends.
type Once = fn(SocketAddr, usize, &AtomicBool) -> Result<()>;

impl Disturbance {
    /// Starts all kinds.
    pub(super) fn start_all(address: SocketAddr, ends: &Arc<AtomicBool>) -> Vec<Self> {
        let start = |name, clients, pause, once: Once| {
            let count = Arc::new(Count::default());
            let client = |_| {
                let (ends, count) = (ends.clone(), count.clone());
                thread::spawn(move || repeat(address, pause, once, &ends, &count))
            };
            Self {
                name,
                threads: (0..clients).map(client).collect(),
                count,
            }
        };
        vec![
            start("failing handlers", 1, FAULT_INTERVAL, fail),
            start("slow clients", SLOW_CLIENTS, SLOW_STEP, exchange_slowly),
            start("slow downloads", SLOW_READERS, SLOW_STEP, download_slowly),
            start("cut connections", 1, CUT_INTERVAL, cut),
        ]
    }

    /// Waits for the last client, prints the outcomes, and returns the number of unexpected ones.
    ///
    /// # Errors
    ///
    /// Fails if a thread panicked.
    pub(super) fn wait(self) -> Result<u64> {
        for thread in self.threads {
            let panicked = |_| anyhow!("a client of {} panicked", self.name);
            thread.join().map_err(panicked)?;
        }
        let unexpected = self.count.unexpected.load(Ordering::Relaxed);
        println!(
            "{}: {} as expected, {unexpected} not",
            self.name,
            self.count.expected.load(Ordering::Relaxed)
        );
        Ok(unexpected)
    }
}

fn repeat(address: SocketAddr, pause: Duration, once: Once, ends: &AtomicBool, count: &Count) {
    for number in 0.. {
        let outcome = once(address, number, ends);
        if ends.load(Ordering::Relaxed) {
            // The last one was given up.
            return;
        }
        match outcome {
            Ok(()) => count.expected.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                step(format!("not as expected: {error:#}"));
                count.unexpected.fetch_add(1, Ordering::Relaxed)
            }
        };
        thread::sleep(pause);
    }
}

/// Requests a failure, and checks its status.
fn fail(address: SocketAddr, number: usize, _: &AtomicBool) -> Result<()> {
    let (target, expected) = FAULTS[number % FAULTS.len()];
    let status = Client::new(address).get(target)?.status;
    ensure!(
        status == expected,
        "{target}: status {status} instead of {expected}"
    );
    Ok(())
}

/// Sends a request and reads its response byte by byte.
fn exchange_slowly(address: SocketAddr, _: usize, ends: &AtomicBool) -> Result<()> {
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{SLOW_BODY}",
        SLOW_BODY.len()
    );
    let mut stream = connect(address)?;
    for byte in request.as_bytes() {
        if ends.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.write_all(&[*byte])?;
        thread::sleep(SLOW_STEP);
    }
    let (response, _) = read(&mut slow_reader(stream, 1, ends))?;
    ensure!(
        response.status == 200 && response.body == SLOW_BODY.as_bytes(),
        "a slow client got status {} and {} bytes",
        response.status,
        response.body.len()
    );
    Ok(())
}

/// Reads the large page in small blocks.
fn download_slowly(address: SocketAddr, _: usize, ends: &AtomicBool) -> Result<()> {
    let mut stream = connect(address)?;
    write!(stream, "GET {LARGE_PAGE} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let (response, _) = read(&mut slow_reader(stream, SLOW_BLOCK_BYTES, ends))?;
    ensure!(
        response.status == 200 && response.body.len() == LARGE_PAGE_BYTES,
        "a slow download got status {} and {} bytes",
        response.status,
        response.body.len()
    );
    Ok(())
}

/// Opens a connection and cuts it: at once, within the head of a request, within its body, or
/// within the response.
fn cut(address: SocketAddr, number: usize, _: &AtomicBool) -> Result<()> {
    let mut stream = connect(address)?;
    match number % 4 {
        0 => {}
        1 => write!(stream, "GET / HTTP/1.1\r\nHost: te")?,
        2 => {
            let head = "HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n";
            write!(stream, "POST {ECHO} {head}half of it")?;
        }
        _ => {
            write!(stream, "GET {LARGE_PAGE} HTTP/1.1\r\nHost: test\r\n\r\n")?;
            // The rest of the response is unread, so closing the socket resets the connection.
            stream.read_exact(&mut [0; 16])?;
        }
    }
    Ok(())
}

/// A stream of which at most `most` bytes are read in each step.
struct SlowStream<'e> {
    stream: TcpStream,
    most: usize,
    ends: &'e AtomicBool,
}

fn slow_reader(stream: TcpStream, most: usize, ends: &AtomicBool) -> BufReader<SlowStream<'_>> {
    BufReader::with_capacity(most, SlowStream { stream, most, ends })
}

impl Read for SlowStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ends.load(Ordering::Relaxed) {
            return Err(io::Error::other("the soak ends"));
        }
        thread::sleep(SLOW_STEP);
        let most = buffer.len().min(self.most);
        self.stream.read(&mut buffer[..most])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_slow_stream_gives_few_bytes_at_a_time_and_none_at_the_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut client = connect(listener.local_addr().expect("an address")).expect("a server");
        client.write_all(b"abc").expect("it is there");
        let (server, _) = listener.accept().expect("a client");
        let ends = AtomicBool::new(false);
        let mut slow = SlowStream {
            stream: server,
            most: 2,
            ends: &ends,
        };
        let mut buffer = [0; 8];
        assert_eq!(slow.read(&mut buffer).expect("two bytes"), 2);
        assert_eq!(slow.read(&mut buffer).expect("the rest"), 1);
        ends.store(true, Ordering::Relaxed);
        assert!(slow.read(&mut buffer).is_err());
    }
}
