//! What a handler attempts with the network, for the handlers of each kind.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};

/// Attempts what a query asks for: `ACTION=ARGUMENT`, with a second argument after a comma. Returns
/// the result, or the error.
pub(crate) fn attempt(query: &str) -> String {
    let (action, argument) = query.split_once('=').unwrap_or((query, ""));
    let (first, second) = argument.split_once(',').unwrap_or((argument, ""));
    match action {
        "fetch" => fetch(first, Method::Get, second).unwrap_or_else(|error| error),
        "head" => fetch(first, Method::Head, second).unwrap_or_else(|error| error),
        "post" => fetch(first, Method::Post, second).unwrap_or_else(|error| error),
        "tunnel" => fetch(first, Method::Connect, "").unwrap_or_else(|error| error),
        "impatient" => impatient(first, second).unwrap_or_else(|error| error),
        "unconnected" => unconnected(first, second).unwrap_or_else(|error| error),
        "follow" => follow(first).unwrap_or_else(|error| error),
        "field" => field(first),
        "hold" => hold(first).unwrap_or_else(|error| error),
        "length" => length(first).unwrap_or_else(|error| error),
        "connect" => told(connect(first, second)),
        "connections" => connections(first, second),
        "resolve" => told(resolve(first)),
        "listen" => told(TcpListener::bind(("127.0.0.1", 0)).map(|_| "listens".into())),
        "datagram" => told(UdpSocket::bind(("127.0.0.1", 0)).map(|_| "bound".into())),
        _ => format!("unknown: {query}"),
    }
}

fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("error: {:?}", error.kind()))
}

/// Sends a request. A body is sent in pieces, so that it has no length.
fn request(url: &str, method: Method, body: &str) -> Result<IncomingResponse, String> {
    request_with(url, method, body, None)
}

fn request_with(
    url: &str,
    method: Method,
    body: &str,
    options: Option<RequestOptions>,
) -> Result<IncomingResponse, String> {
    let (scheme, rest) = url.split_once("://").ok_or("error: no scheme")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let request = OutgoingRequest::new(Fields::new());
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let invalid = |()| "error: not a request".to_owned();
    request.set_method(&method).map_err(invalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    let has_body = !body.is_empty();
    let outgoing = has_body.then(|| request.body().expect("the first time"));
    let response = handle(request, options).map_err(shown)?;
    if let Some(outgoing) = outgoing {
        let stream = outgoing.write().expect("the first time");
        for piece in body.as_bytes().chunks(1000) {
            // The response reports a denied request.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
        drop(stream);
        let _ = OutgoingBody::finish(outgoing, None);
    }
    response.subscribe().block();
    let response = response
        .get()
        .expect("it is there")
        .expect("the first time");
    response.map_err(shown)
}

fn shown(error: ErrorCode) -> String {
    format!("error: {error:?}")
}

fn read(response: &IncomingResponse) -> Result<String, String> {
    let body = response.consume().map_err(|()| "error: no body")?;
    let mut bytes = Vec::new();
    let stream = body.stream().expect("the first time");
    while let Some(block) = next(&stream)? {
        bytes.extend(block);
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn next(stream: &InputStream) -> Result<Option<Vec<u8>>, String> {
    match stream.blocking_read(64 * 1024) {
        Ok(block) => Ok(Some(block)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(error)) => {
            let code = wasip2::http::types::http_error_code(&error);
            Err(format!("error: {code:?}"))
        }
    }
}

fn fetch(url: &str, method: Method, body: &str) -> Result<String, String> {
    let response = request(url, method, body)?;
    Ok(format!("{} {}", response.status(), read(&response)?))
}

/// Waits for the first byte for a number of milliseconds.
fn impatient(url: &str, milliseconds: &str) -> Result<String, String> {
    let options = RequestOptions::new();
    let set = options.set_first_byte_timeout(Some(nanoseconds(milliseconds)));
    set.map_err(|()| "error: not supported")?;
    fetch_with(url, options)
}

/// Waits for a connection for a number of milliseconds.
fn unconnected(url: &str, milliseconds: &str) -> Result<String, String> {
    let options = RequestOptions::new();
    let set = options.set_connect_timeout(Some(nanoseconds(milliseconds)));
    set.map_err(|()| "error: not supported")?;
    fetch_with(url, options)
}

fn nanoseconds(milliseconds: &str) -> u64 {
    milliseconds.parse::<u64>().expect("a number") * 1_000_000
}

fn fetch_with(url: &str, options: RequestOptions) -> Result<String, String> {
    let response = request_with(url, Method::Get, "", Some(options))?;
    Ok(format!("{} {}", response.status(), read(&response)?))
}

/// Follows redirects, as an HTTP client does.
fn follow(url: &str) -> Result<String, String> {
    let mut url = url.to_owned();
    loop {
        let response = request(&url, Method::Get, "")?;
        let next = response.headers().get("location");
        match next.first() {
            Some(next) => url = String::from_utf8_lossy(next).into_owned(),
            None => return Ok(format!("{} {}", response.status(), read(&response)?)),
        }
    }
}

/// Sets a field of a request.
fn field(name: &str) -> String {
    match Fields::new().append(name, b"forged") {
        Ok(()) => "set".to_owned(),
        Err(error) => format!("error: {error:?}"),
    }
}

/// Reads the first block of a response, and sleeps.
fn hold(url: &str) -> Result<String, String> {
    let response = request(url, Method::Get, "")?;
    let body = response.consume().map_err(|()| "error: no body")?;
    let stream = body.stream().expect("the first time");
    next(&stream)?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok("woken".to_owned())
}

/// Counts the bytes of a response.
fn length(url: &str) -> Result<String, String> {
    let response = request(url, Method::Get, "")?;
    let body = response.consume().map_err(|()| "error: no body")?;
    let stream = body.stream().expect("the first time");
    let mut length = 0;
    while let Some(block) = next(&stream)? {
        length += block.len();
    }
    Ok(length.to_string())
}

/// Connects, writes a line, and reads to the end.
fn connect(address: &str, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("{text}\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

/// Opens connections until one is refused. Closes all, and says how many there were.
fn connections(address: &str, most: &str) -> String {
    let most = most.parse().expect("a number");
    let mut open = Vec::new();
    while open.len() < most {
        match TcpStream::connect(address) {
            Ok(stream) => open.push(stream),
            Err(_) => break,
        }
    }
    open.len().to_string()
}

fn resolve(name: &str) -> io::Result<String> {
    let mut found: Vec<String> = (name, 80)
        .to_socket_addrs()?
        .map(|address| address.ip().to_string())
        .collect();
    found.dedup();
    Ok(found.join(" "))
}
