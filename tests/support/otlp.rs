//! A collector of traces: receives OTLP over HTTP, and decodes each message strictly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::eventually;

/// A value of a field, by its wire type.
#[derive(Debug)]
enum Wire {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
    Fixed32(u32),
}

/// Splits a message into its fields (protobuf.dev, "Encoding"). Panics if it is malformed.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Wire)> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
        let (taken, rest) = bytes.split_at(N);
        *bytes = rest;
        taken.try_into().expect("the length")
    }
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = take(bytes);
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
        }
        panic!("a number of more than 64 bits");
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Wire::Varint(varint(&mut bytes)),
            1 => Wire::Fixed64(u64::from_le_bytes(take(&mut bytes))),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Wire::Bytes(value.to_vec())
            }
            5 => Wire::Fixed32(u32::from_le_bytes(take(&mut bytes))),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a string is UTF-8")
}

/// A received span, with identifiers as hexadecimal digits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty if the span has no parent.
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) has_failed: bool,
    attributes: Vec<(String, String)>,
}

impl Span {
    /// Returns an attribute as text; empty if it is missing.
    pub(crate) fn get(&self, key: &str) -> &str {
        let mut found = self.attributes.iter().filter(|(name, _)| name == key);
        found.next().map_or("", |(_, value)| value)
    }
}

/// How a collector answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// It accepts each message.
    Accept,
    /// It answers with this text, whatever it is.
    Say(&'static str),
    /// It reads the request and never answers.
    Hang,
}

/// A collector on a free port of the loopback interface. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Collector {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    requests: usize,
    heads: Vec<String>,
    spans: Vec<Span>,
}

impl Collector {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared {
            manner,
            requests: 0,
            heads: Vec::new(),
            spans: Vec::new(),
        }));
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                thread::spawn(move || {
                    // A client may disconnect; the test does not depend on it.
                    let _ = serve(stream, &shared);
                });
            }
        });
        Self { addr, shared }
    }

    /// Returns the URL for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.shared.lock().expect("no panic").manner = manner;
    }

    /// Returns the number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.lock().expect("no panic").requests
    }

    /// Returns the heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.lock().expect("no panic").heads.clone()
    }

    /// Returns the spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.shared.lock().expect("no panic").spans.clone()
    }

    /// Waits for a span.
    #[track_caller]
    pub(crate) fn expect(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        eventually(what, || self.spans().iter().any(&wanted));
        let found = self.spans().into_iter().find(wanted);
        found.expect("it was there")
    }
}

/// A collector from PyPI that passes all spans on. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Forwarder {
    child: Child,
    addr: SocketAddr,
}

impl Forwarder {
    /// Starts it, and waits until it listens. Returns none, and prints a line, if it is not
    /// installed or doesn't run on this system.
    pub(crate) fn start(next: &Collector) -> Option<Self> {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../collector/rotel/rotel-agent");
        let version = Command::new(&program).arg("--version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: there is no collector; `cargo xtask test` installs it from PyPI");
            return None;
        }
        let [addr, other] = [(); 2].map(|()| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            listener.local_addr().expect("an address")
        });
        let child = Command::new(&program)
            .args(["start", "--disable-batching", "--exporter", "otlp"])
            .args(["--otlp-http-endpoint", &addr.to_string()])
            .args(["--otlp-grpc-endpoint", &other.to_string()])
            .args(["--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &next.url()])
            .stdin(Stdio::null())
            .spawn()
            .expect("it has just started");
        let forwarder = Self { child, addr };
        eventually("the collector listens", || {
            TcpStream::connect(forwarder.addr).is_ok()
        });
        Some(forwarder)
    }

    /// Returns the URL for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(stream: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length, mut is_compressed) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            // A sender that gave up before it sent all of a head has exported nothing.
            return Ok(());
        }
        is_compressed |= line.trim().eq_ignore_ascii_case("content-encoding: gzip");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if is_compressed {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut text)?;
        body = text;
    }
    let manner = {
        let mut shared = shared.lock().expect("no panic");
        shared.requests += 1;
        shared.heads.push(head);
        if let Manner::Accept = shared.manner {
            shared.spans.extend(decode(&body));
        }
        shared.manner
    };
    let mut stream = stream;
    match manner {
        Manner::Accept => stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        ),
        Manner::Say(text) => stream.write_all(text.as_bytes()),
        Manner::Hang => {
            thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
    }
}

