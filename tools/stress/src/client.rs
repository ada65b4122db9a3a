//! A client that keeps its connection open as long as the server does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The time limit for a response.
const RESPONSE_TIME_LIMIT: Duration = Duration::from_secs(60);

/// The maximum length of a response, in bytes.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;

/// A client, and its connection if it is open.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// Sends a GET.
    ///
    /// # Errors
    ///
    /// Fails if it can't connect, or the response is incomplete or late.
    pub(crate) fn get(&mut self, target: &str) -> Result<Response> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.ask(request.as_bytes())
    }

    /// Sends a body and receives the response.
    ///
    /// # Errors
    ///
    /// Fails if it can't connect, or the response is incomplete or late.
    pub(crate) fn post(&mut self, target: &str, body: &[u8]) -> Result<Response> {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&[head.as_bytes(), body].concat())
    }

    /// Closes the connection. The next request opens another one.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    fn ask(&mut self, request: &[u8]) -> Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(self.address)?),
        };
        stream
            .get_mut()
            .write_all(request)
            .context("can't send a request")?;
        let (response, stays) = read(&mut stream)?;
        if stays {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

/// Opens a connection with the time limit of a response for each operation.
///
/// # Errors
///
/// Fails if it can't connect.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&address, RESPONSE_TIME_LIMIT).context("can't connect")?;
    stream.set_read_timeout(Some(RESPONSE_TIME_LIMIT))?;
    stream.set_write_timeout(Some(RESPONSE_TIME_LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads a response, and returns whether the connection stays open.
///
/// # Errors
///
/// Fails if the response is incomplete or late.
pub(crate) fn read(stream: &mut impl BufRead) -> Result<(Response, bool)> {
    let status_line = line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.with_context(|| format!("no status in {status_line:?}"))?;
    let (mut length, mut is_chunked, mut stays) = (None, false, true);
    loop {
        let field = line(stream)?.to_ascii_lowercase();
        match field
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            None => break,
            Some(("content-length", value)) => length = Some(value.parse::<u64>()?),
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(("connection", value)) => stays = value != "close",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let size = u64::from_str_radix(&line(stream)?, 16).context("a chunk has no size")?;
            take(stream, size, &mut body)?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        take(stream, length, &mut body)?;
    }
    Ok((Response { status, body }, stays))
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).context("no response")?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => bail!("the response ends after {line:?}"),
    }
}

fn take(stream: &mut impl Read, count: u64, body: &mut Vec<u8>) -> Result<()> {
    if count > MAX_RESPONSE_BYTES {
        bail!("a response of {count} bytes exceeds the limit");
    }
    let taken = stream.take(count).read_to_end(body)?;
    if taken as u64 != count {
        bail!("the response ends {} bytes too early", count - taken as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(u16, String, bool)> {
        let (response, stays) = read(&mut text.as_bytes())?;
        Ok((
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
            stays,
        ))
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let whole = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                (200, "hi", true),
            ),
            (
                "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
                (204, "", false),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                (200, "hi", true),
            ),
        ];
        for (text, (status, body, stays)) in whole {
            let read = read_text(text).expect("whole");
            assert_eq!(read, (status, body.to_owned(), stays), "{text}");
            for end in 0..text.len() {
                assert!(read_text(&text[..end]).is_err(), "{text} cut at {end}");
            }
        }
    }
}
