//! Sequential requests on one connection, for measuring their cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The time limit for a response. A server that is single-stepped is a thousand times slower.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The polling interval for a server that is starting.
const TRY_INTERVAL: Duration = Duration::from_millis(10);

/// The maximum length of a response, head and body together.
const ANSWER_BYTES: usize = 64 * 1024;

/// A connection that requests one path repeatedly.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// The length of the first response, which all others must have too.
    length: usize,
}

impl Client {
    /// Connects when the server listens, and repeats the request until the response has status 200,
    /// since a server may listen before it can respond. Fails after `limit`.
    pub(crate) fn connect(address: SocketAddr, path: &str, limit: Duration) -> Result<Self> {
        let started = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) if started.elapsed() < limit => std::thread::sleep(TRY_INTERVAL),
                Err(error) => return Err(error).context("the server accepts no connections"),
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        let mut client = Self {
            stream,
            request,
            length: 0,
        };
        loop {
            client.stream.write_all(&client.request)?;
            match client.read_first()? {
                Some(length) => {
                    client.length = length;
                    return Ok(client);
                }
                None if started.elapsed() < limit => std::thread::sleep(TRY_INTERVAL),
                None => bail!("the response status is not 200"),
            }
        }
    }

    /// Reads a response with a Content-Length, and returns its total length. Returns none if its
    /// status is not 200.
    fn read_first(&mut self) -> Result<Option<usize>> {
        let mut response = crate::load::Response::new();
        let mut buffer = vec![0; ANSWER_BYTES];
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the server closed the connection");
            length += read;
            let taken = response.take(&buffer[..read]);
            if let Some(verdict) = taken.ok().context("the response has no Content-Length")? {
                ensure!(!verdict.closes, "the server doesn't keep connections open");
                return Ok(verdict.good.then_some(length));
            }
        }
    }

    /// Sends the request, and waits for the response.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        let mut left = self.length;
        let mut buffer = vec![0; ANSWER_BYTES];
        while left > 0 {
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the server closed the connection");
            left = left
                .checked_sub(read)
                .context("a response is longer than the first one")?;
        }
        Ok(())
    }
}