/// Decodes an `ExportTraceServiceRequest` (opentelemetry-proto 1.7). Panics at any field that the
/// specification doesn't have, and at any that breaks one of its rules.
fn decode(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for field in fields(body) {
        let (1, Wire::Bytes(of_resource)) = field else {
            panic!("not resource_spans: {field:?}");
        };
        let mut service = None;
        for field in fields(&of_resource) {
            match field {
                (1, Wire::Bytes(resource)) => service = Some(service_of(&resource)),
                (2, Wire::Bytes(of_scope)) => {
                    let service = service.as_ref().expect("the resource is first");
                    spans.extend(of_scope_spans(&of_scope, service));
                }
                other => panic!("a field of ResourceSpans: {other:?}"),
            }
        }
    }
    assert!(!spans.is_empty(), "an export has spans");
    spans
}

fn service_of(resource: &[u8]) -> String {
    let attributes: Vec<Vec<u8>> = fields(resource)
        .into_iter()
        .map(|field| match field {
            (1, Wire::Bytes(attribute)) => attribute,
            other => panic!("a field of Resource: {other:?}"),
        })
        .collect();
    let attributes = texts(&attributes);
    let service = attributes.iter().find(|(key, _)| key == "service.name");
    service.expect("a service").1.clone()
}

fn of_scope_spans(of_scope: &[u8], service: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for field in fields(of_scope) {
        match field {
            (1, Wire::Bytes(scope)) => {
                for field in fields(&scope) {
                    match field {
                        (1, Wire::Bytes(name)) => assert_eq!(text(name), "wasgi"),
                        (2, Wire::Bytes(version)) => assert!(!text(version).is_empty()),
                        other => panic!("a field of InstrumentationScope: {other:?}"),
                    }
                }
            }
            (2, Wire::Bytes(span)) => spans.push(check(&span, service.to_owned())),
            other => panic!("a field of ScopeSpans: {other:?}"),
        }
    }
    spans
}

fn check(bytes: &[u8], service: String) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte > 0);
    let mut span = Span {
        service,
        ..Span::default()
    };
    let (mut attributes, mut flags) = (Vec::new(), 0);
    for field in fields(bytes) {
        match field {
            (1, Wire::Bytes(id)) if is_id(&id, 16) => span.trace = hex(&id),
            (2, Wire::Bytes(id)) if is_id(&id, 8) => span.id = hex(&id),
            (3, Wire::Bytes(state)) => span.state = text(state),
            (4, Wire::Bytes(id)) if is_id(&id, 8) => span.parent = hex(&id),
            (5, Wire::Bytes(name)) => span.name = text(name),
            (6, Wire::Varint(kind @ 1..=3)) => span.kind = i32::try_from(kind).expect("small"),
            (7, Wire::Fixed64(time)) => span.start = time,
            (8, Wire::Fixed64(time)) => span.end = time,
            (9, Wire::Bytes(attribute)) => attributes.push(attribute),
            (15, Wire::Bytes(status)) => {
                for field in fields(&status) {
                    match field {
                        (2, Wire::Bytes(message)) => assert!(!text(message).is_empty()),
                        (3, Wire::Varint(2)) => span.has_failed = true,
                        other => panic!("a field of Status: {other:?}"),
                    }
                }
            }
            (16, Wire::Fixed32(value)) => flags = value,
            other => panic!("a field of Span: {other:?}"),
        }
    }
    assert!(!span.trace.is_empty() && !span.id.is_empty() && !span.name.is_empty());
    assert!(
        span.kind > 0 && span.start > 0 && span.end >= span.start,
        "{span:?}"
    );
    assert_eq!(flags & 0xff, 1, "sampled");
    span.attributes = texts(&attributes);
    span
}

/// Returns attributes as text. Their keys must be unique.
fn texts(attributes: &[Vec<u8>]) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for attribute in attributes {
        let (mut key, mut value) = (String::new(), None);
        for field in fields(attribute) {
            match field {
                (1, Wire::Bytes(name)) => key = text(name),
                (2, Wire::Bytes(any)) => match fields(&any).pop() {
                    Some((1, Wire::Bytes(string))) => value = Some(text(string)),
                    Some((3, Wire::Varint(number))) => value = Some(number.to_string()),
                    other => panic!("a field of AnyValue: {other:?}"),
                },
                other => panic!("a field of KeyValue: {other:?}"),
            }
        }
        let is_new = texts.iter().all(|(other, _)| *other != key);
        assert!(!key.is_empty() && is_new, "{key}");
        texts.push((key, value.expect("a value")));
    }
    texts
}
