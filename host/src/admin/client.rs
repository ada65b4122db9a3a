//! A request to the admin listener of a running server, for commands.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::AdminAddr;

/// The timeout of connecting, and of each read and write. The listener asks all processes for at
/// most two seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a response, in bytes: metrics of some ten thousand handlers.
const MAX_RESPONSE_BYTES: u64 = 128 << 20;

/// Sends a GET, and returns the body of the response.
///
/// # Errors
///
/// Fails if the listener doesn't answer, or answers something else than 200. The error begins with
/// the address.
pub(crate) fn get(addr: &AdminAddr, path: &str) -> anyhow::Result<String> {
    let response = ask(addr, path).with_context(|| addr.to_string())?;
    parse(&response).with_context(|| format!("{addr}{path}"))
}

fn ask(addr: &AdminAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    match addr {
        AdminAddr::Tcp(addr) => {
            let stream = TcpStream::connect_timeout(addr, TIMEOUT).context(NO_LISTENER)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            exchange(stream, path)
        }
        AdminAddr::Unix(socket) => {
            let stream = UnixStream::connect(socket).context(NO_LISTENER)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            exchange(stream, path)
        }
    }
}

const NO_LISTENER: &str = "no admin listener answers";

fn exchange(mut stream: impl Read + Write, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("can't ask")?;
    let mut response = Vec::new();
    let mut limited = stream.take(MAX_RESPONSE_BYTES);
    limited
        .read_to_end(&mut response)
        .context("no complete answer")?;
    ensure!(limited.limit() > 0, "the answer is too long");
    Ok(response)
}

/// Returns the body of a response.
fn parse(response: &[u8]) -> anyhow::Result<String> {
    const NOT_HTTP: &str = "the answer is not that of an admin listener";
    let end = response.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = response.split_at(end.context(NOT_HTTP)?);
    let head = str::from_utf8(head).context(NOT_HTTP)?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split(' ').nth(1);
    let body = body.get(4..).unwrap_or_default();
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    ensure!(
        lengths.next() == Some(body.len()),
        "the answer is incomplete"
    );
    match status {
        Some("200") => Ok(str::from_utf8(body).context(NOT_HTTP)?.to_owned()),
        Some(other) => bail!("the answer is {other}, not that of an admin listener"),
        None => bail!(NOT_HTTP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_answer_is_none() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(parse(whole.as_bytes()).expect("whole"), "ok");
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        let other = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let error = parse(other.as_bytes()).expect_err("no page");
        assert!(error.to_string().contains("404"), "{error}");
    }
}
